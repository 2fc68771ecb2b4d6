"""Trials of a manifest and trial lists."""

import tempfile
import tracemalloc
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.corpus import trial_lines
from voxanchor.corpus.manifest import Manifest, Part, Utterance
from voxanchor.corpus.trials import Trials, all_pairs, read_trials
from voxanchor.errors import CorpusError


def manifest(*names: str, flat: bool = False) -> Manifest:
    """Speakers are the first folders of the names; a name may end in @recording."""
    found = []
    for name in names:
        name, _, recording = name.partition("@")
        speaker = "" if flat else name.split("/")[0]
        found.append(Utterance(name, speaker, 1.0, (Part(f"/data/{name}"),), recording=recording))
    return Manifest(tuple(found), root="/data")


def named(trials: Trials) -> set[tuple[str, str, bool]]:
    return {
        (trials.ids[i], trials.ids[j], bool(t))
        for i, j, t in zip(trials.enrol, trials.test, trials.target, strict=True)
    }


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 3)), min_size=2, max_size=14))
@settings(max_examples=60, deadline=None)
def test_all_pairs_against_a_plain_loop(makeup: list[tuple[str, int]]) -> None:
    names = [f"{s}/{k}@{s}{r}" for k, (s, r) in enumerate(makeup)]
    whole = manifest(*names)
    expected = set()
    for u, v in combinations(whole.utterances, 2):
        several = len({w.recording for w in whole.utterances if w.speaker == u.speaker}) > 1
        if u.speaker == v.speaker and u.recording == v.recording and several:
            continue
        expected.add((u.id, v.id, u.speaker == v.speaker))
    if not any(t for *_, t in expected) or all(t for *_, t in expected):
        with pytest.raises(CorpusError):
            all_pairs(whole)
        return
    trials = all_pairs(whole)
    assert len(trials) == len(expected)  # each once
    assert named(trials) == expected
    assert trials.enrol.dtype == trials.test.dtype == np.int64
    assert (trials.enrol < trials.test).all()
    assert trials.ids == tuple(u.id for u in whole.utterances)
    assert trials.speakers == tuple(u.speaker for u in whole.utterances)
    assert all(
        (trials.speakers[i] == trials.speakers[j]) == t
        for i, j, t in zip(trials.enrol, trials.test, trials.target, strict=True)
    )


def test_segments_of_one_recording_are_compared_only_for_want_of_another() -> None:
    trials = all_pairs(manifest("a/1@r", "a/2@r", "a/3@q", "b/1@x", "b/2@x"))
    targets = {(e, t) for e, t, target in named(trials) if target}
    assert targets == {("a/1", "a/3"), ("a/2", "a/3"), ("b/1", "b/2")}
    assert "1 target pairs cut from one recording left out" in trials.note


def test_too_many_trials_are_thinned_without_losing_targets() -> None:
    whole = manifest(*(f"{s}/{k}" for s in range(60) for k in range(5)))
    every = all_pairs(whole)
    assert len(every) == 300 * 299 // 2
    few = all_pairs(whole, max_trials=5000, seed=3)
    assert len(few) == 5000
    assert few.target.sum() == every.target.sum() == 60 * 10
    assert len(named(few)) == 5000
    assert named(few) <= named(every)
    assert "4400 of 44250 non-target pairs drawn with seed 3" in few.note
    assert named(all_pairs(whole, max_trials=5000, seed=3)) == named(few)
    assert named(all_pairs(whole, max_trials=5000, seed=4)) != named(few)
    # drawn evenly: each utterance takes part in about 29 of the 4400
    counts = np.bincount(np.concatenate((few.enrol[~few.target], few.test[~few.target])), minlength=300)
    assert 5 < counts.min() < 29.3 < counts.max() < 60


def test_a_few_more_than_all_are_still_all() -> None:
    whole = manifest(*(f"{s}/{k}" for s in range(4) for k in range(3)))
    assert len(all_pairs(whole, max_trials=66)) == 66
    assert len(all_pairs(whole, max_trials=65)) == 65
    thinnest = all_pairs(whole, max_trials=2)  # targets are never dropped, nor the other side left empty
    assert thinnest.target.sum() == 12
    assert (~thinnest.target).sum() == 1


