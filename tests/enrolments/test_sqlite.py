"""What is particular to a store in a file: its mode, other processes, kills, and what deletion leaves on disk."""

import contextlib
import gc
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from voxanchor.enrolments import sqlite
from voxanchor.enrolments.encryption import new_key
from voxanchor.enrolments.records import Decision, EnrolmentEmbedding
from voxanchor.enrolments.sqlite import SqliteStore
from voxanchor.enrolments.store import Store, open_store
from voxanchor.errors import EnrolmentError

Prints = Callable[..., list[EnrolmentEmbedding]]

WRITER = """
import sys
import numpy as np
from voxanchor.enrolments.records import EnrolmentEmbedding
from voxanchor.enrolments.store import open_store
place, name, people, recordings = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
with open_store(place) as store:
    print("open", flush=True)
    for person in range(people):
        drawn = np.random.default_rng(person).standard_normal((recordings, 8))
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        store.enroll(f"{name}{person}", [EnrolmentEmbedding(vector, 1.0, 1.0) for vector in drawn], "m1")
"""


def writer(place: Path, name: str, people: int, recordings: int = 1) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", WRITER, str(place), name, str(people), str(recordings)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def on_disk(place: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(place.parent.glob(f"{place.name}*")))


def test_the_files_are_their_owners_alone(tmp_path: Path, prints: Prints) -> None:
    place = tmp_path / "new" / "voices.db"
    before = os.umask(0)
    try:
        with open_store(place) as store:
            store.enroll("Ann", prints(1), "m1")
            files = sorted(path.name for path in place.parent.iterdir())
            assert files == ["voices.db", "voices.db-shm", "voices.db-wal"]
            assert {path.stat().st_mode & 0o777 for path in place.parent.iterdir()} == {0o600}
    finally:
        os.umask(before)
    assert [path.name for path in place.parent.iterdir()] == ["voices.db"]


@pytest.mark.parametrize("sealed", [False, True])
def test_deletion_leaves_no_bytes(tmp_path: Path, sealed: bool) -> None:
    """Names in random order and rows that change, so that SQLite moves rows between pages before they are deleted."""
    place = tmp_path / "voices.db"
    draw = np.random.default_rng(0)
    names = [f"{draw.bytes(10).hex()} of a name" for _ in range(150)]

    def recordings(count: int) -> list[EnrolmentEmbedding]:
        drawn = draw.standard_normal((count, 96))
        drawn /= np.linalg.norm(drawn, axis=1, keepdims=True)
        return [EnrolmentEmbedding(vector.astype(np.float32), 1.0, 1.0, audio=draw.bytes(300)) for vector in drawn]

    with open_store(place, new_key() if sealed else None) as store:
        kept = {name: recordings(2) for name in names}
        for name, content in kept.items():
            store.enroll(name, content, "m1")
            store.log(Decision(name, "verify", "accepted", 0.5, None, 0.3, "m1", reason=f"{name}: near"))
        for name in names[::3]:
            kept[name] += recordings(1)
            store.enroll(name, kept[name][-1:], "m1")
        for name in names[::5]:
            vectors = [content.embedding.tobytes() for content in kept[name]]
            total = np.sum([content.embedding for content in kept[name]], axis=0, dtype=np.float64)
            needles = [name.encode(), *vectors, *(content.audio or b"" for content in kept[name])]
            needles.append(total.astype(np.float32).tobytes())
            parts = [part for needle in needles for part in (needle[:20], needle[-20:])]
            assert name.encode() in on_disk(place)
            if not sealed:
                assert all(part in on_disk(place) for part in parts)
            store.delete(name)
            left = on_disk(place)
            assert not any(part in left for part in parts)


