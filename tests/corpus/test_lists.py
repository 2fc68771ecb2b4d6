"""Lists of other toolkits: every format gives what the folder gives, and what is wrong with one is said."""

import csv
import gzip
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxanchor.corpus.layouts import scan
from voxanchor.corpus.lists import KINDS, kind_of_list
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.owners import LAYOUTS, detect
from voxanchor.corpus.trial_lists import read_enrolments, read_trials
from voxanchor.errors import CorpusError, RecipeError
from voxanchor.workflows.pack import pack

RATE = 8_000  # not that of the models: times of a list are of the recording

Row = tuple[str, str, float, float]
"""Path below the folder, speaker, start and end in seconds."""

Writer = Callable[[Path, list[Row]], Path]


def sound(path: Path, seconds: float = 1.0, seed: int = 0, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    wave = 0.1 * np.random.default_rng(seed).standard_normal((round(seconds * RATE), channels))
    soundfile.write(path, wave, RATE, subtype="PCM_16")
    return path


def lines(path: Path, rows: Iterable[object], pack: bool = False) -> Path:
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if pack else text)
    return path


def utterance_id(row: Row) -> str:
    return f"{row[0]}@{row[2]:g}"


def write_kaldi(folder: Path, rows: list[Row]) -> Path:
    place = folder / "data"
    place.mkdir()
    lines(place / "wav.scp", (f"rec-{path} {folder}/{path}" for path in dict.fromkeys(row[0] for row in rows)))
    lines(place / "segments", (f"{utterance_id(row)} rec-{row[0]} {row[2]} {row[3]}" for row in rows))
    lines(place / "utt2spk", (f"{utterance_id(row)} {row[1]}" for row in rows))
    return place


def write_spk2utt(folder: Path, rows: list[Row]) -> Path:
    place = write_kaldi(folder, rows)
    (place / "utt2spk").unlink()
    lines(place / "spk2utt", (f"{who} " + " ".join(utterance_id(r) for r in rows if r[1] == who) for who in "ab"))
    return place


def write_nemo(folder: Path, rows: list[Row]) -> Path:
    found = ({"audio_filepath": r[0], "offset": r[2], "duration": r[3] - r[2], "label": r[1]} for r in rows)
    return lines(folder / "train.json", found)


def write_packed_nemo(folder: Path, rows: list[Row]) -> Path:
    return lines(folder / "train.json.gz", write_nemo(folder, rows).read_text().splitlines(), pack=True)


def write_speechbrain(folder: Path, rows: list[Row]) -> Path:
    heading = "ID,duration,wav,start,stop,spk_id"
    found = (f"{utterance_id(r)},9,$data_root/{r[0]},{r[2] * RATE:.0f},{r[3] * RATE:.0f},{r[1]}" for r in rows)
    return lines(folder / "train.csv", [heading, *found])


def write_csv(folder: Path, rows: list[Row]) -> Path:
    found = (f"{utterance_id(row)};{row[0]};{row[1]};{row[2]};{row[3]}" for row in rows)
    return lines(folder / "table.csv", ["utt;Path;Speaker;start;end", *found])


def recording(folder: Path, path: str) -> dict[str, object]:
    info = soundfile.info(str(folder / path))
    source = {"type": "file", "channels": [0], "source": str(folder / path)}
    return {"id": path, "sources": [source], "sampling_rate": RATE, "num_samples": info.frames, "duration": 1.0}


def write_cuts(folder: Path, rows: list[Row]) -> Path:
    cuts = [
        {
            "id": utterance_id(row),
            "start": row[2],
            "duration": row[3] - row[2],
            "channel": 0,
            "supervisions": [{"id": "s", "recording_id": row[0], "start": 0, "duration": 9, "speaker": row[1]}],
            "recording": recording(folder, row[0]),
            "type": "MonoCut",
        }
        for row in rows
    ]
    return lines(folder / "cuts.jsonl.gz", cuts, pack=True)


def write_recordings(folder: Path, rows: list[Row]) -> Path:
    lines(folder / "x_recordings.jsonl", [recording(folder, path) for path in dict.fromkeys(r[0] for r in rows)])
    found = (
        {"id": utterance_id(r), "recording_id": r[0], "start": r[2], "duration": r[3] - r[2], "speaker": r[1]}
        for r in rows
    )
    lines(folder / "x_supervisions.jsonl", found)
    return folder


