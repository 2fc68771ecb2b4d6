"""The command line: which commands there are, running one, and an exit status that means something."""

import contextlib
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import Literal

from tyro.conf import Positional

import voxanchor
from voxanchor import runtime
from voxanchor.cli import data, evaluating, models, people, training
from voxanchor.cli.arguments import HELP, Command, Group, completion_script, explain, explain_group, listed, parse
from voxanchor.cli.people import serve
from voxanchor.config import nearest
from voxanchor.errors import RecipeError, VoxanchorError
from voxanchor.extras import missing_in
from voxanchor.files import ENCODING_ERRORS, unwritable
from voxanchor.runtime import keep_freed_memory

HEAD = """voxanchor makes speaker-verification models robust to noise.

usage: voxanchor COMMAND [OPTIONS]     'voxanchor COMMAND --help' explains one
"""

DEFECT = 70
"""Exit status after an error that is nobody's but the program's."""

TRACEBACK = "VOXANCHOR_TRACEBACK"
"""Environment variable: 1 shows where in the code an error arose."""

TAIL = """
example: voxanchor quickstart --out runs/quickstart

exit status: 0 done, 1 failed, 2 not understood, 3 recordings unusable, 4 model
unusable, 5 output folder holds something else, 6 a package is missing, 7
training cannot go on, 8 no decision, 9 new model worse and not written, 10
nobody of that name or store unusable, 11 rejected, 70 a defect of the program,
130 interrupted (start the same command again to resume)"""


def completion(shell: Positional[Literal["bash", "zsh", "fish"]]) -> int:
    """Print what makes a shell complete commands and options.

    For bash, put this line into ~/.bashrc: eval "$(voxanchor completion bash)". For fish, write the output to
    ~/.config/fish/completions/voxanchor.fish, and for zsh to a file _voxanchor in a folder of $fpath.

    Example: voxanchor completion bash

    Args:
        shell: the shell to print it for.
    """
    print(completion_script(COMMANDS, shell))
    return 0


SECTIONS: dict[str, dict[str, Command | Group]] = {
    "Try": {"quickstart": training.quickstart, "models": models.models, "completion": completion},
    "Make robust": {
        "robustify": training.robustify,
        "train": training.train,
        "compare": training.compare,
        "recipes": training.recipes,
    },
    "Measure": {
        "evaluate": evaluating.evaluate,
        "compatibility": evaluating.compatibility,
        "calibrate": evaluating.calibrate,
        "card": models.card,
    },
    "People": {
        "enroll": people.enroll,
        "verify": people.verify,
        "verify-as": people.verify_as,
        "identify": people.identify,
        "people": people.GROUP,
    },
    "Deploy": {"embed": models.embed, "export": models.export, "upgrade": models.upgrade, "serve": serve},
    "Data": {"data": data.GROUP},
}
"""What `voxanchor --help` lists, in its order."""

ALIASES = {"enrol": "enroll"}

COMMANDS = {name: command for section in SECTIONS.values() for name, command in section.items()}


WINDOWS = os.name == "nt"

UNSUPPORTED = "voxanchor: Windows is not supported, and nothing was tried there; run it on Linux, for example in WSL"
"""What is said before a command runs all the same: much of it may work, and nobody knows what does not."""

