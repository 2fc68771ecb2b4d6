"""Trials of a manifest and trial lists."""

import contextlib
import tempfile
import tracemalloc
import unicodedata
from itertools import combinations
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.corpus import trial_lists
from voxanchor.corpus.manifest import Manifest, Part, Utterance
from voxanchor.corpus.trial_lists import read_trials
from voxanchor.corpus.trials import TrialList, all_pairs
from voxanchor.errors import CorpusError


def manifest(*names: str, flat: bool = False) -> Manifest:
    """Speakers are the first folders of the names; a name may end in @recording."""
    found = []
    for name in names:
        name, _, recording = name.partition("@")
        speaker = "" if flat else name.split("/")[0]
        found.append(Utterance(name, speaker, 1.0, (Part(f"/data/{name}"),), recording=recording))
    return Manifest(tuple(found), root="/data")


def named(trials: TrialList) -> set[tuple[str, str, bool]]:
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
        "id1/x/1 id1/y/1 tgt\nid1/x/1 id2/z/1 imp\n",
        "1.0 id1/x/1 id1/y/1\n0.0 id1/x/1 id2/z/1\n",
        "same;id1/x/1;id1/y/1\ndifferent;id1/x/1;id2/z/1\n",
        "# a remark\n1 id1/x/1 id1/y/1\n; another\n\n0 id1/x/1 id2/z/1\n#1 id1/x/1 id3/w/7.wav",
        "modelid\tsegmentid\tside\ttargettype\nid1/x/1\tid1/y/1\ta\ttarget\nid1/x/1\tid2/z/1\t\tnontarget\n",
        "is_target,wav_1,wav_2\n1,id1/x/1,id1/y/1\n0,id1/x/1,id2/z/1\n",
        "label audio_a audio_b\n1 id1/x/1 id1/y/1\n0 id1/x/1 id2/z/1\n",
        ",test,enrol,label,score\n0,id1/y/1,id1/x/1,1,0.3\n1,id2/z/1,id1/x/1,0,\n",
        '"label","enroll","test"\n"1","id1/x/1.wav","id1/y/1.wav"\n"0","id1/x/1.wav","id2/z/1.wav"\n',
        '1 "id1/x/1.wav" id1/y/1.wav\n0 id1/x/1.wav "id2/z/1.wav"\n',
        "1\tid1/x/1.wav\tid1/y/1.wav\t\n0\tid1/x/1.wav\tid2/z/1.wav\t\t\n",
        "1 id1/x/1.wav\tid1/y/1.wav \n0 id1/x/1.wav  id2/z/1.wav\n",
        "1\\id1\\x\\1.wav id1\\y\\1.wav target\n1\\id1\\x\\1.wav id2\\z\\1.wav nontarget\n",
        "1 id1/x/1.wav id1/y/1.wav\r0 id1/x/1.wav id2/z/1.wav\r",
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


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_list_may_begin_with_the_mark_of_its_encoding(tmp_path: Path, encoding: str) -> None:
    mark = "" if encoding in ("utf-8-sig", "utf-16", "utf-32") else "\ufeff"
    path = tmp_path / "list.txt"
    path.write_bytes(
        (mark + "label\tenrol\ttest\r\n1\ta/\u00e9.wav\tb/1.wav\r\n0\ta/\u00e9.wav\tb/1.wav").encode(encoding)
    )
    assert read_trials(path, manifest("a/\u00e9.wav", "b/1.wav")).target.tolist() == [True, False]


def test_names_may_hold_the_separators_of_other_lists(tmp_path: Path) -> None:
    whole = manifest("a/x, y.wav", "a/x,y.wav", 'b/say "hi".wav', "b/;.wav")
    path = tmp_path / "list.txt"
    for text in (
        "1 a/x,y.wav b/;.wav\n0 a/x,y.wav b/;.wav\n",
        "1\ta/x, y.wav\ta/x,y.wav\n0\ta/x, y.wav\tb/;.wav\n",
        '1,"a/x, y.wav","a/x,y.wav"\n0,"a/x, y.wav","b/say ""hi"".wav"\n',
        '1 "a/x, y.wav" b/;.wav\n0 "a/x, y.wav" "b/say ""hi"".wav"\n',
    ):
        path.write_text(text, encoding="utf-8")
        assert read_trials(path, whole).target.tolist() == [True, False]


