"""The file that enrolments travel in, with whatever names and texts."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.enrolments.encryption import new_key
from voxanchor.enrolments.records import EnrolmentEmbedding, person_name
from voxanchor.enrolments.store import open_store
from voxanchor.errors import EnrolmentError, OutputError


def usable(name: str) -> bool:
    try:
        person_name(name)
    except EnrolmentError:
        return False
    return True


NAMES = st.text(min_size=1, max_size=30).filter(usable)
KEY = new_key()


def some(seed: int, source: str = "", audio: bytes | None = None) -> EnrolmentEmbedding:
    drawn = np.random.default_rng(seed).standard_normal(6)
    return EnrolmentEmbedding((drawn / np.linalg.norm(drawn)).astype(np.float32), float(seed), -3.25, source, audio)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(NAMES, st.text(max_size=20), st.binary(max_size=40)), max_size=5), st.booleans())
def test_any_names_and_texts_come_back(people: list[tuple[str, str, bytes]], sealed: bool) -> None:
    key = KEY if sealed else None
    with tempfile.TemporaryDirectory() as folder, open_store(":memory:") as one, open_store(":memory:", KEY) as two:
        for seed, (name, text, audio) in enumerate(people):
            one.enroll(name, [some(seed, text, audio or None)], "m1", by=text)
        path = Path(folder) / "voices.jsonl"
        assert one.export_to(path, key) == len(people)
        assert two.import_from(path, key).recordings == len(people)
        assert two.people() == one.people()
        for person in one.people():
            np.testing.assert_array_equal(
                one.voiceprint(person.name, "m1").embedding, two.voiceprint(person.name, "m1").embedding
            )
            here, there = one.enrolments(person.name), two.enrolments(person.name)
            assert [(e.source, e.by, e.keeps_audio) for e in here] == [(e.source, e.by, e.keeps_audio) for e in there]


def test_equal_recordings_stay_as_many_as_they_were(tmp_path: Path) -> None:
    with open_store(":memory:") as one, open_store(":memory:") as two:
        one.enroll("Ann", [some(1), some(1)], "m1")
        one.export_to(tmp_path / "x")
        assert two.import_from(tmp_path / "x").recordings == 2
        assert two.import_from(tmp_path / "x").skipped == 2


def test_keys_of_files(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with open_store(":memory:") as store:
        store.enroll("Ann", [some(1)], "m1")
        store.export_to(path, KEY)
        for key, match in ((None, "sealed. Give the key"), (new_key(), "line 2: the sealed value")):
            with pytest.raises(EnrolmentError, match=match):
                store.import_from(path, key)
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(lines[0] + lines[2])
        with pytest.raises(EnrolmentError, match="sealed value"):
            store.import_from(path, KEY)
        store.export_to(path)
        with pytest.raises(EnrolmentError, match="in clear"):
            store.import_from(path, KEY)


def test_a_name_in_a_file_is_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "x"
    with open_store(":memory:") as store:
        store.enroll("Ann", [some(1)], "m1")
        store.export_to(path)
        path.write_bytes(path.read_bytes().replace(b'"Ann"', b'"A\\n"'))
        with pytest.raises(EnrolmentError, match="line 2: the name"):
            store.import_from(path)


def test_an_export_replaces_an_older_one_and_nothing_else(tmp_path: Path) -> None:
    with open_store(tmp_path / "people.db") as store:
        store.enroll("Ann", [some(1)], "m")
        assert store.export_to(tmp_path / "all") == 1
        assert store.export_to(tmp_path / "all") == 1
        (tmp_path / "notes").write_text("words")
        for other in ("people.db", "notes", "."):
            with pytest.raises(OutputError, match="something else than an older export"):
                store.export_to(tmp_path / other)
        assert (tmp_path / "notes").read_text() == "words"
    with open_store(tmp_path / "people.db") as store:
        assert [person.name for person in store.people()] == ["Ann"]
