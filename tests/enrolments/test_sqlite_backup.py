"""A copy of a store: made by the command while others have it open, and by hand, where it must not pass for empty."""

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

from voxanchor.cli import main
from voxanchor.enrolments.encryption import new_key
from voxanchor.enrolments.records import Decision, EnrolmentEmbedding
from voxanchor.enrolments.sqlite import back_up
from voxanchor.enrolments.store import open_store
from voxanchor.errors import EnrolmentError, OutputError


def voice(angle: float) -> list[EnrolmentEmbedding]:
    return [EnrolmentEmbedding(np.array([np.cos(angle), np.sin(angle)], dtype=np.float32), speech_s=1.0, snr_db=20.0)]


@pytest.mark.parametrize("key", [None, new_key()], ids=["in clear", "sealed"])
def test_a_backup_is_the_store_as_it_is(key: str | None, tmp_path: Path) -> None:
    place, out = tmp_path / "people.db", tmp_path / "new" / "backup.db"
    with open_store(place, key) as store:
        for number in range(5):
            store.enroll(f"Ann {number}", voice(number), "m")
        assert back_up(place, out) == 5
        assert [path.name for path in out.parent.iterdir()] == ["backup.db"]
        assert out.stat().st_mode & 0o777 == 0o600
        store.delete("Ann 3")
    with open_store(out, key) as copy:
        assert [person.name for person in copy.people()] == [f"Ann {number}" for number in range(5)]
        copy.enroll("Bob", voice(9), "m")
        assert len(copy.people()) == 6


def test_what_a_backup_refuses(tmp_path: Path) -> None:
    place, out = tmp_path / "people.db", tmp_path / "backup.db"
    open_store(place).close()
    out.write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        back_up(place, out)
    assert out.read_text() == "mine"
    (tmp_path / "words").write_text("no database at all, but long enough to be looked at" * 10)
    for other in (tmp_path / "words", tmp_path / "absent.db"):
        with pytest.raises(EnrolmentError):
            back_up(other, tmp_path / "other.db")
    with contextlib.closing(sqlite3.connect(tmp_path / "foreign.db")) as foreign:
        foreign.executescript("CREATE TABLE mine (x)")
    with pytest.raises(EnrolmentError, match="not a store"):
        back_up(tmp_path / "foreign.db", tmp_path / "other.db")
    assert not (tmp_path / "other.db").exists()
    assert not (tmp_path / "absent.db").exists()


def test_a_damaged_store_makes_no_copy(tmp_path: Path) -> None:
    place, out = tmp_path / "people.db", tmp_path / "backup.db"
    with open_store(place) as store:
        for number in range(40):
            store.enroll(f"Ann {number}", voice(number), "m")
    content = bytearray(place.read_bytes())
    for at in range(3 * 4096, len(content), 7):
        content[at] ^= 0x55
    place.write_bytes(content)
    with pytest.raises(EnrolmentError, match=r"people\.db: .*damaged"):
        back_up(place, out)
    assert [path.name for path in tmp_path.iterdir() if "backup" in path.name] == []


def test_what_appears_while_a_backup_is_made_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place, out = tmp_path / "people.db", tmp_path / "backup.db"
    open_store(place).close()
    sync = os.fsync

    def meanwhile(descriptor: int) -> None:
        sync(descriptor)
        out.write_text("mine")

    monkeypatch.setattr(os, "fsync", meanwhile)
    with pytest.raises(OutputError, match="is there already"):
        back_up(place, out)
    assert out.read_text() == "mine"
    assert sorted(path.name for path in tmp_path.iterdir() if "backup" in path.name) == ["backup.db"]


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place, out = str(tmp_path / "peo ple#1%.db"), str(tmp_path / "b.db")
    with open_store(place) as store:
        store.enroll("Ann", voice(0), "m")
    assert main.run(["people", "backup", "--store", place, "--out", out]) == 0
    assert "1 recording in" in capsys.readouterr().out
    assert main.run(["people", "backup", "--store", place, "--out", out]) == 5
    assert main.run(["people", "backup", "--store", str(tmp_path / "none.db"), "--out", out]) == 10
    assert main.run(["people", "backup", "--store", "postgresql://host/name", "--out", out]) == 2
    assert "pg_dump" in capsys.readouterr().err


def test_the_file_alone_is_whole_after_each_change(tmp_path: Path) -> None:
    place = tmp_path / "people.db"
    with open_store(place) as store:
        for number in range(3):
            store.enroll(f"Ann {number}", voice(number), "m")
            copy = tmp_path / f"copy{number}.db"
            shutil.copyfile(place, copy)  # as a nightly job would, without the log beside it
            store.log(Decision("Ann 0", "verify", "accepted", 0.9, None, None, "m", ""))
            with open_store(copy) as copied:
                assert len(copied.people()) == number + 1
        store.delete("Ann 1")
        shutil.copyfile(place, tmp_path / "last.db")
        with open_store(tmp_path / "last.db") as copied:
            assert [person.name for person in copied.people()] == ["Ann 0", "Ann 2"]


def test_a_copy_whose_tables_are_in_an_absent_log_is_no_empty_store(tmp_path: Path) -> None:
    place, copy = tmp_path / "people.db", tmp_path / "copy.db"
    connection = sqlite3.connect(place)
    connection.execute("PRAGMA journal_mode = WAL")  # so a store began, when its log came before its tables
    connection.execute("CREATE TABLE person (x)")
    connection.commit()
    shutil.copyfile(place, copy)
    connection.close()
    assert copy.stat().st_size == 4096
    with pytest.raises(EnrolmentError, match="people backup"):
        open_store(copy)
    with pytest.raises(EnrolmentError):
        back_up(copy, tmp_path / "other.db")


def test_an_empty_file_still_becomes_a_store(tmp_path: Path) -> None:
    (tmp_path / "people.db").touch()
    with open_store(tmp_path / "people.db") as store:
        assert store.people() == []


def test_a_database_of_another_program_stays_as_it_is(tmp_path: Path) -> None:
    place = tmp_path / "foreign.db"
    connection = sqlite3.connect(place)
    connection.executescript("CREATE TABLE mine (x)")
    connection.close()
    before = place.read_bytes()
    with pytest.raises(EnrolmentError, match="another program"):
        open_store(place)
    assert place.read_bytes() == before


def test_the_key_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place, key = tmp_path / "people.db", new_key()
    with open_store(place, key) as store:
        store.enroll("Ann", voice(0), "m")
    listing = ["people", "list", "--store", str(place)]
    assert main.run(listing) == 10
    monkeypatch.setenv("VOXANCHOR_STORE_KEY", key)
    assert main.run(listing) == 0
    file = tmp_path / "key"
    file.write_text(new_key())
    file.chmod(0o400)
    assert main.run([*listing, "--key", str(file)]) == 10  # a file that is given counts before it
    file.chmod(0o444)
    assert main.run([*listing, "--key", str(file)]) == 10
    assert "VOXANCHOR_STORE_KEY" in capsys.readouterr().err
    monkeypatch.setenv("VOXANCHOR_STORE_KEY", "secret")
    assert main.run(listing) == 10
    assert "secret" not in capsys.readouterr().err