def test_names_may_look_like_labels(tmp_path: Path) -> None:
    whole = manifest("0", "1", "target", "same/1.wav")
    path = tmp_path / "list.txt"
    for text in ("1 0 target\n0 same/1.wav nontarget\n", "enrol test label\n1 0 1\n0 same/1.wav 0\n"):
        path.write_text(text, encoding="utf-8")
        trials = read_trials(path, whole)
        assert [trials.ids[row] for row in (*trials.enrol, *trials.test)] == ["1", "0", "0", "same/1.wav"]


def test_names_may_look_like_a_heading(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    for first in ("utt", "segment", "file"):
        path.write_text(f"{first}1 {first}2 target\n{first}1 x nontarget\n")
        whole = manifest(f"{first}1", f"{first}2", "x")
        assert read_trials(path, whole).target.tolist() == [True, False]
    path.write_text("enrol test target\nutt1 utt2 1\nutt1 x 0\n")
    assert read_trials(path, manifest("utt1", "utt2", "x")).target.tolist() == [True, False]


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
        ("1 id1/x/1 id1/y/1\n-1 id1/x/1 id2/z/1", "line 2.*by -1 some lists mean .* Write 0"),
        ("-1 id1/x/1 id2/z/1", "line 1.*neither '-1' nor 'id2/z/1' is a label: by -1"),
        ("1 id1/x/1 id1/y/1 0.7", "line 1.* 4 fields, apart by blanks; 3 are expected.*heading"),
        ("1,id1/x/1", "line 1.* 2 fields, apart by commas; 3 are expected"),
        ("1 id1/x/1 id1/y/1\nid1/x/1 id1/y/1 0", "line 2.*column 1 holds the label from line 1 on, and 'id1/x/1' is"),
        ("yes id1/x/1 id1/y/1", "neither 'yes' nor 'id1/y/1' is a label. Labels are 1, "),
        ("label,enrol,test\nyes,id1/x/1,id1/y/1", "line 2.*column 1 holds the label, and 'yes' is none"),
        ("label,a,b,score\n1,id1/x/1,id1/y/1,3", "the heading 'label,a,b,score' does not say which columns"),
        ("label,target,test\n1,id1/x/1,id1/y/1", "does not say which columns"),
        ("label,enrol,test\n1,,id1/y/1", "line 2.*a name is empty"),
        ("label,enrol,test\n1,id1/x/1,id1/y/1\n1,id1/x/1", "line 3.*a name is empty"),
        ('1,"id1/x/1,id1/y/1', "line 1.*a quotation mark is opened"),
        ('1,id1/x/1,id1/y/1\n1,id1/x/1,""', "line 2.* 2 fields"),
        ('1,id1/x/1,id1/y/1\n"1","id1/x/1,id2/z/1"\n', "line 2.* 2 fields, apart by commas"),
        ("1\0 \0i\0d\0", "line 1.*UTF-16 without a mark"),
        (f"yes {'x' * 1000} b", r"line 1: 'yes x{50,130}\.\.\. is not a trial"),
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


@pytest.mark.parametrize("name", ["s1/rec.2", "s1/rec.7", "s1/rec.v1.2", "s1/.wav", "s1/rec.wav.bak"])
def test_only_the_suffix_of_an_audio_file_is_cut_off(tmp_path: Path, name: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"1 s1/a.wav {name}\n0 s1/a.wav s2/b.wav\n", encoding="utf-8")
    whole = manifest("s1/rec.wav", "s1/rec.v1.wav", "s1/a.wav", "s2/b.wav")
    with pytest.raises(CorpusError, match=f"1 of its 3 utterances are not among .*: {name}"):
        read_trials(path, whole)


def test_a_name_with_dots_is_found_with_and_without_its_suffix(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("1 s1/rec.2 s1/rec.WAV\n0 s1/rec.2.flac s2/b.0.5\n", encoding="utf-8")
    trials = read_trials(path, manifest("s1/rec.2.wav", "s1/rec.wav", "s2/b.0.5.m4a"))
    assert (trials.enrol.tolist(), trials.test.tolist()) == ([0, 0], [1, 2])


@pytest.mark.parametrize("name", ["s1/rec", "rec", "data/s1/rec", "s1/rec.mp3"])
def test_of_two_recordings_with_one_name_none_is_chosen(tmp_path: Path, name: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"1 s1/a.wav {name}\n0 s1/a.wav s2/b.wav\n", encoding="utf-8")
    whole = manifest("s1/rec.wav", "s1/rec.flac", "s1/a.wav", "s2/b.wav")
    with pytest.raises(CorpusError, match=r"could be several .*s1/rec\.flac.*their suffix"):
        read_trials(path, whole)


Form: TypeAlias = Literal["NFC", "NFD", "NFKC"]

NAMES = st.text(st.characters(categories=["Ll", "Lu", "Lo", "Nd"], max_codepoint=0x24F), min_size=1, max_size=6)


@given(NAMES, st.sampled_from(["NFC", "NFD", "NFKC"]), st.sampled_from(["NFC", "NFD"]))
@settings(max_examples=60, deadline=None)
def test_names_are_compared_however_accents_are_written(name: str, there: Form, here: Form) -> None:
    name = unicodedata.normalize(there, name)
    whole = manifest(f"{unicodedata.normalize(here, name)}/1.wav", "other name/2.wav", "other name/3.wav")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "list.csv"
        lines = f"label,enrol,test\n1,other name/2.wav,other name/3.wav\n0,{name}/1.wav,other name/2.wav\n"
        path.write_text(lines, encoding="utf-8")
        assert len(read_trials(path, whole)) == 2


def test_names_that_differ_in_normalisation_alone_are_reported(tmp_path: Path) -> None:
    composed, apart = "\u00e9/1.wav", "e\u0301/1.wav"
    whole = manifest(composed, apart, "b/1.wav", "b/2.wav")
    path = tmp_path / "list.txt"
    for name in (composed, apart, "\u00e9/1", "data/e\u0301/1.wav"):
        path.write_text(f"1 b/1.wav b/2.wav\n0 b/1.wav {name}\n", encoding="utf-8")
        with pytest.raises(CorpusError, match="differ in Unicode normalisation alone"):
            read_trials(path, whole)


def test_the_names_of_kaldi_are_those_of_the_files(tmp_path: Path) -> None:
    path = tmp_path / "trials"
    path.write_text("id1-x-1 id1-y-1 target\nid1-x-1 id2-z-2 nontarget\n", encoding="utf-8")
    for whole in (VOXCELEB, manifest(*(f"wav/{utterance.id}" for utterance in VOXCELEB.utterances))):
        trials = read_trials(path, whole)
        assert [name.removeprefix("wav/") for name in trials.ids] == ["id1/x/1.wav", "id1/y/1.wav", "id2/z/2.wav"]
    with pytest.raises(CorpusError, match=r"could be several .* id1-x-1 could be id1-x/1.wav, id1/x-1.wav"):
        read_trials(path, manifest("id1-x/1.wav", "id1/x-1.wav", "id1/y/1.wav", "id2/z/2.wav"))


def test_a_list_in_another_encoding_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes("1 caf\u00e9/1.wav caf\u00e9/2.wav\n".encode("latin-1"))
    with pytest.raises(CorpusError, match=r"no UTF-8 text .*iconv"):
        read_trials(path, VOXCELEB)


def test_a_missing_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="cannot be read"):
        read_trials(tmp_path / "none.txt", VOXCELEB)


def one_by_one(path: Path, whole: Manifest) -> TrialList:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial_lists._Parser, "_regular", lambda self, text: None)
        return read_trials(path, whole)


