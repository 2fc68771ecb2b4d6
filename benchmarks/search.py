"""What a search among many enrolled people costs, in a file and in PostgreSQL: time, memory, and who is missed.

    python benchmarks/search.py                       # 100,000 people, every kind of store
    python benchmarks/search.py --people 1000000 --kinds sqlite sealed

Fills the table that a search reads with random voices of dimension 192, a recording each, and prints a table. The
PostgreSQL server is the one of the package pgserver, with its standard settings. Recall is the share of the ten
nearest, found by comparing with everybody, that the graph (HNSW) finds too. Random vectors have no neighbourhoods, so
this is the worst case; half of the queries are voices of enrolled people, changed, and the last line is about those.
"""

import argparse
import contextlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from machine import describe

from voxanchor.enrolments.encryption import new_key
from voxanchor.enrolments.postgres import PostgresStore
from voxanchor.enrolments.records import EnrolmentEmbedding, Match
from voxanchor.enrolments.sql import Session, SqlStore
from voxanchor.enrolments.sqlite import SqliteStore

DIMENSION, MODEL, TOP = 192, "0123456789abcdef", 10
AT_ONCE = 10_000
MOVED = 0.7  # the cosine, about, of a changed voice to what it was


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def voices(people: int) -> Iterator[tuple[int, np.ndarray]]:
    for start in range(0, people, AT_ONCE):
        count = min(AT_ONCE, people - start)
        yield start, unit(np.random.default_rng(start).standard_normal((count, DIMENSION)))