def test_a_large_corpus_does_not_enumerate_its_pairs() -> None:
    whole = manifest(*(f"{s}/{k}" for s in range(3000) for k in range(4)))  # 72 million pairs
    trials = all_pairs(whole, max_trials=100_000)
    assert len(trials) == 100_000
    speakers = np.asarray(trials.speakers)
    assert ((speakers[trials.enrol] == speakers[trials.test]) == trials.target).all()
    assert len(np.unique(trials.enrol * len(speakers) + trials.test)) == 100_000


@pytest.mark.parametrize(
    ("names", "flat", "message"),
    [
        (["a/1", "b/1"], False, "no target trials"),
        (["a/1", "a/2"], False, "no non-target trials"),
        (["1", "2"], True, "who speaks"),
    ],
)
def test_what_is_missing_is_named(names: list[str], flat: bool, message: str) -> None:
    with pytest.raises(CorpusError, match=message):
        all_pairs(manifest(*names, flat=flat))


VOXCELEB = manifest("id1/x/1.wav", "id1/y/1.wav", "id2/z/1.wav", "id2/z/2.wav", "id3/w/7.wav")


@pytest.mark.parametrize(
    "text",
    [
        "1 id1/x/1.wav id1/y/1.wav\n0 id1/x/1.wav id2/z/1.wav\n",
        "\n1 id1/x/1 id1/y/1\n0 id1/x/1 id2/z/1\n\n",
        "id1/x/1.wav id1/y/1.wav target\r\nid1/x/1.wav id2/z/1.wav nontarget\r\n",
        "label,enrol,test\n1,id1/x/1.wav,id1/y/1.wav\n0, id1/x/1.wav, id2/z/1.wav\n",
        "enrolment\ttest\tlabel\nid1/x/1.flac\tid1/y/1.flac\tTarget\nid1/x/1.flac\tid2/z/1.flac\tNontarget\n",
        "\ufeff1 voxceleb1/wav/id1/x/1.wav voxceleb1/wav/id1/y/1.wav\n0 voxceleb1/wav/id1/x/1.wav wav/id2/z/1.wav\n",
        "1 x/1.wav y/1.wav\n0 x/1.wav z/1.wav\n",
    ],
)
def test_every_kind_of_list_gives_the_same_trials(tmp_path: Path, text: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="utf-8")
    trials = read_trials(path, VOXCELEB)
    assert trials.ids == ("id1/x/1.wav", "id1/y/1.wav", "id2/z/1.wav")  # only those taking part
    assert trials.speakers == ("id1", "id1", "id2")
    assert trials.enrol.tolist() == [0, 0]
    assert trials.test.tolist() == [1, 2]
    assert trials.target.tolist() == [True, False]
    assert "list.txt" in trials.note


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 id1/x/1.wav id1/y/1.wav\n2 id1/x/1.wav id2/z/1.wav", "line 2"),
        ("1 id1/x/1.wav", "line 1"),
        ("1 id1/x/1.wav id1/y/1.wav", "no non-target trials"),
        ("0 id1/x/1.wav id2/z/1.wav", "no target trials"),
        ("", "no trials"),
        ("1 id1/x/1.wav id1/y/9.wav\n0 id8/a/1.wav id2/z/1.wav", r"2 of its 4 utterances .* id1/y/9.wav, id8/a/1.wav"),
        ("1 1.wav id1/y/1.wav", "1 of its 2"),  # four utterances are called so
    ],
)
def test_a_bad_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CorpusError, match=message):
        read_trials(path, VOXCELEB)


def test_two_folders_of_a_list_are_not_taken_for_one_file(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("1 p/7.wav p/8.wav\n0 q/7.wav p/8.wav\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="1 of its 3"):
        read_trials(path, manifest("7.wav", "8.wav", flat=True))


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        read_trials(tmp_path / "none.txt", VOXCELEB)


def one_by_one(path: Path, whole: Manifest) -> Trials:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial_lines._Parser, "_regular", lambda self, text: None)
        return read_trials(path, whole)


def same(one: Trials, other: Trials) -> bool:
    columns = zip((one.enrol, one.test, one.target), (other.enrol, other.test, other.target), strict=True)
    return (one.ids, one.speakers) == (other.ids, other.speakers) and all((a == b).all() for a, b in columns)


ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({target for *_, target in rows}) == 2
)