def same(one: TrialList, other: TrialList) -> bool:
    columns = zip((one.enrol, one.test, one.target), (other.enrol, other.test, other.target), strict=True)
    return (one.ids, one.speakers) == (other.ids, other.speakers) and all((a == b).all() for a, b in columns)


ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.booleans()), min_size=2, max_size=60).filter(
    lambda rows: len({target for *_, target in rows}) == 2
)


@given(
    ROWS,
    st.sampled_from(["\t", ",", ";", " "]),
    st.sampled_from(
        [("1", "0"), ("target", "nontarget"), ("True", "FALSE"), ("TGT", "imp"), ("1.0", "0.0"), ("same", "different")]
    ),
    st.booleans(),
    st.booleans(),
    st.sampled_from(["", "\n", "heading", "# a remark\n; another\n"]),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(40, 400),
)
@settings(max_examples=80, deadline=None)
def test_portions_read_whole_agree_with_line_by_line(
    rows: list[tuple[int, int, bool]],
    separator: str,
    labels: tuple[str, str],
    label_first: bool,
    quoted: bool,
    heading: str,
    newline: str,
    portion: int,
) -> None:
    names = [utterance.id for utterance in VOXCELEB.utterances]
    if heading == "heading":
        heading = "label,enrol,test\n" if label_first else "modelid segmentid targettype\n"
    mark = '"' if quoted else ""
    lines = [
        separator.join(mark + field + mark for field in ((label, *pair) if label_first else (*pair, label)))
        for i, j, target in rows
        for label, pair in ((labels[0] if target else labels[1], (names[i], names[j])),)
    ]
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "list.txt"
        path.write_bytes((heading + "\n".join(lines)).replace("\n", newline).encode())
        patch.setattr(trial_lists, "_PORTION", portion)
        trials = read_trials(path, VOXCELEB)
        assert same(trials, one_by_one(path, VOXCELEB))
    assert [(trials.ids[i], trials.ids[j]) for i, j in zip(trials.enrol, trials.test, strict=True)] == [
        (names[i], names[j]) for i, j, _ in rows
    ]
    assert trials.target.tolist() == [target for *_, target in rows]


