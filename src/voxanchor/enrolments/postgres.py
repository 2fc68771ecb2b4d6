"""A store in PostgreSQL with the extension pgvector, which searches where the voiceprints lie."""

import hashlib

import numpy as np
from numpy.typing import NDArray

from voxanchor.enrolments import voices
from voxanchor.enrolments.checks import model_name
from voxanchor.enrolments.database import Session
from voxanchor.enrolments.records import Match
from voxanchor.enrolments.server import PostgresDatabase, literal
from voxanchor.enrolments.sqlstore import SqlStore
from voxanchor.errors import EnrolmentError

MOST_INDEXED_DIMENSIONS = 2000
"""Of a `vector` in an index of pgvector."""

_LEAST_LISTED, _MOST_LISTED = 100, 1000
"""Bounds of `hnsw.ef_search`, the candidates that a search of the graph keeps: our least, and pgvector's most."""

_LISTED_FOR_EACH = 4
"""Candidates for each match that is asked for."""


class PostgresStore(SqlStore):
    """A store in the schema `voxanchor` of a database, as `voxanchor.enrolments.store.Store` describes it.

    A search compares with every voiceprint of the model, unless `index` has made a graph for that model.

    Args:
        place: `postgresql://...`.
        key: refused: the database must see the vectors to search among them.

    Raises:
        EnrolmentError: a key was given, or the database cannot be reached or prepared.
        MissingExtraError: the packages for PostgreSQL are not installed.
    """

    def __init__(self, place: str, key: bytes | str | None = None) -> None:
        if key is not None:
            advice = "Use a store in a file, or encrypt the database server's disk, and give no key."
            raise EnrolmentError(f"PostgreSQL searches among vectors in clear, so a key cannot seal them. {advice}")
        self._server = PostgresDatabase(place)
        super().__init__(self._server)

    def search(self, embedding: NDArray[np.float32], model: str, top: int) -> list[Match]:
        """Return the people whose voiceprints are nearest, best first."""
        model = model_name(model)
        with self._server.reading() as session:
            voice = self._query(session, embedding, model, top)
            if voice is None:
                return []
            listed = max(_LEAST_LISTED, _LISTED_FOR_EACH * top)
            if listed <= _MOST_LISTED and _indexed(session, model):
                session.rows(f"SET LOCAL hnsw.ef_search = {listed}")
                # written out, not given as values: only so does PostgreSQL see that the index of this model serves
                where, distance = f"v.model = {literal(model)}", f"v.total::vector({voice.size}) <=> ?"
                rows = session.rows(
                    "WITH v AS MATERIALIZED "
                    f"(SELECT v.person_id, v.total FROM voice v WHERE {where} ORDER BY {distance} LIMIT ?) "
                    "SELECT p.name, v.total FROM v JOIN person p ON p.id = v.person_id",
                    voice,
                    top,
                )
            else:
                rows = session.rows(
                    "SELECT p.name, v.total FROM voice v JOIN person p ON p.id = v.person_id "
                    "WHERE v.model = ? ORDER BY v.total <=> ?, p.name LIMIT ?",
                    model,
                    voice,
                    top,
                )
        if not rows:
            return []
        totals = np.stack([self._server.unpack(stored) for _, stored in rows])
        # one by one and in float64, so that two equal voiceprints have equal cosines
        cosines = np.einsum("nd,d->n", voices.directions(totals).astype(np.float64), voice.astype(np.float64))
        matches = [Match(row[0], float(np.clip(cosine, -1.0, 1.0))) for row, cosine in zip(rows, cosines, strict=True)]
        return sorted(matches, key=lambda match: (-match.cosine, match.person))

    def index(self, model: str) -> None:
        """Make a graph (HNSW) of one model's voiceprints, with which searches are fast but may miss someone.

        Worth it from about 50,000 people. Enrolments wait while it is made; afterwards it is kept current. A search for
        more than 250 people still compares with everybody.

        Raises:
            EnrolmentError: nobody is enrolled by this model, or it has more dimensions than an index takes.
        """
        model = model_name(model)
        with self._server.writing() as session:
            known = session.rows("SELECT dimension FROM model WHERE name = ?", model)
            if not known:
                raise EnrolmentError(f"nobody is enrolled by the model {model}: enrol people before making its index")
            dimension = known[0][0]
            if dimension > MOST_INDEXED_DIMENSIONS:
                reason = f"{dimension} dimensions, and an index takes {MOST_INDEXED_DIMENSIONS}. Search without one."
                raise EnrolmentError(f"embeddings of the model {model} have {reason}")
            session.rows("SET LOCAL maintenance_work_mem = '512MB'")
            session.rows(
                f"CREATE INDEX IF NOT EXISTS {_index_name(model)} ON voice "
                f"USING hnsw ((total::vector({dimension})) vector_cosine_ops) WHERE model = {literal(model)}"
            )

    def drop_index(self, model: str) -> None:
        """Take that graph away again, where there is one: searches compare with everybody."""
        with self._server.writing() as session:
            session.rows(f"DROP INDEX IF EXISTS {_index_name(model_name(model))}")


def _index_name(model: str) -> str:
    return f"voice_{hashlib.sha256(model.encode('utf-8')).hexdigest()[:16]}"


def _indexed(session: Session, model: str) -> bool:
    name = _index_name(model)
    found = session.rows("SELECT 1 FROM pg_indexes WHERE schemaname = 'voxanchor' AND indexname = ?", name)
    return bool(found)
