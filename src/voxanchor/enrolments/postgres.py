"""Stores in PostgreSQL with the extension pgvector, which searches where the voiceprints lie."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from voxanchor.enrolments import sql
from voxanchor.enrolments.encryption import Clear
from voxanchor.enrolments.records import Match, model_name
from voxanchor.enrolments.sql import Row, Session
from voxanchor.enrolments.transfer import PortableStore
from voxanchor.errors import EnrolmentError
from voxanchor.extras import missing, missing_in

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.rows import TupleRow


SCHEMA_VERSION = 1

MOST_CONNECTIONS = 10
"""In one process; further threads wait."""

MOST_INDEXED_DIMENSIONS = 2000
"""Of a `vector` in an index of pgvector."""

_CONNECT_S = 10

_PREPARING = 0x766F7861
"""The lock under which one process at a time makes the tables."""

_LEAST_LISTED, _MOST_LISTED = 100, 1000
"""Bounds of `hnsw.ef_search`, the candidates that a search of the graph keeps: our least, and pgvector's most."""

_LISTED_FOR_EACH = 4
"""Candidates for each match that is asked for."""

_PATH = """
SELECT set_config('search_path', 'voxanchor, ' || quote_ident(n.nspname), false)
FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'vector'
"""

_TYPES = {
    "setting": "TEXT",
    "by_key": "",
    "name": 'TEXT COLLATE "C"',
    "number": "BIGINT",
    "numbered": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "enrolment": "BIGINT PRIMARY KEY",
    "real": "DOUBLE PRECISION",
    "vector": "VECTOR",
    "blob": "BYTEA",
}


class _Session:
    """A transaction on one connection."""

    def __init__(self, connection: "Connection[TupleRow]") -> None:
        self._connection = connection

    def rows(self, statement: str, *values: object) -> list[Row]:
        """Return the rows of a statement; an empty list for one without a result."""
        with self._connection.cursor(binary=True) as cursor:
            cursor.execute(*_query(statement, values))
            return cursor.fetchall() if cursor.description else []

    def stream(self, statement: str, *values: object) -> Iterator[Row]:
        """Yield the rows of a query without holding them all."""
        with self._connection.cursor("rows", binary=True) as cursor:
            cursor.itersize = 1000
            yield from cursor.execute(*_query(statement, values))


class PostgresStore(PortableStore):
    """A store in the schema `voxanchor` of a database, as `voxanchor.enrolments.store.Store` describes it.

    The schema is made where it is missing. A search compares with every voiceprint of the model, unless `index` has
    made a graph for that model.

    Args:
        place: `postgresql://...`, as libpq reads it.
        key: refused: the database must see the vectors to search among them.

    Raises:
        EnrolmentError: a key was given, or the database cannot be reached or prepared, or is of a later version.
        MissingExtraError: the packages for PostgreSQL are not installed.
    """

    def __init__(self, place: str, key: bytes | str | None = None) -> None:
        if key is not None:
            advice = "Use a store in a file, or encrypt the database server's disk, and give no key."
            raise EnrolmentError(f"PostgreSQL searches among vectors in clear, so a key cannot seal them. {advice}")
        try:
            import psycopg
            from pgvector.psycopg import register_vector
            from psycopg_pool import ConnectionPool
        except ImportError as error:
            raise missing_in(error, "a store in PostgreSQL") or missing("psycopg", "a store in PostgreSQL") from None
        self._error = psycopg.Error
        super().__init__(Clear(), _without_password(place))

        def configure(connection: "Connection[TupleRow]") -> None:
            connection.execute(_PATH)
            register_vector(connection)

        with self._clear():
            with psycopg.connect(place, connect_timeout=_CONNECT_S) as connection:
                _prepare(connection, self._place)
            self._pool = ConnectionPool(
                place,
                min_size=1,
                max_size=MOST_CONNECTIONS,
                kwargs={"autocommit": True},
                configure=configure,
                timeout=_CONNECT_S,
                open=True,
            )
        self._connected(self._pool.close)

    def search(self, embedding: NDArray[np.float32], model: str, top: int) -> list[Match]:
        """Return the people whose voiceprints are nearest, best first."""
        model = model_name(model)
        with self._reading() as session:
            voice = self._query(session, embedding, model, top)
            if voice is None:
                return []
            listed = max(_LEAST_LISTED, _LISTED_FOR_EACH * top)
            if listed <= _MOST_LISTED and _indexed(session, model):
                session.rows(f"SET LOCAL hnsw.ef_search = {listed}")
                # literals, no parameters: only then does PostgreSQL see that the index of this model applies
                where, distance = f"v.model = {_literal(model)}", f"v.total::vector({voice.size}) <=> ?"
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
        totals = np.stack([self._unpack(stored) for _, stored in rows])
        # one by one and in float64, so that two equal voiceprints have equal cosines
        cosines = np.einsum("nd,d->n", sql.directions(totals).astype(np.float64), voice.astype(np.float64))
        matches = [Match(row[0], float(np.clip(cosine, -1.0, 1.0))) for row, cosine in zip(rows, cosines, strict=True)]
        return sorted(matches, key=lambda match: (-match.cosine, match.person))

    def index(self, model: str) -> None:
        """Make a graph (HNSW) of one model's voiceprints, with which searches are fast but may miss someone.

        It pays from about 50,000 people. Enrolments wait while it is made; afterwards it is kept current. A search for
        more than 250 people still compares with everybody.

        Raises:
            EnrolmentError: nobody is enrolled by this model, or it has more dimensions than an index takes.
        """
        model = model_name(model)
        with self._writing() as session:
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
                f"USING hnsw ((total::vector({dimension})) vector_cosine_ops) WHERE model = {_literal(model)}"
            )

    def drop_index(self, model: str) -> None:
        """Drop that graph, where there is one: searches compare with everybody again."""
        with self._writing() as session:
            session.rows(f"DROP INDEX IF EXISTS {_index_name(model_name(model))}")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Session]:
        """Open a transaction that is committed on leaving, and rolled back on an exception."""
        self._require_open()
        with self._clear(), self._pool.connection() as connection, connection.transaction():
            yield _Session(connection)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[Session]:
        """Open a view of one state of the database."""
        self._require_open()
        with self._clear(), self._pool.connection() as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield _Session(connection)

    def _numbers(self, session: Session, count: int) -> Sequence[int]:
        """Return ids for new enrolments."""
        rows = session.rows("SELECT nextval('enrolment_number') FROM generate_series(1, ?)", count)
        return [number for (number,) in rows]

    def _pack(self, vector: NDArray[np.float32], *_place: str | int) -> object:
        """Return a vector (D,) as pgvector's package takes it."""
        return vector

    def _unpack(self, stored: Any, *_place: str | int) -> NDArray[np.float32]:
        """Return a stored vector (D,)."""
        vector: NDArray[np.float32] = np.asarray(stored.to_numpy(), dtype=np.float32)
        return vector

    def _erase(self) -> None:
        """Leave deleted rows to the server's next vacuum."""

    @contextlib.contextmanager
    def _clear(self) -> Iterator[None]:
        """Turn errors of the server into those of a store, which name the database without its password."""
        try:
            yield
        except self._error as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            advice = "See that the server runs, and that the address, the name and the password are right."
            raise EnrolmentError(f"{self._place}: PostgreSQL reports: {lines[0]}. {advice}") from None