TOKENS = [
    "1",
    "0",
    "-1",
    "target",
    "imp",
    "label",
    "enrol",
    "test",
    "a.wav",
    "b",
    "/",
    "..",
    ".wav",
    '"',
    '""',
    "#",
    "\0",
]
GLUE = [" ", "\t", ",", ";", "\n", "\r", "\\", "\u00e9", "\ufeff", "\u2028", "\x0c"]


@given(
    st.lists(st.sampled_from(TOKENS + GLUE), max_size=60).map("".join),
    st.sampled_from(["utf-8", "utf-16", "latin-1"]),
    st.integers(1, 40),
)
@settings(max_examples=200, deadline=None)
def test_whatever_a_list_holds_it_is_read_or_refused(text: str, encoding: str, portion: int) -> None:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "list.txt"
        path.write_bytes(text.encode(encoding, "replace"))
        patch.setattr(trial_lists, "_PORTION", portion)
        with contextlib.suppress(CorpusError):  # and nothing else
            trials = read_trials(path, manifest("a.wav", "x/b.wav", "x/b.flac", "\u00e9.wav"))
            assert same(trials, one_by_one(path, manifest("a.wav", "x/b.wav", "x/b.flac", "\u00e9.wav")))


def test_regular_lines_are_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    line_by_line = trial_lists._Parser._one_by_one

    def refuse(self: trial_lists._Parser, text: str) -> trial_lists.TrialLines:
        assert not text
        return line_by_line(self, text)

    monkeypatch.setattr(trial_lists._Parser, "_one_by_one", refuse)
    path = tmp_path / "list.txt"
    for text in (
        "1 id1/x/1.wav id1/y/1.wav\n0 id1/x/1.wav id2/z/1.wav\n",
        "id1/x/1.wav\tid1/y/1.wav\ttarget\r\nid1/x/1.wav\tid2/z/1.wav\tnontarget\r\n",
        "1,x/1,y/1\n0,x/1,z/1\n",
        "id1-x-1 id1-y-1 tgt\nid1-x-1 id2-z-1 imp\n",
        '"1","x/1","y/1"\n"0",x/1,"z/1"\n',
        "1\tx/1\ty/1\t\n0\tx/1\tz/1\t\n",
    ):
        path.write_text(text + text, encoding="utf-8")
        assert read_trials(path, VOXCELEB).target.tolist() == [True, False] * 2


@pytest.mark.parametrize(
    "bad",
    [
        "1 id1/x/1.wav\n0 id1/x/1.wav id2/z/1.wav id2/z/1.wav",  # six fields on two lines
        "1  id1/x/1.wav",
        "maybe id1/x/1.wav id1/y/1.wav",
        "1 id1/x/1.wav id1/y/1.wav \N{BULLET}",
        "1 id1/x/1.wav,id1/y/1.wav",
        f"maybe {'x' * 300} id1/y/1.wav",
    ],
)
def test_a_bad_line_is_found_wherever_it_is(tmp_path: Path, bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial_lists, "_PORTION", 500)
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
    monkeypatch.setattr(trial_lists, "_PORTION", 1 << 16)
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
