"""What a terminal gets: no colours where it wants none, and completion by its shell."""

import json
import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from voxanchor.cli.arguments import completion_script
from voxanchor.cli.main import COMMANDS, run

SHOW = """
import sys
from pathlib import Path
from voxanchor.cli.main import run
from voxanchor.cli.arguments import report
report(Path(sys.argv[1]), False)
run(["--help"])
run(["verify", "--help"])
run(["verify", "--modle"])
"""


def on_a_terminal(folder: Path, **environment: str) -> bytes:
    """Return all that reaches a terminal, standard error included."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SHOW, folder],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**{k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")}, **environment},
    ):
        os.close(theirs)
        read = b""
        try:
            while part := os.read(ours, 65_536):
                read += part
        except OSError:  # how a terminal says that the other side is closed
            pass
    os.close(ours)
    return read


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    (tmp_path / "summary.json").write_text(json.dumps({"base": {"clean": 1.5, "avg_noisy": 9.5}}))
    return tmp_path


@pytest.mark.parametrize("wish", [{"NO_COLOR": "1", "TERM": "xterm-256color"}, {"TERM": "dumb"}])
def test_no_colours_are_sent_where_none_are_wanted(wish: dict[str, str], finished: Path) -> None:
    said = on_a_terminal(finished, **wish)
    assert b"9.50" in said
    assert b"Did you mean --model?" in said
    assert b"\x1b" not in said


def test_colours_are_there_otherwise(finished: Path) -> None:
    assert b"\x1b[" in on_a_terminal(finished, TERM="xterm-256color")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("robustify", "reembed", "false-acceptance"):
        assert word in script
    assert "--no-json" not in script


def test_bash_completes(tmp_path: Path) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("needs bash")
    (tmp_path / "completion").write_text(completion_script(COMMANDS, "bash"))
    ask = """
    source "$1"
    completer=$(complete -p voxanchor | sed 's/.*-F \\([^ ]*\\).*/\\1/')
    shift
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
    "$completer"
    printf '%s\\n' "${COMPREPLY[@]}"
    """

    def complete(*words: str) -> set[str]:
        command = [bash, "-c", ask, "bash", str(tmp_path / "completion"), "voxanchor", *words]
        return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())

    assert complete("rob") == {"robustify"}
    assert complete("people", "re") == {"reembed"}
    assert complete("robustify", "--s") == {"--speech", "--set", "--strength"}
