"""A store in one SQLite file, with a search in memory."""

import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxanchor.enrolments import voices
from voxanchor.enrolments.checks import model_name
from voxanchor.enrolments.connection import SqliteDatabase
from voxanchor.enrolments.database import Row, Session
from voxanchor.enrolments.matrix import BLOCK_ROWS, Block, Matrix
from voxanchor.enrolments.records import Match
from voxanchor.enrolments.sealing import read_key, seal_of
from voxanchor.enrolments.sqlstore import SqlStore

_NAMES_AT_ONCE = 500


class SqliteStore(SqlStore):
    """A store in one file, as `voxanchor.enrolments.store.Store` describes it.

    A search is a product with all voiceprints of the model, (P, D) float32 in memory: 4 P D bytes. They are read at the
    first search; afterwards each search asks the file which of them were changed, by whatever process, and reads those.

    Args:
        place: path of the file, made where it is missing; `:memory:` for none.
        key: encrypts embeddings and audio (`voxanchor.enrolments.sealing.read_key`).

    Raises:
        EnrolmentError: see `SqliteDatabase`.
        MissingExtraError: a key, and the package that encrypts is not installed.
    """

    def __init__(self, place: str | Path, key: bytes | str | None = None) -> None:
        self._file = SqliteDatabase(str(place), seal_of(None if key is None else read_key(key)))
        super().__init__(self._file)
        self._matrices: dict[str, Matrix] = {}
        self._loading = threading.Lock()

    def search(self, embedding: NDArray[np.float32], model: str, top: int) -> list[Match]:
        """Return the people whose voiceprints are nearest, best first."""
        model = model_name(model)
        with self._loading, self._file.reading() as session:
            voice = self._query(session, embedding, model, top)
            if voice is None:
                return []
            matrix = self._current(session, model)
        found = matrix.nearest(voice, top)
        with self._file.reading() as session:
            names = _names(session, [number for number, _ in found])
        matches = [Match(names[number], cosine) for number, cosine in found if number in names]
        return sorted(matches, key=lambda match: (-match.cosine, match.person))[:top]

    def _current(self, session: Session, model: str) -> Matrix:
        """Return the voices as they are now: those in memory, and what has changed since read anew."""
        first, state = session.rows("SELECT coalesce(min(number), 0), coalesce(max(number), 0) FROM change")[0]
        known = self._matrices.get(model)
        if known is not None and known.state == state:
            return known
        if known is None or known.state < first - 1:
            matrix = Matrix(tuple(self._blocks(session, model)), state)
        else:
            rows = session.rows(
                "SELECT DISTINCT person_id FROM change WHERE number > ? AND model = ?", known.state, model
            )
            touched = np.array([number for (number,) in rows], dtype=np.int64)
            matrix = known.changed(touched, self._blocks(session, model, known.state), state)
        self._matrices[model] = matrix
        return matrix

    def _blocks(self, session: Session, model: str, since: int | None = None) -> Iterator[Block]:
        """Yield the voices, or only those changed since a state, in blocks."""
        # a plus sign keeps SQLite from an index: to read all rows in the order in which they lie is faster
        where = "+v.model = ?"
        values: list[object] = [model]
        if since is not None:
            where = "v.model = ? AND v.person_id IN (SELECT person_id FROM change WHERE number > ? AND model = ?)"
            values = [model, since, model]
        # names are bound into seals; without a key nothing needs them
        people = "JOIN person p ON p.id = v.person_id" if self._file.seal.encrypts else ""
        name = "p.name" if people else "''"
        rows = session.stream(f"SELECT v.person_id, v.total, {name} FROM voice v {people} WHERE {where}", *values)
        while block := list(islice(rows, BLOCK_ROWS)):
            yield self._block(block, model)

    def _block(self, rows: list[Row], model: str) -> Block:
        opened = self._file.seal.open
        content = b"".join([opened(total, "voice", name, model) for _, total, name in rows])
        totals = np.frombuffer(content, "<f4").reshape(len(rows), -1)
        return Block(np.array([row[0] for row in rows], dtype=np.int64), voices.directions(totals))


def _names(session: Session, people: list[int]) -> dict[int, str]:
    names: dict[int, str] = {}
    for start in range(0, len(people), _NAMES_AT_ONCE):
        part = people[start : start + _NAMES_AT_ONCE]
        marks = ", ".join("?" * len(part))
        names.update(dict(session.rows(f"SELECT id, name FROM person WHERE id IN ({marks})", *part)))
    return names
