"""Help: one screen for all, and for each command its arguments as people call them, with examples to paste."""

import re
import shlex

import pytest

from voxanchor.cli.arguments import Argument, Command, Group, arguments_of, parse
from voxanchor.cli.main import COMMANDS, SECTIONS, find, overview, run
from voxanchor.conditions.suites import suite_names

LEAVES: dict[str, Command] = {}
for first, one in COMMANDS.items():
    if isinstance(one, Group):
        LEAVES |= {f"{first} {second}": part for second, part in one.commands.items()}
    else:
        LEAVES[first] = one


def shown(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(words) == 0
    return capsys.readouterr().out


def examples(help_text: str) -> list[str]:
    return re.findall(r"^  (voxanchor .*)$", re.split(r"^examples?$", help_text, flags=re.MULTILINE)[-1], re.MULTILINE)


@pytest.fixture(params=[80, 100, 120], ids="{} columns".format)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return int(request.param)


def test_the_overview_fits_a_screen_and_names_every_command_once(width: int) -> None:
    lines = overview().splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    rows = [line.split()[0] for line in lines if re.match(r"  \S", line)]
    assert sorted(rows) == sorted(COMMANDS)
    assert [line for line in lines if line in SECTIONS] == list(SECTIONS)


@pytest.mark.parametrize("name", ["evaluate", "calibrate", "compatibility"])
def test_every_suite_is_named(name: str) -> None:
    (text,) = (argument.text for argument in arguments_of(LEAVES[name]) if argument.flag == "--suite")
    assert sorted(re.split(r",\s+", text.partition("(")[2].partition(")")[0])) == sorted(suite_names())


@pytest.mark.parametrize("words", [("--help",), ("-h",), ("help",)])
def test_help_has_three_names(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, *words).strip() == overview().strip()


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_a_command_explains_itself(name: str, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, *name.split(), "--help")
    assert text == shown(capsys, "help", *name.split())
    described, _, pasted = text.rpartition("\nexample")
    assert max(map(len, described.splitlines())) <= min(width, 100)
    assert pasted
    for argument in arguments_of(LEAVES[name]):
        assert argument.text, f"{name} {argument.shown} is not explained"
        assert argument.shown in text
        assert argument.metavar not in ("STR", "PATH", "{None}")
    assert "None" not in text
    assert "`" not in text
    assert text.isascii()


@pytest.mark.parametrize("name", sorted(LEAVES))
def test_every_example_can_be_pasted(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = examples(shown(capsys, *name.split(), "--help"))
    assert found
    for line in found:
        called, command, rest = find(shlex.split(line)[1:])
        assert called == name
        assert not isinstance(command, Group)
        parse(called, command, rest)


@pytest.mark.parametrize("name", [name for name, one in COMMANDS.items() if isinstance(one, Group)])
def test_a_group_lists_its_commands(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    group = COMMANDS[name]
    assert isinstance(group, Group)
    text = shown(capsys, name, "--help")
    assert re.findall(r"^  (\S+) ", text, re.MULTILINE) == list(group.commands)
    assert run([name]) == 2
    assert capsys.readouterr().err == text


def test_what_is_required_and_what_the_default_is(capsys: pytest.CaptureFixture[str]) -> None:
    required, optional = shown(capsys, "evaluate", "--help").split("\noptional\n")
    for flag in ("--model MODEL", "--speech DIR", "--out DIR"):
        assert f"  {flag}" in required.split("\nrequired\n")[1]
    assert "(default noise)" in optional
    assert "may be repeated" in required
    assert "usage: voxanchor verify RECORDING RECORDING --model MODEL [OPTIONS]" in shown(capsys, "verify", "-h")
    assert "usage: voxanchor enroll NAME RECORDING ... --model MODEL" in shown(capsys, "enrol", "-h")


def test_arguments_are_read_off_a_signature() -> None:
    known = {argument.flag: argument for argument in arguments_of(LEAVES["compare"])}
    assert known["--from"] == Argument(
        flag="--from",
        metavar="STAGE=MODEL",
        text=known["--from"].text,
        default=(),
        required=False,
        several=True,
        greedy=False,
        kind=str,
        choices=(),
    )
    assert known["--seeds"].kind is int
    assert known["--set"].greedy
    assert known["--plan"].metavar == ""


@pytest.mark.parametrize("words", [("--version",), ("-V",), ("version",)])
def test_the_version(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert re.fullmatch(r"voxanchor \d+\.\d+\.\d+\n", shown(capsys, *words))


def test_nothing_is_a_question_and_no_success(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert len(said.err.splitlines()) <= 12
    for name in COMMANDS:
        assert name in said.err
