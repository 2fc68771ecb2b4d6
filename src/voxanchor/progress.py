"""Progress with an estimate: a bar on a terminal, a line now and then in a log.

Everything goes to standard error, so that what a command prints on standard output stays clean.
"""

import contextlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from voxanchor import processes

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int], None]
"""Called with the number of items finished since the last call; safe to call from any thread."""

LOG_INTERVAL_S = 10.0
"""On a non-terminal a job shows itself at most this often; one that is over sooner writes only its last line."""

QUIET_BELOW_S = 2.0
"""Jobs shorter than this leave no line in a log."""


class _Terminal:
    """One live display shared by nested jobs, because a terminal has room for one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.display: Progress | None = None
        self.jobs = 0

    def open(self) -> "Progress":
        with self.lock:
            if self.display is None:
                from rich.console import Console
                from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

                self.display = Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    TimeRemainingColumn(elapsed_when_finished=True),
                    console=Console(stderr=True),
                )
                self.display.start()
            self.jobs += 1
            return self.display

    def close(self) -> None:
        with self.lock:
            self.jobs -= 1
            if self.jobs == 0 and self.display is not None:
                self.display.stop()
                self.display = None


_terminal = _Terminal()


@contextlib.contextmanager
def track(label: str, total: int) -> Iterator[Advance]:
    """Show a job of `total` items while the block runs; call what it gives with the number of items done.

    Of several processes of a job the first alone shows anything.
    """
    if not processes.first():
        yield lambda _count: None
        return
    if sys.stderr.isatty():
        display = _terminal.open()
        job = display.add_task(label, total=total)
        try:
            yield lambda count: display.advance(job, count)
        finally:
            _terminal.close()
        return
    with _logged(label, total) as advance:
        yield advance


def say(message: str) -> None:
    """Print one line of information on standard error, above any bar; of several processes the first alone does."""
    if not processes.first():
        return
    if _terminal.display is not None:
        _terminal.display.console.print(message, markup=False, highlight=False)
    else:
        print(message, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _logged(label: str, total: int) -> Iterator[Advance]:
    began = shown = time.monotonic()
    done = 0
    lock = threading.Lock()

    def advance(count: int) -> None:
        nonlocal done, shown
        with lock:
            done += count
            now = time.monotonic()
            if now - shown < LOG_INTERVAL_S or not done:
                return
            shown = now
            left = (now - began) / done * max(total - done, 0)
            line = f"{label}: {done} of {total}, {_clock(now - began)} gone, about {_clock(left)} left"
        say(line)

    yield advance
    taken = time.monotonic() - began
    if taken >= QUIET_BELOW_S:
        say(f"{label}: {done} of {total} in {_clock(taken)}")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
