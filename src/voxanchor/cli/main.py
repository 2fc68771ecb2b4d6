"""The command line: parse, run one command, and end with an exit status that means something."""

import contextlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from io import TextIOWrapper
from pathlib import Path

import tyro

import voxanchor
from voxanchor import processes
from voxanchor.cli import commands, data, deciding, people, using
from voxanchor.cli.calibrating import calibrate
from voxanchor.cli.compatibility import compatibility
from voxanchor.cli.serving import serve
from voxanchor.errors import VoxanchorError
from voxanchor.extras import missing_in
from voxanchor.files import ENCODING_ERRORS, unwritable
from voxanchor.heap import keep_freed_memory

DESCRIPTION = """voxanchor makes speaker-verification models robust to noise without breaking what they already do.

Exit status: 0 done, 1 failed, 2 command or recipe not understood, 3 recordings unusable, 4 model unusable,
5 output cannot be written, or holds something else, 6 an optional package is missing, 7 training cannot go on,
8 no decision (verify), 9 the new model is worse and was not written (robustify), 10 nobody of that name is enrolled, or
the store unusable, 11 rejected (verify, verify-as, identify), 70 a defect of the program, 130 interrupted (start the
same command again to resume)."""

DEFECT = 70
"""Exit status after an error that is nobody's but the program's."""

TRACEBACK = "VOXANCHOR_TRACEBACK"
"""Environment variable: 1 shows where in the code an error arose."""

COMMANDS: dict[str, Callable[..., int]] = {
    "quickstart": commands.quickstart,
    "train": commands.train,
    "compare": commands.compare,
    "robustify": commands.robustify,
    "evaluate": commands.evaluate,
    "compatibility": compatibility,
    "calibrate": calibrate,
    "embed": using.embed,
    "enroll": deciding.enroll,
    "verify": deciding.verify,
    "verify-as": deciding.verify_as,
    "identify": deciding.identify,
    "people": people.people,
    "export": using.export,
    "card": using.card,
    "upgrade": using.upgrade,
    "serve": serve,
    "models": using.models,
    "data": data.data,
}

GROUPS = {"data": (data.COMMANDS, data.DESCRIPTION), "people": (people.COMMANDS, people.DESCRIPTION)}
"""Commands that are several: ``voxanchor data pack``."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command in `arguments` (by default the process's own) and exit.

    Of several processes of a job the first alone prints a result.
    """
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # not where it is closed, or somebody else's
            stream.reconfigure(errors=ENCODING_ERRORS)
    with contextlib.ExitStack() as stack:
        if not processes.first():
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8", errors=ENCODING_ERRORS))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        status = run(sys.argv[1:] if arguments is None else arguments)
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; whatever goes wrong is one message on standard error."""
    if list(arguments) == ["--version"]:
        print(f"voxanchor {voxanchor.__version__}")
        return 0
    if not arguments:
        arguments = ["--help"]
    group = arguments[0] if arguments[0] in GROUPS else ""
    known, description = GROUPS[group] if group else (COMMANDS, DESCRIPTION)
    try:
        status = int(
            tyro.extras.subcommand_cli_from_dict(
                known,
                prog=f"voxanchor {group}".rstrip(),
                description=description,
                args=list(arguments[1:] or ["--help"] if group else arguments),
                config=(tyro.conf.FlagCreatePairsOff,),
            )
        )
        if sys.stdout is not None:
            sys.stdout.flush()  # what cannot be written is said now, and not lost when Python ends
        return status
    except BrokenPipeError:
        # the reader of our output left, as `head` does: nothing is wrong, and nothing more can be said
        _drop_output()
        return 0
    except (Exception, KeyboardInterrupt) as error:
        message, status = _meaning(error, f"voxanchor {arguments[0]}")
        print(f"voxanchor: {message}", file=sys.stderr)
        if os.environ.get(TRACEBACK) == "1":
            traceback.print_exception(error)
        return status


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