PIPE_CLOSED = 141
"""Exit status where nobody reads on: 128 and the number of the signal that tells so."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command in `arguments` (by default the process's own) and exit.

    Of several processes of a job the first alone prints a result.
    """
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # not where it is closed, or somebody else's
            stream.reconfigure(errors=ENCODING_ERRORS)
    with contextlib.ExitStack() as stack:
        if not runtime.first():
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8", errors=ENCODING_ERRORS))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        status = run(sys.argv[1:] if arguments is None else arguments)
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; whatever goes wrong is one message on standard error.

    The reader of the output may leave early, as `head` does. A command that has ended keeps its status then, since a
    decision is told by it: 0 lets somebody in. One that was still writing ends as a program does that the system stops.
    """
    status = PIPE_CLOSED
    try:
        status = dispatch(list(arguments))
        if sys.stdout is not None:
            sys.stdout.flush()  # what cannot be written is said now, and not lost when Python ends
        return status
    except BrokenPipeError:
        _drop_output()
        return status
    except (Exception, KeyboardInterrupt) as error:
        message, status = _meaning(error, f"voxanchor {arguments[0]}")
        print(f"voxanchor: {message}", file=sys.stderr)
        if os.environ.get(TRACEBACK) == "1":
            traceback.print_exception(error)
        return status


def dispatch(words: list[str]) -> int:
    """Run what a command line asks for, or print the help or version it asks for; return the exit status.

    Raises:
        VoxanchorError: no such command, arguments that it cannot be called with, and all that it raises itself.
    """
    if not words:
        print(_short(), file=sys.stderr)
        return RecipeError.exit_code
    if words[0] in ("-V", "--version", "version"):
        print(f"voxanchor {voxanchor.__version__}")
        return 0
    if words[0] == "help":
        words = [*words[1:], HELP[0]]
    if words[0] in HELP:
        print(overview())
        return 0
    name, command, rest = find(words)
    if WINDOWS:
        print(UNSUPPORTED, file=sys.stderr)
    if isinstance(command, Group):
        print(explain_group(name, command), file=sys.stdout if rest else sys.stderr)
        return 0 if rest else RecipeError.exit_code
    if any(word in HELP for word in rest):
        print(explain(name, command))
        return 0
    return parse(name, command, rest)()


def find(words: Sequence[str]) -> tuple[str, Command | Group, list[str]]:
    """Return the command that a line begins with, by its full name, and the words that are left for it.

    Raises:
        RecipeError: there is no such command; the message names the nearest.
    """
    name, rest = ALIASES.get(words[0], words[0]), list(words[1:])
    if name not in COMMANDS:
        raise RecipeError(f"there is no command '{name}'. {_near(name, COMMANDS, 'voxanchor --help')}")
    command = COMMANDS[name]
    if not isinstance(command, Group) or not rest or rest[0] in HELP:
        return name, command, rest
    if rest[0] not in command.commands:
        hint = _near(rest[0], command.commands, f"voxanchor {name} --help")
        raise RecipeError(f"there is no command '{name} {rest[0]}'. {hint}")
    return f"{name} {rest[0]}", command.commands[rest[0]], rest[1:]


def overview() -> str:
    """Return the help of voxanchor itself: every command in a line, on one screen."""
    lines = [line for title, section in SECTIONS.items() for line in (title, *listed(section))]
    return "\n".join([HEAD, *lines, TAIL])


def _short() -> str:
    lines = [f"  {title}: {', '.join(section)}" for title, section in SECTIONS.items()]
    return "\n".join(["usage: voxanchor COMMAND [OPTIONS]", *lines, "'voxanchor --help' says what each does"])


def _near(name: str, known: Mapping[str, Command | Group], where: str) -> str:
    near = nearest(name, known)
    return near if near.startswith("Did") else f"'{where}' lists them."


def _meaning(error: BaseException, command: str) -> tuple[str, int]:
    """Return what a user is told of an error that ended a command, and the exit status."""
    if isinstance(error, ImportError):
        error = missing_in(error, command) or error
    if isinstance(error, OSError) and error.errno is not None:
        if error.filename is None:
            _drop_output()  # what could not be written must not be tried again when Python ends
        error = unwritable(error.filename or "an output", error, "used")
    if isinstance(error, VoxanchorError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; start the same command again to resume", 130
    # torch has a class of its own for its accelerators, and none for the processor
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "out of memory" in str(error):
        return f"there is not enough memory ({str(error)[:200] or 'no size was told'}). Give less at once.", 1
    told = " ".join(str(error).split())[:500]
    if isinstance(error, ImportError) and not (error.name or "voxanchor").startswith("voxanchor"):
        return f"an installed package cannot be used ({told}). Install it anew, in a version that fits the others.", 6
    return (
        f"a defect of the program: {type(error).__name__}: {told}. Please report it, with what {TRACEBACK}=1 in the "
        "environment prints besides.",
        DEFECT,
    )


def _drop_output() -> None:
    with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