@given(
    ROWS,
    st.sampled_from(["\t", ",", ";", " "]),
    st.sampled_from([("1", "0"), ("target", "nontarget"), ("True", "FALSE")]),
    st.booleans(),
    st.sampled_from(["", "\n", "label,enrol,test\n"]),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(40, 400),
)
@settings(max_examples=80, deadline=None)
def test_portions_read_whole_agree_with_line_by_line(
    rows: list[tuple[int, int, bool]],
    separator: str,
    labels: tuple[str, str],
    label_first: bool,
    heading: str,
    newline: str,
    portion: int,
) -> None:
    names = [utterance.id for utterance in VOXCELEB.utterances]
    lines = [
        separator.join([label, names[i], names[j]] if label_first else [names[i], names[j], label])
        for i, j, target in rows
        for label in (labels[0] if target else labels[1],)
    ]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "list.txt"
        path.write_bytes((heading + "\n".join(lines)).replace("\n", newline).encode())
        patch.setattr(trial_lines, "_PORTION", portion)
        trials = read_trials(path, VOXCELEB)
        assert same(trials, one_by_one(path, VOXCELEB))
    assert [(trials.ids[i], trials.ids[j]) for i, j in zip(trials.enrol, trials.test, strict=True)] == [
        (names[i], names[j]) for i, j, _ in rows
    ]
    assert trials.target.tolist() == [target for *_, target in rows]


def test_regular_lines_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line_by_line = trial_lines._Parser._one_by_one

    def refuse(self: trial_lines._Parser, text: str) -> trial_lines.TrialLines:
        assert not text
        return line_by_line(self, text)

    monkeypatch.setattr(trial_lines._Parser, "_one_by_one", refuse)
    path = tmp_path / "list.txt"
    for text in (
        "1 id1/x/1.wav id1/y/1.wav\n0 id1/x/1.wav id2/z/1.wav\n",
        "id1/x/1.wav\tid1/y/1.wav\ttarget\r\nid1/x/1.wav\tid2/z/1.wav\tnontarget\r\n",
        "1,x/1,y/1\n0,x/1,z/1\n",
    ):
        path.write_text(text + text, encoding="utf-8")
        assert read_trials(path, VOXCELEB).target.tolist() == [True, False] * 2


@pytest.mark.parametrize(
    "bad",
    [
        "1 id1/x/1.wav\n0 id1/x/1.wav id2/z/1.wav id2/z/1.wav",  # six fields on two lines
        "1  id1/x/1.wav",
        "maybe id1/x/1.wav id1/y/1.wav",
        "1\tid1/x/1.wav id1/y/1.wav",
        "1 id1/x/1.wav id1/y/1.wav \N{BULLET}",
        "1 id1/x/1.wav,id1/y/1.wav",
        f"maybe {'x' * 300} id1/y/1.wav",
    ],
)
def test_a_bad_line_is_found_wherever_it_is(tmp_path: Path, bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_lines, "_PORTION", 500)
    path = tmp_path / "list.txt"
    good = "1 id1/x/1.wav id1/y/1.wav\n0 id1/x/1.wav id2/z/1.wav\n"
    for before in (0, 1, 100):
        path.write_text(good * before + bad + "\n" + good * 100, encoding="utf-8")
        with pytest.raises(CorpusError, match=f"line {2 * before + 1}: "):
            read_trials(path, VOXCELEB)


def test_names_of_all_kinds_are_read(tmp_path: Path) -> None:
    long = f"id4/{'x' * 300}/1.wav"
    whole = manifest("id1/x/1.wav", "id1/\u00e9t\u00e9/1.wav", long, "1", "0")
    path = tmp_path / "list.txt"
    path.write_text(f"1 id1/x/1.wav id1/\u00e9t\u00e9/1.wav\n0 {long} 1\n1 1 0\n" * 3, encoding="utf-8")
    trials = read_trials(path, whole)
    assert trials.enrol.tolist() == [0, 2, 3] * 3
    assert trials.test.tolist() == [1, 3, 4] * 3
    assert trials.target.tolist() == [True, False, True] * 3


def test_memory_is_a_few_bytes_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_lines, "_PORTION", 1 << 16)
    path = tmp_path / "list.txt"
    lines = "1 id1/x/1.wav id1/y/1.wav\n0 id1/x/1.wav id2/z/1.wav\n0 id2/z/2.wav id3/w/7.wav\n"
    path.write_text(lines * 100_000, encoding="utf-8")
    tracemalloc.start()
    try:
        trials = read_trials(path, VOXCELEB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(trials) == 300_000
    assert peak < 26 * len(trials) + 2e6
