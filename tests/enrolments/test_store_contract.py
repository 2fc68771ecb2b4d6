"""What every store does, whatever its database."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from voxanchor.enrolments.encryption import new_key
from voxanchor.enrolments.records import Decision, EnrolmentEmbedding, Match
from voxanchor.enrolments.store import Store
from voxanchor.errors import EnrolmentError
from voxanchor.types import Embeddings

Prints = Callable[..., list[EnrolmentEmbedding]]
Vectors = Callable[..., np.ndarray]


def decision(person: str | None, reason: str = "", by: str = "", at: str = "") -> Decision:
    return Decision(person, "verify", "accepted", 0.5, 1.5, 0.3, "m1", reason, by, at)


def test_a_person_comes_back(store: Store, prints: Prints) -> None:
    recordings = prints(3)
    store.enroll("Ann", recordings[:2], "m1", by="desk 4")
    store.enroll("Ann", recordings[2:], "m1")
    (person,) = store.people()
    assert (person.name, person.recordings, person.models) == ("Ann", 3, ("m1",))
    assert person.created < person.updated
    listed = store.enrolments("Ann")
    assert [(item.source, item.by, item.keeps_audio) for item in listed] == [
        ("0-0.flac", "desk 4", False),
        ("0-1.flac", "desk 4", False),
        ("0-2.flac", "", False),
    ]
    assert len({item.id for item in listed}) == 3
    assert store.models() == {"m1": 3}
    assert store.voices() == {"m1": 1}


def test_a_voiceprint_is_the_normalised_mean(store: Store, vectors: Vectors) -> None:
    drawn = vectors(3)
    store.enroll("Ann", [EnrolmentEmbedding(vector, 2.0 + i, 10.0 * i) for i, vector in enumerate(drawn)], "m1")
    found = store.voiceprint("Ann", "m1")
    mean = drawn.mean(axis=0, dtype=np.float64)
    assert found.embedding.dtype == np.float32
    np.testing.assert_allclose(found.embedding, mean / np.linalg.norm(mean), atol=1e-6)
    assert (found.recordings, found.speech_s, found.snr_db) == (3, 9.0, 10.0)


def test_what_was_written_is_there_when_opened_again(opener: Callable[[], Store], prints: Prints) -> None:
    with opener() as store:
        store.enroll("Ann", prints(2), "m1")
        before = store.voiceprint("Ann", "m1").embedding
    with opener() as store:
        np.testing.assert_array_equal(store.voiceprint("Ann", "m1").embedding, before)


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "a\0b", "x" * 201, " Ann", "a\u2028b", "a\ud800"])
def test_names_that_are_none(store: Store, prints: Prints, name: str) -> None:
    with pytest.raises(EnrolmentError, match="name"):
        store.enroll(name, prints(1), "m1")
    assert store.people() == []


def test_names_are_compared_composed(store: Store, prints: Prints) -> None:
    store.enroll("Zoe\u0308", prints(1), "m1")
    store.enroll("Zo\u00eb", prints(1, seed=1), "m1")
    assert [(person.name, person.recordings) for person in store.people()] == [("Zo\u00eb", 2)]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"embedding": np.full(8, np.nan, np.float32)}, "not finite"),
        ({"embedding": np.full(8, 0.5, np.float32)}, "length 1.414"),
        ({"embedding": np.zeros((2, 4), np.float32)}, "one vector"),
        ({"embedding": np.eye(7, dtype=np.float32)[0]}, "dimensions"),
        ({"speech_s": -1.0}, "seconds of speech"),
        ({"snr_db": float("inf")}, "signal-to-noise"),
    ],
)
def test_one_bad_recording_and_none_is_enrolled(
    store: Store, prints: Prints, change: dict[str, object], match: str
) -> None:
    good = prints(1)[0]
    bad = EnrolmentEmbedding(**{"embedding": good.embedding, "speech_s": 1.0, "snr_db": 1.0, **change})  # type: ignore[arg-type]
    with pytest.raises(EnrolmentError, match=match):
        store.enroll("Ann", [good, bad], "m1")
    assert store.people() == []
    assert store.models() == {}


def test_nothing_to_enrol(store: Store, prints: Prints) -> None:
    with pytest.raises(EnrolmentError, match="no recording"):
        store.enroll("Ann", [], "m1")
    with pytest.raises(EnrolmentError, match="fingerprint"):
        store.enroll("Ann", prints(1), "")


def test_nearly_unit_vectors_are_scaled(store: Store, vectors: Vectors) -> None:
    store.enroll("Ann", [EnrolmentEmbedding(vectors(1)[0] * np.float32(1.0004), 1.0, 1.0)], "m1")
    assert abs(np.linalg.norm(store.voiceprint("Ann", "m1").embedding) - 1) < 1e-6


def test_recordings_without_a_mean(store: Store, vectors: Vectors) -> None:
    (vector,) = vectors(1)
    with pytest.raises(EnrolmentError, match="opposite"):
        store.enroll("Ann", [EnrolmentEmbedding(vector, 1.0, 1.0), EnrolmentEmbedding(-vector, 1.0, 1.0)], "m1")
    assert store.people() == []


def test_a_model_has_one_dimension(store: Store, prints: Prints) -> None:
    store.enroll("Ann", prints(1), "m1")
    with pytest.raises(EnrolmentError, match="has 9 dimensions, those of the model m1 in this store have 8"):
        store.enroll("Bob", prints(1, dimension=9), "m1")
    store.enroll("Bob", prints(1, dimension=9), "m2")
    assert store.models() == {"m1": 1, "m2": 1}
    assert store.voices() == {"m1": 1, "m2": 1}


def test_who_is_not_enrolled(store: Store, prints: Prints) -> None:
    store.enroll("Annabel", prints(1), "m1")
    for call in (store.enrolments, store.delete, lambda name: store.voiceprint(name, "m1")):
        with pytest.raises(EnrolmentError, match=r"nobody called 'Annabell' is enrolled. Did you mean 'Annabel'"):
            call("Annabell")


def test_many_names_are_not_listed(store: Store, prints: Prints) -> None:
    for number in range(25):
        store.enroll(f"person {number}", prints(1, number), "m1")
    with pytest.raises(EnrolmentError, match="No name in the store is near"):
        store.enrolments("xyz")


def test_models_are_never_mixed(store: Store, prints: Prints, vectors: Vectors) -> None:
    store.enroll("Ann", prints(2, seed=1), "m1")
    alone = store.voiceprint("Ann", "m1")
    store.enroll("Ann", prints(2, seed=2), "m2")
    np.testing.assert_array_equal(store.voiceprint("Ann", "m1").embedding, alone.embedding)
    assert store.voiceprint("Ann", "m1").recordings == 2
    assert store.people()[0].models == ("m1", "m2")
    with pytest.raises(EnrolmentError, match="by the models m1, m2, not by m3"):
        store.voiceprint("Ann", "m3")


def test_a_search_is_a_comparison_with_everybody(store: Store, prints: Prints, vectors: Vectors) -> None:
    for number in range(40):
        store.enroll(f"p{number:02d}", prints(1 + number % 3, seed=number), "m1")
        store.enroll(f"p{number:02d}", prints(1, seed=number + 1000), "m2")
    query = vectors(1, seed=77)[0]
    cosines = {f"p{n:02d}": float(store.voiceprint(f"p{n:02d}", "m1").embedding @ query) for n in range(40)}
    expected = sorted(cosines, key=lambda name: -cosines[name])
    for top in (1, 5, 40, 100):
        found = store.search(query, "m1", top)
        assert [match.person for match in found] == expected[:top]
        np.testing.assert_allclose([m.cosine for m in found], [cosines[m.person] for m in found], atol=1e-6)


def test_ties_are_in_the_order_of_names(store: Store, vectors: Vectors) -> None:
    (vector, other) = vectors(2)
    names = [f"n{number:02d}" for number in range(20)]
    for name in reversed(names):
        store.enroll(name, [EnrolmentEmbedding(vector, 1.0, 1.0)], "m1")
    store.enroll("other", [EnrolmentEmbedding(other, 1.0, 1.0)], "m1")
    for top in (1, 3, 20):
        assert [match.person for match in store.search(vector, "m1", top)] == names[:top]


def test_searches_that_cannot_be(store: Store, prints: Prints, vectors: Vectors) -> None:
    (query,) = vectors(1)
    assert store.search(query, "m1", 3) == []
    store.enroll("Ann", prints(1), "m1")
    with pytest.raises(EnrolmentError, match="by the model m1, not by m2"):
        store.search(query, "m2", 3)
    with pytest.raises(EnrolmentError, match="9 dimensions"):
        store.search(vectors(1, dimension=9)[0], "m1", 3)
    with pytest.raises(EnrolmentError, match="length"):
        store.search(query * 3, "m1", 3)
    with pytest.raises(ValueError, match="top"):
        store.search(query, "m1", 0)


def test_a_search_sees_what_another_has_changed(opener: Callable[[], Store], prints: Prints) -> None:
    with opener() as here, opener() as there:
        for number in range(5):
            here.enroll(f"p{number}", prints(1, seed=number), "m1")
        query = prints(1, seed=9)[0]
        assert query.embedding is not None
        assert len(here.search(query.embedding, "m1", 10)) == 5
        there.enroll("new", [query], "m1")
        assert here.search(query.embedding, "m1", 1)[0].person == "new"
        there.enroll("new", prints(3, seed=4), "m1")
        assert here.search(query.embedding, "m1", 10) == there.search(query.embedding, "m1", 10)
        there.delete("new")
        assert "new" not in {match.person for match in here.search(query.embedding, "m1", 10)}
        there.carry("m1", "m2", lambda embeddings: -embeddings)
        assert len(here.search(query.embedding, "m2", 10)) == 5
        with pytest.raises(EnrolmentError, match="not by m1"):
            here.search(query.embedding, "m1", 10)


def test_carrying_to_another_model(store: Store, prints: Prints, vectors: Vectors) -> None:
    store.enroll("Ann", prints(2, seed=1), "m1")
    store.enroll("Bob", prints(1, seed=2), "m1")
    store.enroll("Bob", prints(1, seed=3, dimension=5), "m2")
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((8, 5)))[0].astype(np.float32)

    def apply(embeddings: Embeddings) -> Embeddings:
        mapped = embeddings @ turn
        scaled: Embeddings = (mapped / np.linalg.norm(mapped, axis=1, keepdims=True)).astype(np.float32)
        return scaled

    assert store.carry("m1", "m2", apply) == 3
    assert store.models() == {"m2": 4}
    assert store.voiceprint("Bob", "m2").recordings == 2
    mean = apply(vectors(2, seed=1)).mean(axis=0)
    np.testing.assert_allclose(store.voiceprint("Ann", "m2").embedding, mean / np.linalg.norm(mean), atol=1e-6)
    assert store.carry("m1", "m2", apply) == 0


@pytest.mark.parametrize(
    ("apply", "match"),
    [
        (lambda embeddings: embeddings * 2, "length 2"),
        (lambda embeddings: embeddings[:1], "give one that fits"),
        (lambda embeddings: embeddings[:, :4] / np.linalg.norm(embeddings[:, :4], axis=1)[:, None], "4 dimensions"),
    ],
)
def test_a_map_that_does_not_fit_changes_nothing(
    store: Store, prints: Prints, apply: Callable[[Embeddings], Embeddings], match: str
) -> None:
    store.enroll("Ann", prints(2), "m1")
    store.enroll("Bob", prints(1, seed=5), "m2")
    with pytest.raises(EnrolmentError, match=match):
        store.carry("m1", "m2", apply)
    assert store.models() == {"m1": 2, "m2": 1}
    with pytest.raises(EnrolmentError, match="itself"):
        store.carry("m1", "m1", apply)


def test_embedding_kept_audio_anew(store: Store, prints: Prints, vectors: Vectors) -> None:
    store.enroll("Ann", prints(2, seed=1, audio=True), "m1", by="desk")
    store.enroll("Bob", [*prints(1, seed=2, audio=True), *prints(1, seed=3)], "m1")
    store.enroll("Cy", prints(1, seed=4, audio=True), "m1")
    store.enroll("Dan", prints(1, seed=5, audio=True), "m2")
    heard: list[bytes] = []

    def embed(audio: bytes) -> EnrolmentEmbedding:
        heard.append(audio)
        if audio == b"audio 4 0":
            raise EnrolmentError("too little speech")
        return EnrolmentEmbedding(vectors(1, seed=len(audio), dimension=5)[0], 7.0, 8.0)

    result = store.reembed("m1", "new", embed)
    assert (result.done, result.without_audio, result.failed) == (3, ("Bob",), (("Cy", "too little speech"),))
    assert sorted(heard) == [b"audio 1 0", b"audio 1 1", b"audio 2 0", b"audio 4 0"]
    assert store.models() == {"m1": 2, "m2": 1, "new": 3}
    assert store.voiceprint("Ann", "new").speech_s == 14.0
    assert store.voiceprint("Bob", "m1").recordings == 1
    assert [(item.by, item.keeps_audio, item.source) for item in store.enrolments("Ann")] == [
        ("desk", True, "1-0.flac"),
        ("desk", True, "1-1.flac"),
    ]
    heard.clear()
    store.reembed(None, "new", embed)
    assert sorted(heard) == [b"audio 4 0", b"audio 5 0"]


def test_embedding_anew_goes_on_where_it_was_stopped(store: Store, prints: Prints, vectors: Vectors) -> None:
    for number in range(6):
        store.enroll(f"p{number}", prints(2, seed=number, audio=True), "m1")
    calls = 0

    def embed(audio: bytes) -> EnrolmentEmbedding:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise KeyboardInterrupt
        return EnrolmentEmbedding(vectors(1, seed=calls)[0], 1.0, 1.0)

    with pytest.raises(KeyboardInterrupt):
        store.reembed("m1", "m2", embed)
    assert store.models() == {"m1": 8, "m2": 4}
    assert store.reembed("m1", "m2", embed).done == 8
    assert store.models() == {"m2": 12}


def test_deleting_a_person(store: Store, prints: Prints) -> None:
    store.enroll("Ann", prints(2, audio=True), "m1")
    store.enroll("Ann", prints(1), "m2")
    store.enroll("Bob", prints(1), "m1", by="Ann")
    store.log(decision("Ann", "Ann, but not Annabel", by="Ann"))
    store.log(decision("Bob"))
    assert store.delete("Ann") == 3
    assert [person.name for person in store.people()] == ["Bob"]
    assert store.models() == {"m1": 1}
    assert store.enrolments("Bob")[0].by == ""
    assert [(item.person, item.reason, item.by) for item in store.decisions()] == [
        ("Bob", "", ""),
        (None, "(deleted), but not Annabel", ""),
    ]
    with pytest.raises(EnrolmentError, match="nobody called 'Ann'"):
        store.delete("Ann")
    store.enroll("Ann", prints(1, dimension=3), "m2")  # nothing is left of that model's dimension either


def test_the_log_is_newest_first(store: Store) -> None:
    for number in range(5):
        store.log(decision("Ann" if number % 2 else None, reason=str(number)))
    assert [item.reason for item in store.decisions()] == ["4", "3", "2", "1", "0"]
    assert [item.reason for item in store.decisions("Ann", limit=1)] == ["3"]
    assert store.decisions()[0].at.endswith("Z")
    stated = decision("Ann", at="2026-05-01T12:00:00+02:00")
    store.log(stated)
    assert store.decisions(limit=1)[0] == decision("Ann", at="2026-05-01T10:00:00.000000Z")
    with pytest.raises(EnrolmentError, match="not a time"):
        store.log(decision("Ann", at="yesterday"))


@pytest.mark.parametrize("sealed", [False, True])
def test_a_store_goes_through_a_file(store: Store, prints: Prints, tmp_path: Path, sealed: bool) -> None:
    from voxanchor.enrolments.store import open_store

    key = new_key() if sealed else None
    store.enroll("Ann", prints(2, audio=True), "m1", by="desk")
    store.enroll("Zo\u00eb", prints(1, seed=3), "m2")
    path = tmp_path / "out" / "voices.jsonl"
    assert store.export_to(path, key) == 3
    assert path.stat().st_mode & 0o777 == 0o600
    assert (b'"Ann"' in path.read_bytes()) is not sealed  # quoted: base64 may spell a name by chance
    again = store.import_from(path, key)
    assert (again.recordings, again.skipped) == (0, 3)
    with open_store(":memory:") as other:
        taken = other.import_from(path, key)
        assert (taken.recordings, taken.skipped) == (3, 0)
        assert other.people() == store.people()
        np.testing.assert_array_equal(other.voiceprint("Ann", "m1").embedding, store.voiceprint("Ann", "m1").embedding)
        heard: list[bytes] = []

        def embed(audio: bytes) -> EnrolmentEmbedding:
            heard.append(audio)
            return prints(1)[0]

        other.reembed("m1", "m3", embed)
        assert heard == [b"audio 0 0", b"audio 0 1"]
        assert {item.created for item in other.enrolments("Ann")} == {item.created for item in store.enrolments("Ann")}
        back = tmp_path / "back.jsonl"
        other.export_to(back)
        assert store.import_from(back).skipped == 1


def test_a_file_that_was_damaged_adds_nothing(store: Store, prints: Prints, tmp_path: Path) -> None:
    store.enroll("Ann", prints(2), "m1")
    path = tmp_path / "voices.jsonl"
    store.export_to(path)
    store.delete("Ann")
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    damaged = {
        "ends too early": b"".join(lines[:-1]),
        "differs": whole.replace(b'"speech_s": 3.0', b'"speech_s": 4.0', 1),
        "line 2": whole[: len(lines[0]) + 30],
        "not a file of enrolments": b"hello\n",
        "version 9": whole.replace(b'"version": 1', b'"version": 9'),
        "sum": lines[0] + lines[2] + lines[1] + lines[3],
    }
    for match, content in damaged.items():
        path.write_bytes(content)
        with pytest.raises(EnrolmentError, match=match):
            store.import_from(path)
        assert store.people() == []
    with pytest.raises(EnrolmentError, match="cannot be read"):
        store.import_from(tmp_path / "none")
    path.write_bytes(whole)
    assert store.import_from(path).recordings == 2


def test_an_import_of_another_dimension_adds_nothing(store: Store, prints: Prints, tmp_path: Path) -> None:
    store.enroll("Ann", prints(1, dimension=5), "m1")
    store.export_to(tmp_path / "voices.jsonl")
    store.delete("Ann")
    store.enroll("Bob", prints(1), "m1")
    with pytest.raises(EnrolmentError, match="Ann: the embedding has 5 dimensions"):
        store.import_from(tmp_path / "voices.jsonl")
    assert [person.name for person in store.people()] == ["Bob"]


def test_threads_enrol_and_search_at_once(store: Store, prints: Prints) -> None:
    store.enroll("first", prints(1, seed=999), "m1")
    problems: list[BaseException] = []

    def work(thread: int) -> None:
        try:
            for number in range(8):
                content = prints(1, seed=100 * thread + number)
                store.enroll(f"p{thread}-{number}", content, "m1")
                store.enroll("shared", content, "m1")
                assert store.search(content[0].embedding, "m1", 1)[0].cosine > 0.999
                store.log(decision(f"p{thread}-{number}"))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert len(store.people()) == 34
    assert store.voiceprint("shared", "m1").recordings == 32
    assert len(store.decisions()) == 32


def test_matches_are_plain(store: Store, prints: Prints) -> None:
    store.enroll("Ann", prints(1), "m1")
    (match,) = store.search(prints(1)[0].embedding, "m1", 1)
    assert isinstance(match, Match)
    assert type(match.person) is str
    assert type(match.cosine) is float
    assert -1.0 <= match.cosine <= 1.0


def test_a_closed_store_says_so(opener: Callable[[], Store]) -> None:
    store = opener()
    store.close()
    with pytest.raises(EnrolmentError, match="the store was closed"):
        store.people()
    store.close()


def test_each_process_opens_for_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        with pytest.raises(EnrolmentError, match="in each process"):
            store.people()
    assert store.people() == []