def _literal(text: str) -> str:
    """Return a text as a literal, for statements in which a value cannot be a parameter."""
    return "U&'" + "".join(c if c.isascii() and c.isalnum() else f"\\+{ord(c):06X}" for c in text) + "'"


def _query(statement: str, values: Sequence[object]) -> tuple[bytes, Sequence[object]]:
    return statement.replace("%", "%%").replace("?", "%s").encode("utf-8"), values


def _prepare(connection: "Connection[TupleRow]", shown: str) -> None:
    """Create extension, schema and tables where they are missing, in the transaction of the connection."""
    from psycopg import Error

    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_PREPARING])
    if not connection.execute("SELECT 1 FROM pg_extension WHERE extname = 'vector'").fetchall():
        try:
            connection.execute("CREATE EXTENSION vector")
        except Error as error:
            reason = str(error).strip().splitlines()[0]
            advice = "Install pgvector on the server and have its administrator do: CREATE EXTENSION vector"
            raise EnrolmentError(f"{shown}: no extension 'vector' in this database ({reason}). {advice}") from None
    if not connection.execute("SELECT to_regclass('voxanchor.setting')").fetchall()[0][0]:
        connection.execute("CREATE SCHEMA IF NOT EXISTS voxanchor")
        connection.execute(_PATH)
        connection.execute(sql.TABLES.format(**_TYPES).encode("utf-8"))
        connection.execute("CREATE SEQUENCE enrolment_number OWNED BY enrolment.id")
        connection.execute("INSERT INTO setting VALUES ('version', %s)", [str(SCHEMA_VERSION)])
    ((version,),) = connection.execute("SELECT value FROM voxanchor.setting WHERE name = 'version'").fetchall()
    if version != str(SCHEMA_VERSION):
        reason = f"its schema is version {version}, this program knows {SCHEMA_VERSION}. Update voxanchor to open it."
        raise EnrolmentError(f"{shown}: made by another version of voxanchor: {reason}")


def _without_password(place: str) -> str:
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = conninfo_to_dict(place)
    except ProgrammingError:
        raise EnrolmentError("the address of the database is not one. Give postgresql://user@host/database") from None
    return f"postgresql://{parts.get('host', '')}/{parts.get('dbname', '')}"


def _index_name(model: str) -> str:
    return f"voice_{hashlib.sha256(model.encode('utf-8')).hexdigest()[:16]}"


def _indexed(session: Session, model: str) -> bool:
    name = _index_name(model)
    found = session.rows("SELECT 1 FROM pg_indexes WHERE schemaname = 'voxanchor' AND indexname = ?", name)
    return bool(found)