WRITERS: dict[str, tuple[str, Writer]] = {
    "kaldi": ("kaldi", write_kaldi),
    "spk2utt": ("kaldi", write_spk2utt),
    "nemo": ("nemo", write_nemo),
    "nemo, packed": ("nemo", write_packed_nemo),
    "speechbrain": ("speechbrain", write_speechbrain),
    "csv": ("csv", write_csv),
    "lhotse cuts": ("lhotse", write_cuts),
    "lhotse recordings": ("lhotse", write_recordings),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("seed", range(3))
def test_every_format_gives_the_same_utterances(name: str, seed: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(seed)
    rows: list[Row] = []
    for number in range(4):
        path, length_s = f"{'ab'[number % 2]}/{number}.wav", draw.integers(10, 30) / 8
        sound(tmp_path / path, length_s, number)
        first, second = sorted(draw.integers(3, int(8 * length_s) - 2, 2) / 8)
        rows += [(path, "ab"[number % 2], 0.0, first), (path, "ab"[number % 2], second, length_s)]
    rows = [row for row in rows if row[3] - row[2] >= 0.3]
    kind, write = WRITERS[name]
    place = write(tmp_path, rows)
    assert kind_of_list(place) == kind
    found = scan(place)
    assert found.layout == kind
    assert KINDS[kind] in found.describe()
    assert [u.speaker for u in found.utterances] == [row[1] for row in rows]
    if kind != "nemo":
        assert [u.id for u in found.utterances] == [utterance_id(row) for row in rows]
    for utterance, (path, _, start, end) in zip(found.utterances, rows, strict=True):
        assert utterance.duration_s == pytest.approx(end - start, abs=1e-6)
        whole = scan(tmp_path, "speakers").utterances
        same = next(u for u in whole if u.id == path)
        np.testing.assert_allclose(utterance.read(), same.read(start, end - start), atol=1e-3)
    again = scan(place, layout=kind)
    assert again == found
    assert scan(place, layout="flat").speakers == ()


@pytest.mark.parametrize("name", WRITERS)
def test_marks_and_line_ends_of_windows_do_not_matter(name: str, tmp_path: Path) -> None:
    rows: list[Row] = [("a/1.wav", "a", 0.0, 1.0), ("b/2.wav", "b", 0.0, 1.0)]
    for row in rows:
        sound(tmp_path / row[0])
    place = WRITERS[name][1](tmp_path, rows)
    before = scan(place)
    for path in [place] if place.is_file() else [p for p in place.iterdir() if p.is_file()]:
        data = path.read_bytes()
        text = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        text = b"\xef\xbb\xbf" + text.replace(b"\n", b"\r\n")
        path.write_bytes(gzip.compress(text) if data[:2] == b"\x1f\x8b" else text)
    assert scan(place) == before


@pytest.mark.parametrize("name", WRITERS)
def test_what_cannot_be_used_is_listed_with_its_reason(name: str, tmp_path: Path) -> None:
    rows: list[Row] = [("a/1.wav", "a", 0.0, 1.0), ("b/2.wav", "b", 0.0, 0.75)]
    for row in rows:
        sound(tmp_path / row[0], 1.5)
    wave = soundfile.read(tmp_path / "b" / "2.wav")[0]
    wave[7 * RATE // 8 :] = 0.0
    soundfile.write(tmp_path / "b" / "2.wav", wave, RATE)
    wrong: list[tuple[Row, str]] = [
        (("a/1.wav", "a", 1.0, 3.0), "from 1 s to 3 s of a recording of 1.50 s"),
        (("a/1.wav", "a", 0.5, 0.5), "from 0.5 s to 0.5 s"),
        (("a/1.wav", "a", 0.75, 0.25), "from 0.75 s to 0.25 s"),
        (("a/1.wav", "a", 0.25, 0.375), "too short"),
        (("b/2.wav", "b", 1.0, 1.5), "silent"),
    ]
    found = scan(WRITERS[name][1](tmp_path, rows + [row for row, _ in wrong]), max_unusable_share=0.8)
    assert len(found) == 2
    assert len(found.unusable) == len(wrong)
    for bad, (_, reason) in zip(found.unusable, wrong, strict=True):
        assert reason in bad.reason


def test_a_missing_recording_is_listed_in_every_format(tmp_path: Path) -> None:
    for number, (_, write) in enumerate(WRITERS.values()):
        folder = tmp_path / str(number)
        sound(folder / "a" / "1.wav")
        sound(folder / "b" / "2.wav")
        place = write(folder, [("a/1.wav", "a", 0.0, 1.0), ("b/2.wav", "b", 0.0, 1.0)])
        (folder / "b" / "2.wav").unlink()
        (bad,) = scan(place, max_unusable_share=0.5).unusable
        assert "no such file" in bad.reason or "is not there" in bad.reason


TEXTS = {
    "twice in wav.scp": ("wav.scp", "a a.wav\nb b.wav\na c.wav\n", r"wav.scp, line 3: a stands in line 1 already"),
    "no path": ("wav.scp", "a a.wav\nb\n", r"wav.scp, line 2: 'b' has no path behind it"),
    "empty wav.scp": ("wav.scp", "\n", "names no recordings"),
    "Latin-1": ("wav.scp", "a a.wav\nb \xe9.wav\n", r"wav.scp, line 2: is not UTF-8"),
    "no JSON": ("m.json", '{"audio_filepath": "a.wav"}\n{"audio\n', "m.json, line 2: is not JSON"),
    "no object": ("m.json", '{"audio_filepath": "a.wav"}\n3\n', "line 2: is no object of JSON"),
    "no path in NeMo": ("m.json", '{"audio_filepath": "a.wav"}\n{"a": 1}\n', "line 2: not a line of a NeMo manifest"),
    "several paths": ("m.json", '{"audio_filepath": ["a.wav", "b.wav"]}\n', "is not one path"),
    "a duration in words": ("m.json", '{"audio_filepath": "a.wav", "duration": "long"}\n', "line 1: not a line"),
    "no duration": ("c.jsonl", '{"id": "a", "type": "MonoCut", "recording": {}}\n', "line 1: not a cut of lhotse"),
    "two cuts": ("c.jsonl", '{"id": "a", "tracks": []}\n' * 2, "two utterances are called a"),
    "supervisions alone": (
        "supervisions.jsonl",
        '{"id": "a", "recording_id": "r", "start": 0, "duration": 1, "speaker": "x"}\n',
        "put recordings.jsonl beside it",
    ),
    "fields": ("t.csv", "path,speaker\na.wav,a\nb.wav\n", r"t.csv, line 3: has 1 fields, and the heading 2"),
    "no times": ("t.csv", "path,speaker,start\na.wav,a,soon\n", r"t.csv, line 2: could not convert"),
    "seconds": ("t.csv", "ID,wav,start,stop\na,a.wav,0.5,1\n", "line 2: start and stop are numbers of samples"),
    "two columns": ("t.csv", "path,file,speaker\na.wav,a.wav,a\n", "several columns could be the path: path, file"),
    "nothing named": ("t.csv", "path,speaker\n,a\n", "line 2: names no recording"),
    "only a heading": ("t.csv", "path,speaker\n", "names no recordings"),
    "the same id": ("t.csv", "id,path\na,1.wav\na,2.wav\n", "two utterances are called a"),
    "placeholder": ("t.csv", "ID,wav\na,$data_root/1.wav\n", r"t.csv, line 2: \$data_root was taken for the table's"),
    "nothing known": ("t.txt", "hello\n", "no list of recordings that is known"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_a_list_that_cannot_be_understood_is_refused(name: str, tmp_path: Path) -> None:
    file, text, message = TEXTS[name]
    (tmp_path / file).write_bytes(text.encode("latin-1"))
    with pytest.raises(CorpusError, match=message):
        scan(tmp_path / file, max_unusable_share=1.0)


@pytest.mark.parametrize("data", [b"\x1f\x8b\x08\x00broken", b"", b"\x00\xff\xfe" * 99, b"[" * 100_000, b"a\x00,b\n"])
@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.csv", "a.json"])
def test_any_bytes_are_refused_in_a_sentence(data: bytes, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    for layout in LAYOUTS:
        with pytest.raises((CorpusError, RecipeError)):
            scan(tmp_path / name, layout)


def test_kaldi_starts_from_the_current_directory_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    sound(tmp_path / "here" / "a.wav", 1.0)
    sound(tmp_path / "data" / "a.wav", 2.0)
    sound(tmp_path / "data" / "b.wav", 2.0)
    lines(tmp_path / "data" / "wav.scp", ["a a.wav", "b b.wav", f"c {tmp_path}/here/a.wav"])
    lines(tmp_path / "data" / "utt2spk", ["a x", "zz y"])
    monkeypatch.chdir(tmp_path / "here")
    assert [u.duration_s for u in scan(tmp_path / "data").utterances] == [1.0, 2.0, 1.0]
    said = " ".join(capsys.readouterr().err.split())
    assert "data: 1 relative path found from the current directory" in said
    assert "data: 2 of 3 utterances have no speaker" in said
    assert "1 utterance with a speaker, but not in wav.scp: left out" in said


def test_an_utterance_of_two_speakers_is_refused(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    lines(tmp_path / "wav.scp", ["a a.wav"])
    lines(tmp_path / "spk2utt", ["ann a", "bob a"])
    with pytest.raises(CorpusError, match="spk2utt, line 2: a belongs to ann already"):
        scan(tmp_path)


def test_times_beyond_all_numbers_are_listed(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    times = ["NaN", "Infinity", "1" + "0" * 400, "-3", "1e400", '"0.25"', "null"]
    texts = [f'{{"audio_filepath": "a.wav", "offset": 0.{n + 1}, "duration": {time}}}' for n, time in enumerate(times)]
    found = scan(lines(tmp_path / "m.json", texts), max_unusable_share=0.9)
    assert len(found) == 1  # to the end; 0.25 s are too short
    assert len(found.unusable) == 6


@pytest.mark.parametrize("name", ["kaldi", "lhotse cuts"])
def test_stretches_of_a_pack_are_those_of_the_list(name: str, tmp_path: Path) -> None:
    rows: list[Row] = [("a/1.wav", "a", 0.5, 1.0), ("a/1.wav", "a", 1.0, 1.75), ("b/2.wav", "b", 0.25, 2.0)]
    for number, path in enumerate(("a/1.wav", "b/2.wav")):
        sound(tmp_path / "speech" / path, 2.0, number)
    place = WRITERS[name][1](tmp_path / "speech", rows)
    pack([tmp_path / "pack"], speech=[str(place)])
    listed, packed = scan(place), scan(tmp_path / "pack")
    for one, other in zip(listed.utterances, packed.utterances, strict=True):
        assert (one.id, one.speaker, one.recording) == (other.id, other.speaker, other.recording)
        assert one.duration_s == other.duration_s
        np.testing.assert_allclose(one.read(), other.read(), atol=1e-4)


def test_commands_are_named_by_their_line(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    lines(tmp_path / "wav.scp", ["a a.wav", "b sph2pipe -f wav b.sph |"])
    (bad,) = scan(tmp_path, max_unusable_share=0.5).unusable
    assert "a command in line 2 of wav.scp" in bad.reason
    assert "run it once, and write its output to a file" in bad.reason
    with pytest.raises(CorpusError, match=r"b: a command in line 2 of wav\.scp"):
        scan(tmp_path, max_unusable_share=0.1)


def test_what_lhotse_makes_on_the_fly_is_listed(tmp_path: Path) -> None:
    sound(tmp_path / "two.wav", 2.0, channels=2)
    whole = {"id": "two", "sources": [{"type": "file", "channels": [0, 1], "source": "two.wav"}], "sampling_rate": RATE}
    command = {"id": "x", "sources": [{"type": "command", "channels": [0], "source": "cat x"}]}
    cut = {"type": "MonoCut", "start": 0.0, "duration": 2.0, "supervisions": []}
    talk = [
        {"id": "ann", "start": -0.5, "duration": 1.5, "speaker": "ann", "channel": 0},
        {"id": "bob", "start": 1.0, "duration": 9.0, "speaker": "bob", "channel": 1},
    ]
    cuts: list[dict[str, object]] = [
        cut | {"id": "left", "channel": 0, "recording": whole},
        cut | {"id": "right", "channel": 1, "recording": whole},
        cut | {"id": "both", "recording": whole, "supervisions": talk},
        {"id": "mixed", "type": "MixedCut", "tracks": []},
        cut | {"id": "run", "recording": command},
        cut | {"id": "none", "features": {}},
        cut | {"id": "fast", "recording": whole | {"transforms": [{"name": "Speed", "kwargs": {"factor": 1.1}}]}},
        cut | {"id": "third", "channel": 2, "recording": whole},
    ]
    found = scan(lines(tmp_path / "cuts.jsonl", cuts), max_unusable_share=0.9)
    assert [(u.id, u.speaker, u.duration_s, u.parts[0].channel) for u in found.utterances] == [
        ("left", "", 2.0, 1),
        ("right", "", 2.0, 2),
        ("ann", "ann", 1.0, 1),
        ("bob", "bob", 1.0, 2),
    ]
    left, right = (soundfile.read(tmp_path / "two.wav")[0].T[side] for side in (0, 1))
    assert abs(np.corrcoef(found.utterances[0].read()[::2], left)[0, 1]) > 0.9
    assert abs(np.corrcoef(found.utterances[1].read()[::2], right)[0, 1]) > 0.9
    expected = ("MixedCut", "a command", "without a recording", "Speed", "no channel 2")
    for bad, reason in zip(found.unusable, expected, strict=True):
        assert reason in bad.reason
    array = lines(tmp_path / "cuts.json", [json.dumps(cuts[:3], indent=1)])
    assert [u.id for u in scan(array).utterances] == ["left", "right", "ann", "bob"]


def test_a_table_says_which_columns_it_did_not_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound(tmp_path / "a.wav")
    with (tmp_path / "t.tsv").open("w", newline="") as file:
        writer = csv.writer(file, delimiter="\t")
        writer.writerows([["path", "speaker", "session", "age"], ["a.wav", "ann, of the hill", "monday", "7"]])
    (one,) = scan(tmp_path / "t.tsv").utterances
    assert (one.id, one.speaker, one.session) == ("a.wav", "ann, of the hill", "monday")
    assert "columns that are not used: age" in capsys.readouterr().err


def test_a_layout_by_its_name(tmp_path: Path) -> None:
    sound(tmp_path / "ann" / "1.wav")
    lines(tmp_path / "wav.scp", ["x ann/1.wav"])
    assert scan(tmp_path).utterances[0].id == "x"
    assert scan(tmp_path, "speakers").speakers == ("ann",)
    with pytest.raises(RecipeError, match="layout nemo is a file"):
        scan(tmp_path, "nemo")
    with pytest.raises(CorpusError, match=r"wav\.scp: cannot be read"):
        scan(tmp_path / "ann", "kaldi")
    path = lines(tmp_path / "list.txt", ["ID,wav,start,end,spk_id", "a,ann/1.wav,0,0.5,ann"])
    assert scan(path, "csv").utterances[0].duration_s == 0.5
    with pytest.raises(CorpusError, match="is a table of SpeechBrain, no manifest of voxanchor; give it with --speech"):
        Manifest.load(path)


def cnceleb(root: Path) -> Path:
    """Write two speakers of CN-Celeb as its archive has them: FLAC, called WAV in the lists."""
    lists = root / "eval" / "lists"
    lists.mkdir(parents=True)
    enrol, several, trials = [], [], []
    for number, who in enumerate(("id00800", "id00801")):
        sound(root / "eval" / "enroll" / f"{who}-enroll.flac", seed=number)
        sound(root / "eval" / "test" / f"{who}-live_broadcast-01-001.flac", seed=10 + number)
        for take in range(3):
            sound(root / "data" / who / f"singing-01-00{take}.flac", seed=100 * number + take)
        enrol.append(f"{who}-enroll enroll/{who}-enroll.wav")
        several.append(f"{who}-enroll " + " ".join(f"{who}/singing-01-00{take}.wav" for take in range(3)))
        others = ("id00800", "id00801")
        trials += [f"{who}-enroll test/{other}-live_broadcast-01-001.wav {int(who == other)}" for other in others]
    lines(lists / "enroll.lst", enrol)
    lines(lists / "enroll.map", several)
    lines(lists / "trials.lst", trials)
    return root


def test_cnceleb_is_told_by_its_lists_and_by_its_names(tmp_path: Path) -> None:
    root = cnceleb(tmp_path)
    found = scan(root / "eval")
    assert found.layout == "cnceleb"
    assert found.speakers == ("id00800", "id00801")
    assert {u.session for u in found.utterances} == {"enroll", "live_broadcast-01", "singing-01"}
    assert len(found) == 2 + 2 + 6
    one = read_trials(root / "eval" / "lists" / "trials.lst", found)
    assert one.models == ()
    assert [one.ids[row] for row in one.enrol] == [f"enroll/id0080{n}-enroll.wav" for n in (0, 0, 1, 1)]
    training = scan(root / "data")
    assert training.layout == "cnceleb"
    assert {(u.speaker, u.session) for u in training.utterances} == {
        ("id00800", "singing-01"),
        ("id00801", "singing-01"),
    }
    (root / "eval" / "lists" / "trials.lst").unlink()
    assert scan(root / "eval").speakers == ("id00800", "id00801")
    assert detect([]) == "flat"


def test_a_model_of_several_recordings_is_their_mean(tmp_path: Path) -> None:
    root = cnceleb(tmp_path)
    lists, found = root / "eval" / "lists", scan(root / "eval")
    trials = read_trials(lists / "trials.lst", found, lists / "enroll.map")
    assert len(trials.models) == 2
    assert len(trials) == 4
    assert not [name for name in trials.ids if name.startswith("enroll/")]
    assert "2 models of enroll.map, each the mean of 3 to 3 recordings" in trials.note
    embeddings = np.random.default_rng(0).standard_normal((len(trials.ids), 8)).astype(np.float32)
    means = trials.enrolled(embeddings)
    for model, who in enumerate(("id00800", "id00801")):
        rows = [row for row, name in enumerate(trials.ids) if name.startswith(f"{who}/")]
        unit = [embeddings[row] / np.linalg.norm(embeddings[row]) for row in rows]
        expected = np.mean(unit, axis=0)
        np.testing.assert_allclose(means[model], expected / np.linalg.norm(expected), rtol=1e-5)
        assert trials.speakers[trials.enrol_rows[2 * model]] == who
    single = read_trials(lists / "trials.lst", found, lists / "enroll.lst")
    assert [len(rows) for rows in single.models] == [1, 1]


MODELS = {
    "no such model": ("x a\n", "2 of its 2 first sides are no models"),
    "no recordings": ("ann a1\nbob\n", "line 2: model bob has no recordings"),
    "empty": ("# nothing\n", "names no models"),
    "unknown": ("ann a1 a9\nbob b1\n", "1 of its 3 utterances are not among"),
    "of two": ("ann a1 b2\nbob b1\n", r"model ann has recordings of several speakers \(ann, bob\)"),
}


@pytest.mark.parametrize("name", MODELS)
def test_enrolments_that_cannot_serve_are_refused(name: str, tmp_path: Path) -> None:
    text, message = MODELS[name]
    for who in ("a1", "a2", "b1", "b2"):
        sound(tmp_path / f"{who}.wav")
    lines(tmp_path / "wav.scp", (f"{who} {who}.wav" for who in ("a1", "a2", "b1", "b2")))
    lines(tmp_path / "utt2spk", ["a1 ann", "a2 ann", "b1 bob", "b2 bob"])
    lines(tmp_path / "trials", ["ann a2 target", "ann b2 nontarget", "bob b2 target"])
    (tmp_path / "models").write_text(text)
    with pytest.raises(CorpusError, match=message):
        read_trials(tmp_path / "trials", scan(tmp_path), tmp_path / "models")


def test_enrolments_in_every_form(tmp_path: Path) -> None:
    wanted = {"ann": ("a1", "a2"), "bob": ("b1",)}
    texts = {
        "map": "ann a1 a2\nbob b1\n",
        "nist.tsv": "modelid\tsegmentid\nann\ta1\nann\ta2\nbob\tb1\n",
        "t.csv": "model,segment\r\nann,a1\r\nann,a2\r\nbob,b1\r\n",
        "utt2spk": "a1 ann\na2 ann\nb1 bob\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert read_enrolments(tmp_path / name) == wanted


def test_a_name_may_be_a_model_and_a_recording(tmp_path: Path) -> None:
    names = ["ann", "a2", "bob", "b2"]
    for name in names:
        sound(tmp_path / f"{name}.wav")
    lines(tmp_path / "wav.scp", (f"{name} {name}.wav" for name in names))
    lines(tmp_path / "models", ["ann a2", "bob b2"])
    lines(tmp_path / "trials", ["model segment label", "ann ann target", "ann bob nontarget", "bob bob target"])
    found = read_trials(tmp_path / "trials", scan(tmp_path), tmp_path / "models")
    assert [(found.models[e], found.ids[t]) for e, t in zip(found.enrol, found.test, strict=True)] == [
        ((1,), "ann"),
        ((1,), "bob"),
        ((3,), "bob"),
    ]


@pytest.mark.parametrize("kind", ["nemo", "csv"])
def test_ids_made_of_absolute_paths_do_not_say_where_the_corpus_lies(tmp_path: Path, kind: str) -> None:
    """Noise of an evaluation is drawn by the id: a copy of the corpus elsewhere must be heard in the same noise."""
    found: list[Manifest] = []
    for place in (tmp_path / "here" / "corpus", tmp_path / "there"):
        paths = [sound(place / "wavs" / name, seed=i) for i, name in enumerate(("ann/1.wav", "bob/1.wav"))]
        sound(tmp_path / "ann.wav", seed=2)
        items: list[tuple[str, str, float]] = [(str(path), path.parent.name, 0.0) for path in paths]
        items.append((str(paths[0]), "ann", 0.5))
        if kind == "nemo":
            rows = ({"audio_filepath": p, "offset": start, "duration": 0.5, "label": who} for p, who, start in items)
            listed = lines(tmp_path / f"{len(found)}.json", rows)
        else:
            table = [f"{path},{who},{start},{start + 0.5}" for path, who, start in items]
            listed = lines(tmp_path / f"{len(found)}.csv", ["path,speaker,start,end", *table])
        found.append(scan(listed))
    here, there = found
    assert [utterance.id for utterance in here.utterances] == ["ann/1.wav:0", "bob/1.wav", "ann/1.wav:0.5"]
    assert here.fingerprint == there.fingerprint
    assert Path(here.utterances[0].parts[0].path).is_relative_to(tmp_path / "here")
    trials = lines(
        tmp_path / "trials", [f"1 {tmp_path}/x/bob/1.wav ann/1.wav:0.5", f"0 {tmp_path}/x/bob/1.wav ann/1.wav:0"]
    )
    assert len(read_trials(trials, here)) == 2


def test_trials_that_name_paths_are_found_by_the_recordings_of_a_table(tmp_path: Path) -> None:
    for name in ("id1/x/1.wav", "id1/y/1.wav", "id2/z/1.wav"):
        sound(tmp_path / "wav" / name)
    rows = [f"{n.replace('/', '--')},9,$data_root/wav/{n}.wav,,,{n[:3]}" for n in ("id1/x/1", "id1/y/1", "id2/z/1")]
    whole = scan(lines(tmp_path / "test.csv", ["ID,duration,wav,start,stop,spk_id", *rows]))
    for prefix, suffix in (("", ".wav"), ("", ""), ("wav/", ".wav"), (f"{tmp_path}/wav/", ".wav"), ("./wav/", ".m4a")):
        names = [f"{prefix}id{name}{suffix}" for name in ("1/x/1", "1/y/1", "2/z/1")]
        path = lines(tmp_path / "trials", [f"1 {names[0]} {names[1]}", f"0 {names[0]} {names[2]}"])
        trials = read_trials(path, whole)
        assert trials.ids == ("id1--x--1", "id1--y--1", "id2--z--1")
        assert (trials.enrol.tolist(), trials.test.tolist()) == ([0, 0], [1, 2])
    path = lines(tmp_path / "trials", ["1 id1/x/1 1.wav", "0 id1/x/1 id2/z/1"])
    with pytest.raises(CorpusError, match=r"could be several .*1\.wav could be id1--x--1, id1--y--1"):
        read_trials(path, whole)
    path = lines(tmp_path / "trials", ["1 id1/x/1 other/id1/y/1", "0 id1/x/1 id2/z/1"])
    with pytest.raises(CorpusError, match="1 of its 3 utterances are not among"):
        read_trials(path, whole)