def test_deletion_while_another_reads(tmp_path: Path, prints: Prints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_S", 0.1)
    place = tmp_path / "voices.db"
    with open_store(place) as store:
        store.enroll("Ann", prints(1), "m1")
        other = sqlite3.connect(place, isolation_level=None)
        other.execute("BEGIN")
        other.execute("SELECT * FROM person").fetchall()
        with pytest.raises(EnrolmentError, match="is deleted, but bytes"):
            store.delete("Ann")
        assert store.people() == []
        other.close()


def test_a_deletion_after_the_working_directory_has_changed(
    tmp_path: Path, prints: Prints, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    with open_store("voices.db") as store:
        store.enroll("a long name of Ann's", prints(1), "m1")
        monkeypatch.chdir(tmp_path / "elsewhere")
        assert store.delete("a long name of Ann's") == 1
        assert b"a long name" not in on_disk(tmp_path / "voices.db")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_others_read_while_a_deletion_cleans_the_file(
    tmp_path: Path, prints: Prints, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Among many people that takes seconds. Here somebody reads what was there before, which it waits for."""
    monkeypatch.setattr(sqlite, "BUSY_S", 20.0)
    place = tmp_path / "voices.db"
    with open_store(place) as store, contextlib.closing(sqlite3.connect(place, isolation_level=None)) as other:
        for name in ("Ann", "Bob"):
            store.enroll(name, prints(1), "m1")
        other.execute("BEGIN")
        other.execute("SELECT * FROM person").fetchall()
        with ThreadPoolExecutor(1) as pool:
            deletion = pool.submit(store.delete, "Ann")
            while [person.name for person in store.people()] != ["Bob"]:
                time.sleep(0.01)
            time.sleep(0.3)  # it is at the file by now
            began = time.monotonic()
            assert len(store.search(prints(1)[0].embedding, "m1", 1)) == 1
            assert store.voices() == {"m1": 1}
            took = time.monotonic() - began
            assert not deletion.done()
            other.execute("COMMIT")
            assert deletion.result(timeout=20.0) == 1
        assert took < 5.0


def test_a_store_that_nobody_closed_is_closed_when_collected(tmp_path: Path, prints: Prints) -> None:
    store = SqliteStore(tmp_path / "voices.db")
    store.enroll("Ann", prints(1), "m1")
    connection = store._connection
    del store
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    assert [path.name for path in tmp_path.iterdir()] == ["voices.db"]


def test_a_fork_does_not_close_the_connection_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    store = SqliteStore(":memory:")
    with contextlib.closing(store._connection) as connection:
        monkeypatch.setattr(os, "getpid", lambda: -1)
        del store
        gc.collect()
        assert connection.execute("SELECT count(*) FROM person").fetchone() == (0,)


def test_the_schema_is_that_of_stores_already_written(tmp_path: Path) -> None:
    def schema(place: Path) -> list[tuple[str, str]]:
        with contextlib.closing(sqlite3.connect(f"{place.as_uri()}?mode=ro&immutable=1", uri=True)) as connection:
            return connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()

    open_store(tmp_path / "voices.db").close()
    written = Path(__file__).parents[1] / "artefacts" / "80a30a4" / "people.db"
    assert schema(tmp_path / "voices.db") == schema(written)


def test_two_processes_write_at_once(tmp_path: Path, prints: Prints) -> None:
    place = tmp_path / "voices.db"
    writers = [writer(place, name, 30) for name in ("a", "b")]
    for process in writers:
        process.communicate(timeout=60)
        assert process.returncode == 0
    with open_store(place) as store:
        assert len(store.people()) == 60
        assert len(store.search(prints(1)[0].embedding, "m1", 100)) == 60


def test_a_search_sees_what_another_process_wrote(tmp_path: Path, prints: Prints) -> None:
    place = tmp_path / "voices.db"
    with open_store(place) as store:
        store.enroll("Ann", prints(1), "m1")
        assert len(store.search(prints(1)[0].embedding, "m1", 100)) == 1
        process = writer(place, "p", 5)
        process.communicate(timeout=60)
        assert len(store.search(prints(1)[0].embedding, "m1", 100)) == 6


def test_a_search_that_has_missed_more_changes_than_are_listed(tmp_path: Path, prints: Prints) -> None:
    place = tmp_path / "voices.db"
    with open_store(place) as store:
        store.enroll("Ann", prints(1), "m1")
        store.search(prints(1)[0].embedding, "m1", 1)
        for number in range(4):
            store.enroll(f"p{number}", prints(1, seed=number + 5), "m1")
        other = sqlite3.connect(place, isolation_level=None)
        other.execute("DELETE FROM change WHERE number <= 3")
        other.close()
        assert len(store.search(prints(1)[0].embedding, "m1", 100)) == 5


def test_the_list_of_changes_is_bounded(monkeypatch: pytest.MonkeyPatch, prints: Prints) -> None:
    monkeypatch.setattr(sqlite, "CHANGES_KEPT", 3)
    with open_store(":memory:") as store:
        for number in range(9):
            store.enroll(f"p{number}", prints(1, seed=number), "m1")
            if number % 4 == 0:
                assert len(store.search(prints(1)[0].embedding, "m1", 100)) == number + 1
        assert len(store.search(prints(1)[0].embedding, "m1", 100)) == 9


def test_a_kill_leaves_all_or_none(tmp_path: Path) -> None:
    place = tmp_path / "voices.db"
    for attempt in range(4):
        process = writer(place, f"run{attempt}-", 10_000, recordings=50)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(0.05 + 0.05 * attempt)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    with open_store(place) as store:
        people = store.people()
        assert people
        assert {person.recordings for person in people} == {50}
        assert all(len(store.enrolments(person.name)) == 50 for person in people[:20])
    check = sqlite3.connect(place)
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    check.close()


def test_places_that_are_no_store(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x" * 5000, encoding="ascii")
    other = sqlite3.connect(tmp_path / "other.db")
    other.execute("CREATE TABLE t (a)")
    other.close()
    for name, match in {
        "text": "not a store of enrolments",
        "other.db": "another program",
        "": "a folder",
        "text/voices.db": "cannot be opened or made",
    }.items():
        with pytest.raises(EnrolmentError, match=match):
            open_store(tmp_path / name)


def test_a_later_schema(tmp_path: Path) -> None:
    place = tmp_path / "voices.db"
    open_store(place).close()
    other = sqlite3.connect(place)
    other.execute("PRAGMA user_version = 7")
    other.close()
    with pytest.raises(EnrolmentError, match=r"version 7, this program knows 1\. Update voxanchor"):
        open_store(place)


def test_a_locked_store(tmp_path: Path, prints: Prints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_S", 0.1)
    place = tmp_path / "voices.db"
    with open_store(place) as store:
        other = sqlite3.connect(place, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(EnrolmentError, match="kept the store locked"):
            store.enroll("Ann", prints(1), "m1")
        other.execute("ROLLBACK")
        other.close()
        store.enroll("Ann", prints(1), "m1")


@pytest.mark.skipif(os.geteuid() == 0, reason="the administrator may write anywhere")
def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    with pytest.raises(EnrolmentError, match="may write"):
        open_store(tmp_path / "closed" / "voices.db")


def test_a_key_belongs_to_its_store(tmp_path: Path, prints: Prints) -> None:
    place, key = tmp_path / "sealed.db", new_key()
    with open_store(place, key) as store:
        store.enroll("Ann", prints(1, audio=True), "m1")
    assert prints(1)[0].embedding.tobytes() not in on_disk(place)
    assert b"audio 0 0" not in on_disk(place)
    with pytest.raises(EnrolmentError, match=r"encrypted\. Give the key"):
        open_store(place)
    with pytest.raises(EnrolmentError, match="another key"):
        open_store(place, new_key())
    (tmp_path / "key").write_text(key + "\n", encoding="ascii")
    (tmp_path / "key").chmod(0o600)
    with open_store(place, str(tmp_path / "key")) as store:
        assert len(store.people()) == 1
    open_store(tmp_path / "clear.db").close()
    with pytest.raises(EnrolmentError, match=r"made without a key.*import the file into a new store"):
        open_store(tmp_path / "clear.db", key)


SWAP = "UPDATE {table} SET {column} = (SELECT {column} FROM {table} WHERE person_id = 2) WHERE person_id = 1"


@pytest.mark.parametrize(
    ("statement", "use"),
    [
        (SWAP.format(table="voice", column="total"), lambda store: store.voiceprint("Ann", "m1")),
        (SWAP.format(table="voice", column="total"), lambda store: store.search(np.eye(8)[0], "m1", 1)),
        (SWAP.format(table="enrolment", column="embedding"), lambda store: store.carry("m1", "m2", lambda e: e)),
        ("UPDATE person SET name = 'Eve' WHERE id = 1", lambda store: store.voiceprint("Eve", "m1")),
        ("UPDATE voice SET total = x'00'", lambda store: store.voiceprint("Ann", "m1")),
        ("UPDATE voice SET model = 'm2'", lambda store: store.voiceprint("Ann", "m2")),
    ],
)
def test_a_row_that_was_changed_or_moved(
    tmp_path: Path, prints: Prints, statement: str, use: Callable[[Store], object]
) -> None:
    place, key = tmp_path / "sealed.db", new_key()
    with open_store(place, key) as store:
        store.enroll("Ann", prints(1, seed=1), "m1")
        store.enroll("Bob", prints(1, seed=2), "m1")
        use_before = store.voiceprint("Ann", "m1")
    assert use_before.recordings == 1
    other = sqlite3.connect(place, isolation_level=None)
    other.execute(statement)
    other.close()
    with open_store(place, key) as store, pytest.raises(EnrolmentError, match="was changed, moved"):
        use(store)


def test_swapped_audio_is_a_failure_of_its_person(tmp_path: Path, prints: Prints) -> None:
    place, key = tmp_path / "sealed.db", new_key()
    with open_store(place, key) as store:
        store.enroll("Ann", prints(1, seed=1, audio=True), "m1")
        store.enroll("Bob", prints(1, seed=2, audio=True), "m1")
        other = sqlite3.connect(place, isolation_level=None)
        other.execute(SWAP.format(table="enrolment", column="audio"))
        other.close()
        result = store.reembed("m1", "m2", lambda audio: prints(1, seed=len(audio))[0])
    assert result.done == 1
    assert result.failed[0][0] == "Ann"
