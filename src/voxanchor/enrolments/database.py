"""The little of a database that the kinds of store share: transactions, and how vectors and audio are stored."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from voxanchor.enrolments.sealing import Seal

Row = tuple[Any, ...]


class Session(Protocol):
    """One transaction. A `?` in a statement stands for a value, whatever the database."""

    def rows(self, statement: str, *values: object) -> list[Row]:
        """Return the rows of a statement; none for one that gives none."""
        ...

    def stream(self, statement: str, *values: object) -> Iterator[Row]:
        """Yield the rows of a query without holding them all."""
        ...


class Database(Protocol):
    """Where the tables of `voxanchor.enrolments.schema` lie. Safe for threads."""

    @property
    def seal(self) -> Seal:
        """The encryption of embeddings and audio."""
        ...

    def writing(self) -> AbstractContextManager[Session]:
        """Give a transaction that is kept as a whole on leaving, and undone as a whole on an exception."""
        ...

    def reading(self) -> AbstractContextManager[Session]:
        """Give a view of one state of the database, whatever others write meanwhile."""
        ...

    def numbers(self, session: Session, count: int) -> Sequence[int]:
        """Return numbers for that many new enrolments, never given before."""
        ...

    def pack(self, vector: NDArray[np.float32], *place: str | int) -> object:
        """Return a vector (D,) as it is stored; `place` says whose it is."""
        ...

    def unpack(self, stored: Any, *place: str | int) -> NDArray[np.float32]:
        """Return what was given to `pack` with the same place: (D,) float32.

        Raises:
            EnrolmentError: sealed with another key, for another place, or changed.
        """
        ...

    def erase(self) -> None:
        """Remove what deleted rows left behind in files, as far as this database can.

        Raises:
            EnrolmentError: it could not be done now.
        """
        ...

    def close(self) -> None:
        """Give up the connections."""
        ...
