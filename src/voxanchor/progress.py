"""Progress with an estimate: a bar on a terminal, a line now and then in a log.

Everything goes to standard error, so that what a command prints on standard output stays clean.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from voxanchor import processes

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task

Advance = Callable[[int], None]
"""Called with the number of items finished since the last call; safe to call from any thread."""

LOG_INTERVAL_S = 10.0
"""On a non-terminal a job shows itself at most this often; one that is over sooner writes only its last line."""

QUIET_BELOW_S = 2.0
"""Jobs shorter than this leave no line in a log."""

FEW = 3
"""Items after the first that an estimate needs: the first takes longer than those that follow."""


class _Terminal:
    """One live display shared by nested jobs, because a terminal has room for one."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.display: Progress | None = None
        self.jobs = 0

    def open(self) -> "Progress":
        with self.lock:
            if self.display is None:
                from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
                from rich.text import Text

                class Remaining(TimeRemainingColumn):
                    def render(self, task: "Task") -> "Text":
                        # rich leaves the first item out of its speed, and estimates from the second on
                        if task.completed > FEW:
                            return super().render(task)
                        return Text(f"{_clock(task.elapsed or 0.0)} gone", style="progress.elapsed")

                self.display = Progress(
                    TextColumn("{task.description}"),
                    BarColumn(),
                    MofNCompleteColumn(),
                    Remaining(elapsed_when_finished=True),
                    console=console(stderr=True),
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


def counted(count: int, noun: str) -> str:
    """Return a number of things in words: ``1 recording``, ``1,200 recordings``."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


@contextlib.contextmanager
def track(label: str, total: int) -> Iterator[Advance]:
    """Show a job of `total` items while the block runs; call what it gives with the number of items done.

    Of several processes of a job the first alone shows anything.
    """
    if not processes.first():
        yield lambda _count: None
        return
    if sys.stderr.isatty() and not _dumb():
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
    try:
        if _terminal.display is not None:
            _terminal.display.console.print(message, markup=False, highlight=False)
        else:
            print(message, file=sys.stderr, flush=True)
    except BrokenPipeError:
        # whoever read along has left, as `2>&1 | head` does: the job goes on, unheard
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or none
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())


def console(*, stderr: bool = False) -> "Console":
    """Return what tables and bars are printed with: in colours, unless NO_COLOR or a dumb terminal forbids them."""
    from rich.console import Console

    plain = bool(os.environ.get("NO_COLOR")) or _dumb()
    # its own way with NO_COLOR keeps bold and dim
    return Console(stderr=stderr, color_system=None if plain else "auto")


def load_average() -> float:
    """Return how many threads ran or waited for a core in the last minute, on average; 0 where nobody counts them."""
    try:
        return os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows has none
        return 0.0


def crowded() -> str:
    """Return a remark when more is at work on this machine than it has cores for, and otherwise nothing."""
    load, cores = load_average(), os.cpu_count() or 1
    if load <= cores:
        return ""
    return (
        f"the machine is busy (load {load:.1f} on {cores} cores). Threads that wait for each other make every step"
        " several times as long: set OMP_NUM_THREADS=1"
    )


@contextlib.contextmanager
def _logged(label: str, total: int) -> Iterator[Advance]:
    began = shown = time.monotonic()
    done = 0
    after_first: list[tuple[float, int]] = []
    lock = threading.Lock()

    def advance(count: int) -> None:
        nonlocal done, shown
        with lock:
            done += count
            now = time.monotonic()
            # what was done before, in a run that is resumed, took no time now
            if done and len(after_first) <= FEW:
                after_first.append((now, done))
            if now - shown < LOG_INTERVAL_S or not done:
                return
            shown = now
            line = f"{label}: {done} of {total}, {_clock(now - began)} gone"
            if len(after_first) > FEW:
                since, before = after_first[0]
                left = (now - since) / max(done - before, 1) * max(total - done, 0)
                line += f", about {_clock(left)} left"
        say(line)

    yield advance
    taken = time.monotonic() - began
    if taken >= QUIET_BELOW_S:
        say(f"{label}: {done} of {total} in {_clock(taken)}")


def _dumb() -> bool:
    return os.environ.get("TERM", "").lower() in ("dumb", "unknown")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
