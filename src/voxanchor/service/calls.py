"""One request while it is answered: what the log will hold of it, and whether it has run out of time."""

import contextlib
import secrets
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field

from voxanchor.service.failures import Refusal


class Deadline:
    """Whether a request may go on.

    Either it is given up, and from then on changes nothing; or it has begun to write, and is then waited for. Which of
    the two comes first is settled under a lock, so that an answer "timed out" means that nothing was changed.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = self._writing = False

    @property
    def over(self) -> bool:
        """Whether the request was given up."""
        return self._over

    def give_up(self) -> bool:
        """Give the request up unless it has begun to write; return whether it is given up."""
        with self._lock:
            self._over = not self._writing
            return self._over

    def check(self) -> None:
        """Check that the request may go on.

        Raises:
            Refusal: it was given up.
        """
        if self._over:
            raise timed_out()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Keep the request from being given up, from here on.

        Raises:
            Refusal: it was given up already.
        """
        with self._lock:
            if self._over:
                raise timed_out()
            self._writing = True
        yield


def timed_out() -> Refusal:
    """Return the refusal of a request that took too long."""
    return Refusal(504, "timed_out", "the request took too long and was given up; nothing was changed")


@dataclass
class Call:
    """A request.

    Attributes:
        id: random, in the answer's header and in the log.
        deadline: whether it may go on.
        by: name of the API key; empty without keys.
        audio_s: seconds of audio that were read.
        decision: the answer, where one was decided.
        problem: what went wrong inside, for the log: no names of people or files.
    """

    id: str = field(default_factory=lambda: secrets.token_hex(8))
    deadline: Deadline = field(default_factory=Deadline)
    by: str = ""
    audio_s: float = 0.0
    decision: str = ""
    problem: str = ""


_current: ContextVar[Call | None] = ContextVar("voxanchor_call", default=None)


def current() -> Call:
    """Return the request that is being answered, in any of its threads; a new one outside of all."""
    return _current.get() or Call()


def enter(call: Call) -> None:
    """Make a request the current one of this task and what it starts."""
    _current.set(call)
