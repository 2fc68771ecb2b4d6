"""What people mistype is answered in one or two lines that name what they meant."""

import difflib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxanchor.cli import main
from voxanchor.cli.arguments import Command, arguments_of, check
from voxanchor.cli.main import COMMANDS, run
from voxanchor.corpus.layouts import scan
from voxanchor.errors import RecipeError


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("robustfy --model x", "there is no command 'robustfy'. Did you mean 'robustify'?"),
        ("xyzzy", "there is no command 'xyzzy'. 'voxanchor --help' lists them."),
        ("people lst --store x", "there is no command 'people lst'. Did you mean 'list'?"),
        ("help serv", "there is no command 'serv'. Did you mean 'serve'?"),
        ("verify a b --modle x", "verify has no option --modle. Did you mean --model?"),
        (
            "verify a b --model x --threshold 3",
            "verify has no option --threshold. 'voxanchor verify --help' lists them.",
        ),
        ("verify a b -m x", "verify has no option -m. 'voxanchor verify --help' lists them."),
        ("verify a --model x", "verify needs RECORDING; usage: voxanchor verify RECORDING RECORDING --model MODEL"),
        ("verify", "verify needs RECORDING and RECORDING and --model MODEL; usage"),
        ("verify a b c --model x", "verify: 'c' is one word too many (a name with spaces needs quotes)"),
        ("enroll Ada --model x --store y", "enroll needs RECORDING ...; usage"),
        ("evaluate --speech x --out y", "evaluate needs --model MODEL; usage"),
        ("evaluate --suite", "evaluate: --suite needs a value, --suite SUITE"),
        ("evaluate --suite --json", "evaluate: --suite needs a value, --suite SUITE"),
        ("evaluate --segment-s=three", "evaluate: --segment-s is a number, not 'three'"),
        ("evaluate --max-segments 1.5", "evaluate: --max-segments is a whole number, not '1.5'"),
        ("evaluate --layout voxcleb", "evaluate: --layout voxcleb is not a choice. Did you mean 'voxceleb'?"),
        ("completion tcsh", "completion: tcsh is not a choice. Known: bash, zsh, fish."),
        ("verify a b --model x --json=yes", "verify: --json takes no value"),
        ("recipes --out x.yaml", "recipes: say which recipe to copy"),
        ("recipes robustify --json", "recipes: --json is for the list"),
    ],
)
def test_a_mistake_is_answered_in_a_line(line: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(line.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"voxanchor: {message}")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    "line",
    [
        "a b --model x",
        "--model=x a b --prior 0.5",
        "a --model x --false_acceptance 1 b",
        "--model x -- -a --b",
        "a b --model x --prior -1",
    ],
)
def test_what_can_be_called_passes(line: str) -> None:
    check("verify", arguments_of(command("verify")), line.split())


def test_an_option_that_takes_several_words_takes_them() -> None:
    check("train", arguments_of(command("train")), ["voxceleb1", "--set", "a=1", "b=2", "--set", "c=3", "--plan"])


def command(name: str) -> Command:
    found = COMMANDS[name]
    assert callable(found)
    return found


OPTIONS = [argument.flag for argument in arguments_of(command("robustify")) if argument.flag]


@given(st.sampled_from(OPTIONS), st.integers(2, 20), st.characters(categories=["Ll"]))
def test_one_wrong_letter_names_an_option_of_that_command(option: str, place: int, letter: str) -> None:
    typed = option[: max(3, place)] + letter + option[max(3, place) :]
    if typed in OPTIONS:
        return
    with pytest.raises(RecipeError, match="robustify has no option") as raised:
        check("robustify", arguments_of(command("robustify")), [typed])
    if difflib.get_close_matches(typed, OPTIONS, n=1):
        named = str(raised.value).rpartition(" ")[2].rstrip("?")
        assert named in OPTIONS


@pytest.mark.parametrize("port", ["-5", "65536", "99999999"])
def test_what_is_no_port_makes_no_store(port: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "people.db"
    assert run(["serve", "--model", "ge2e", "--store", str(store), f"--port={port}"]) == 2
    assert f"{port} is no port" in capsys.readouterr().err
    assert not store.exists()


@pytest.mark.parametrize("share", ["20", "-0.1", "nan"])
def test_percent_are_no_share(share: str, voices_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"expected a share from 0 to 1, where 0\.2 is 20 %"):
        scan(voices_folder, max_unusable_share=float(share))


def test_windows_is_told_of_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for windows, said in ((False, ""), (True, f"{main.UNSUPPORTED}\n")):
        monkeypatch.setattr(main, "WINDOWS", windows)
        assert run(["models", "--json"]) == 0
        assert capsys.readouterr().err == said
    assert run(["--version"]) == 0
    assert capsys.readouterr().err == ""