def queries(people: int, count: int) -> np.ndarray:
    draw = np.random.default_rng(2**31)
    drawn = unit(draw.standard_normal((count, DIMENSION)))
    _, known = next(voices(people))
    half = min(count // 2, len(known))
    drawn[:half] = unit(MOVED * known[:half] + np.sqrt(1 - MOVED**2) * drawn[:half])
    return drawn


def fill(store: SqlStore, people: int, write: Callable[[Session, list[tuple[object, ...]]], None]) -> float:
    """Seconds to write a row of `person` and of `voice` for each."""
    began = time.perf_counter()
    with store._writing() as session:
        session.rows("INSERT INTO model (name, dimension) VALUES (?, ?)", MODEL, DIMENSION)
        for start, rows in voices(people):
            names = [f"person {start + place:07d}" for place in range(len(rows))]
            packed = [store._pack(row, "voice", name, MODEL) for name, row in zip(names, rows, strict=True)]
            write(session, list(zip(names, packed, strict=True)))
    return time.perf_counter() - began


def write_rows(session: Session, rows: list[tuple[object, ...]]) -> None:
    for name, packed in rows:
        ((number,),) = session.rows("INSERT INTO person (name, created, updated) VALUES (?, '', '') RETURNING id", name)
        session.rows("INSERT INTO voice VALUES (?, ?, ?, 1, 3.0, 20.0)", number, MODEL, packed)


def resident_mb() -> float:
    text = Path("/proc/self/status").read_text(encoding="ascii")
    return int(text.partition("VmRSS:")[2].split()[0]) / 1e3


def timed(store: SqlStore, asked: np.ndarray) -> tuple[list[list[Match]], float, float]:
    """The matches of each query, median and 95th percentile of milliseconds."""
    found, taken = [], []
    for query in asked:
        began = time.perf_counter()
        found.append(store.search(query, MODEL, TOP))
        taken.append(1e3 * (time.perf_counter() - began))
    return found, statistics.median(taken), float(np.quantile(taken, 0.95))


def recall(exact: list[list[Match]], found: list[list[Match]]) -> float:
    pairs = zip(exact, found, strict=True)
    shared = [len({m.person for m in one} & {m.person for m in other}) / len(one) for one, other in pairs]
    return statistics.mean(shared)


def line(what: str, people: int, values: list[str]) -> None:
    print(f"| {what} | {people:,} | {' | '.join(values)} |", flush=True)


def in_file(folder: Path, people: int, asked: np.ndarray, sealed: bool) -> None:
    place = folder / ("sealed.db" if sealed else "clear.db")
    key = new_key() if sealed else None
    with SqliteStore(place, key) as store:
        filled = fill(store, people, write_rows)
    size = place.stat().st_size / 1e6
    with SqliteStore(place, key) as store:
        before = resident_mb()
        began = time.perf_counter()
        store.search(asked[0], MODEL, TOP)
        loaded = time.perf_counter() - began
        memory = resident_mb() - before
        _, median, high = timed(store, asked)
        draw = unit(np.random.default_rng(5).standard_normal((1, DIMENSION)))[0]
        changed = []
        for number in range(5):
            store.enroll(f"new {number}", [EnrolmentEmbedding(draw, 3.0, 20.0)], MODEL)
            began = time.perf_counter()
            store.search(draw, MODEL, TOP)
            changed.append(1e3 * (time.perf_counter() - began))
        began = time.perf_counter()
        store.delete("new 0")
        deleted = time.perf_counter() - began
    what = "SQLite, with a key" if sealed else "SQLite"
    facts = [f"{filled:.1f}", f"{size:.0f}", f"{loaded:.2f}", f"{memory:.0f}", f"{median:.2f}", f"{high:.2f}", "1"]
    line(what, people, [*facts, f"{statistics.median(changed):.1f}", f"{deleted:.2f}"])


@contextlib.contextmanager
def server() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="pg"))
    os.environ.setdefault("XDG_RUNTIME_DIR", str(folder))
    from pgserver.postgres_server import get_server

    running = get_server(folder / "data", cleanup_mode="delete")
    folder.chmod(0o755)
    try:
        yield running.get_uri()
    finally:
        running.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def in_postgres(people: int, asked: np.ndarray) -> None:
    with server() as address, PostgresStore(address) as store:
        filled = fill(store, people, write_rows)
        with store._pool.connection() as connection:
            connection.execute("ANALYZE")
            ((size,),) = connection.execute("SELECT pg_total_relation_size('voice') / 1e6").fetchall()
        store.search(asked[0], MODEL, TOP)
        exact, median, high = timed(store, asked)
        common = [f"{filled:.1f}", f"{size:.0f}", "-", "-"]
        line("PostgreSQL, everybody", people, [*common, f"{median:.2f}", f"{high:.2f}", "1", "-", "-"])
        began = time.perf_counter()
        store.index(MODEL)
        made = time.perf_counter() - began
        with store._pool.connection() as connection:
            ((size,),) = connection.execute("SELECT pg_total_relation_size('voice') / 1e6").fetchall()
        timed(store, asked)  # reads the graph into memory
        found, median, high = timed(store, asked)
        share = recall(exact, found)
        half = len(asked) // 2
        first = [one[0].person == other[0].person for one, other in zip(exact[:half], found[:half], strict=True)]
        facts = [f"{filled:.1f}", f"{size:.0f}", f"{made:.1f}", "-", f"{median:.2f}", f"{high:.2f}", f"{share:.3f}"]
        line("PostgreSQL, graph", people, [*facts, "-", "-"])
        print(f"\nOf {half} changed voices of enrolled people, for {sum(first)} the graph has the same first match.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=100)
    parser.add_argument("--kinds", nargs="+", default=["sqlite", "sealed", "postgres"])
    arguments = parser.parse_args()
    facts = describe(threads=2)
    print(f"{facts['processor']}, {facts['cores']} cores; Python {facts['python']}, numpy {np.__version__}; ", end="")
    print(f"load {os.getloadavg()[0]:.1f}; dimension {DIMENSION}, top {TOP}, {arguments.queries} queries\n")
    print(
        "| store | people | filled, s | on disk, MB | loaded or indexed, s | memory, MB | search, ms | 95 %, ms "
        "| recall | search after a change, ms | deletion, s |"
    )
    print("|---" * 11 + "|")
    asked = queries(arguments.people, arguments.queries)
    with tempfile.TemporaryDirectory() as folder:
        for kind in arguments.kinds:
            if kind == "postgres":
                in_postgres(arguments.people, asked)
            else:
                in_file(Path(folder), arguments.people, asked, sealed=kind == "sealed")


if __name__ == "__main__":
    sys.exit(main())
