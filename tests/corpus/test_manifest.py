"""Manifests: choosing speakers, fingerprints, files, merging."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.audio.pcm import Stored
from voxanchor.corpus.manifest import Manifest, Part, Unusable, Utterance, merge
from voxanchor.errors import CorpusError


def utterance(name: str, speaker: str, root: str = "/data", duration_s: float = 2.0) -> Utterance:
    return Utterance(name, speaker, duration_s, (Part(f"{root}/{name}"),), "one", name)


def manifest(speakers: int = 5, each: int = 2, root: str = "/data") -> Manifest:
    found = tuple(utterance(f"s{s}/{k}.wav", f"s{s}", root) for s in range(speakers) for k in range(each))
    return Manifest(found, (Unusable(f"{root}/bad.wav", "silent"),), root)


def test_speakers_and_hours() -> None:
    found = Manifest((utterance("b", "z"), utterance("a", "y"), utterance("c", "z"), utterance("d", "")))
    assert found.speakers == ("y", "z")
    assert found.hours == pytest.approx(8 / 3600)
    assert len(found) == 4
    assert "2 speakers, 4 utterances" in found.describe()
    assert "1 recording left out" in manifest().describe()
    assert "no utterances" in Manifest(()).describe()


def test_ids_are_unique() -> None:
    with pytest.raises(CorpusError, match="called a"):
        Manifest((utterance("a", "x"), utterance("a", "y")))


def test_choosing_speakers_and_utterances() -> None:
    found = manifest()
    assert found.select(["s1", "s3"]).speakers == ("s1", "s3")
    with pytest.raises(CorpusError, match="nobody"):
        found.select(["nobody"])
    assert [u.id for u in found.restrict({"s3/1.wav", "s0/0.wav"}).utterances] == ["s0/0.wav", "s3/1.wav"]
    with pytest.raises(CorpusError, match="missing"):
        found.restrict(["missing"])


@given(st.integers(2, 30), st.integers(0, 1000), st.data())
@settings(max_examples=25, deadline=None)
def test_held_out_speakers_part_the_corpus(speakers: int, seed: int, data: st.DataObject) -> None:
    whole = manifest(speakers)
    count = data.draw(st.integers(1, speakers - 1))
    train, held_out = whole.hold_out(count, seed)
    assert len(held_out.speakers) == count
    assert not set(train.speakers) & set(held_out.speakers)
    assert {u.id for u in (*train.utterances, *held_out.utterances)} == {u.id for u in whole.utterances}
    assert whole.hold_out(count, seed)[1] == held_out
    assert len(train.unusable) + len(held_out.unusable) == 1


def test_holding_out_depends_on_the_seed_and_hardly_on_other_speakers() -> None:
    whole = manifest(40)
    first = set(whole.hold_out(10, 0)[1].speakers)
    assert first != set(whole.hold_out(10, 1)[1].speakers)
    fewer = whole.select(whole.speakers[:-1])
    assert len(first & set(fewer.hold_out(10, 0)[1].speakers)) >= 9
    assert first != set(sorted(whole.speakers)[:10])


@pytest.mark.parametrize("count", [0, 5, 6, -1])
def test_holding_out_none_or_all_is_refused(count: int) -> None:
    with pytest.raises(CorpusError, match="cannot be held out"):
        manifest(5).hold_out(count, 0)


def test_fingerprint_knows_the_content_and_not_the_place() -> None:
    found = manifest()
    assert found.fingerprint == manifest(root="/elsewhere").fingerprint
    assert len(found.fingerprint) == 16
    others = [
        manifest(each=3),
        Manifest(found.utterances[::-1]),
        Manifest((*found.utterances[:-1], utterance("s4/1.wav", "s0"))),
        Manifest((*found.utterances[:-1], utterance("s4/1.wav", "s4", duration_s=2.01))),
        Manifest((*found.utterances[:-1], Utterance("s4/1.wav", "s4", 2.0, (Part("/data/s4/1.wav", 1.0, 2.0),)))),
    ]
    assert len({found.fingerprint, *(other.fingerprint for other in others)}) == 6


def test_saved_and_loaded_it_is_the_same(tmp_path: Path) -> None:
    root = str(tmp_path / "corpus")
    parts = (Part(f"{root}/ü.wav", 0.125, 0.5), Part("/other/b.wav", 0.0, 1.0))
    found = Manifest(
        (Utterance("x", "Zoë", 1.5, parts, "se", "rec"), *manifest(root=root).utterances),
        (Unusable(f"{root}/bad.wav", "silent"),),
        root,
    )
    found.save(tmp_path / "m.jsonl")
    assert Manifest.load(tmp_path / "m.jsonl") == found
    assert [p.name for p in tmp_path.iterdir()] == ["m.jsonl"]
    lines = [json.loads(line) for line in (tmp_path / "m.jsonl").read_text(encoding="utf-8").splitlines()]
    assert lines[1]["parts"][0]["path"] == "ü.wav"  # relative: the corpus may move with its root
    assert lines[1]["parts"][1]["path"] == "/other/b.wav"


def test_names_may_hold_any_character(tmp_path: Path) -> None:
    names = ["a b.wav", "line\u2028separator.wav", "next\x85line.wav", "tab\t.wav", "\U0001f3a4.wav", "new\nline.wav"]
    found = Manifest(tuple(utterance(name, f"speaker {name}") for name in names), (), "/data")
    found.save(tmp_path / "m.jsonl")
    assert Manifest.load(tmp_path / "m.jsonl") == found


def test_recordings_in_packs_keep_their_places_and_move_with_the_root(tmp_path: Path) -> None:
    def packed(root: str) -> Manifest:
        inside = Part(f"{root}/a/1.wav", 0.5, None, Stored(f"{root}/shards/00000.wav", 7, 16_000, 0.25, 99))
        elsewhere = Part(f"{root}/a/2.wav", 0.0, 1.0, Stored("/disk/shards/00001.wav", 0, 16_000))
        return Manifest(
            (Utterance("a/1.wav", "a", 0.5, (inside,)), Utterance("a/2.wav", "a", 1.0, (elsewhere,))), (), root
        )

    packed("/here").save(tmp_path / "m.jsonl")
    assert Manifest.load(tmp_path / "m.jsonl") == packed("/here")
    assert Manifest.load(tmp_path / "m.jsonl", root="/there") == packed("/there")
    line = (tmp_path / "m.jsonl").read_text(encoding="utf-8").splitlines()[1]
    assert json.loads(line)["parts"][0]["stored"] == {
        "path": "shards/00000.wav", "first": 7, "samples": 16_000, "gain": 0.25, "source_bytes": 99,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ('{"format": "other"}', "line 1"),
        ('{"format": "voxanchor-manifest", "schema_version": 99, "root": ""}', "schema version 1"),
        ('{"format": "voxanchor-manifest", "schema_version": 1, "root": ""}\n{"id": "x"}', "line 2"),
        ('{"format": "voxanchor-manifest", "schema_version": 1, "root": ""}\nnonsense', "line 2"),
        ('["a"]', "line 1"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.jsonl"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CorpusError, match=message):
        Manifest.load(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        Manifest.load(tmp_path / "none.jsonl")


def test_merging_keeps_equal_names_of_different_people_apart() -> None:
    both = merge([manifest(2), manifest(3)], ["a", "b"])
    assert both.speakers == ("a/s0", "a/s1", "b/s0", "b/s1", "b/s2")
    assert both.utterances[0].id == "a/s0/0.wav"
    assert both.utterances[0].recording == "a/s0/0.wav"
    assert len(both.unusable) == 2
    assert merge([Manifest((utterance("u", ""),))], ["c"]).speakers == ()
    for prefixes in (["a", "a"], ["a"], ["a", ""]):
        with pytest.raises(CorpusError, match="different names"):
            merge([manifest(), manifest()], prefixes)
