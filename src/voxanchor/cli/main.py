"""The command line: parse, run one command, and end with an exit status that means something."""

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import tyro

import voxanchor
from voxanchor import processes
from voxanchor.cli import commands, data, deciding, people, using
from voxanchor.cli.calibrating import calibrate
from voxanchor.cli.compatibility import compatibility
from voxanchor.cli.serving import serve
from voxanchor.errors import VoxanchorError
from voxanchor.heap import keep_freed_memory

DESCRIPTION = """voxanchor makes speaker-verification models robust to noise without breaking what they already do.

Exit status: 0 done, 1 failed, 2 command or recipe not understood, 3 recordings unusable, 4 model unusable,
5 output folder holds something else, 6 an optional package is missing, 7 training cannot go on, 8 no decision (verify),
9 the new model is worse and was not written (robustify), 10 nobody of that name is enrolled, or the store unusable,
11 rejected (verify, verify-as, identify), 130 interrupted (start the same command again to resume)."""

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
    with contextlib.ExitStack() as stack:
        if not processes.first():
            stack.enter_context(contextlib.redirect_stdout(stack.enter_context(Path(os.devnull).open("w"))))
        status = run(sys.argv[1:] if arguments is None else arguments)
    sys.exit(status)


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; errors a user can mend are one message on standard error."""
    if list(arguments) == ["--version"]:
        print(f"voxanchor {voxanchor.__version__}")
        return 0
    if not arguments:
        arguments = ["--help"]
    group = arguments[0] if arguments[0] in GROUPS else ""
    known, description = GROUPS[group] if group else (COMMANDS, DESCRIPTION)
    try:
        return int(
            tyro.extras.subcommand_cli_from_dict(
                known,
                prog=f"voxanchor {group}".rstrip(),
                description=description,
                args=list(arguments[1:] or ["--help"] if group else arguments),
                config=(tyro.conf.FlagCreatePairsOff,),
            )
        )
    except VoxanchorError as error:
        print(f"voxanchor: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("voxanchor: interrupted; start the same command again to resume", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # the reader of our output left, as `head` does: nothing is wrong, and nothing more can be said
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
