"""Scanning folders of speech and of noise: layouts, bad files, and what is said about them."""

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import soundfile

from voxanchor.corpus.layouts import noise_folder, scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.noise_folders import room_manifest
from voxanchor.corpus.owners import detect
from voxanchor.corpus.trials import all_pairs
from voxanchor.errors import CorpusError, RecipeError

RATE = 16_000
SHARED = Path(__file__).parents[2].parent / "shared" / "data"


def sound(path: Path, seconds: float = 1.0, scale: float = 0.1, rate: int = RATE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = scale * np.random.default_rng(0).standard_normal(round(seconds * rate))
    soundfile.write(path, np.clip(samples, -1, 1), rate)
    return path


def files(folder: Path, *names: str) -> Path:
    for name in names:
        sound(folder / name)
    return folder


def test_speakers(tmp_path: Path) -> None:
    folder = files(tmp_path, "bob/2.wav", "bob/1.flac", "ann/monday/x/1.ogg", "ann/3.wav")
    (folder / "LICENSE").write_text("free")
    (folder / "ann" / "SOURCE.md").write_text("from here")
    sound(folder / ".hidden" / "1.wav")
    found = scan(folder)
    assert [(u.id, u.speaker, u.session, u.recording) for u in found.utterances] == [
        ("ann/3.wav", "ann", "", "ann/3.wav"),
        ("ann/monday/x/1.ogg", "ann", "monday/x", "ann/monday/x/1.ogg"),
        ("bob/1.flac", "bob", "", "bob/1.flac"),
        ("bob/2.wav", "bob", "", "bob/2.wav"),
    ]
    assert [u.duration_s for u in found.utterances] == pytest.approx([1.0] * 4)
    assert found.root == str(folder)
    assert not found.unusable
    assert len(found.utterances[0].read()) == RATE


def test_durations_are_those_at_16_khz(tmp_path: Path) -> None:
    sound(tmp_path / "a" / "1.wav", seconds=1.2345, rate=44_100)
    found = scan(tmp_path).utterances[0]
    assert found.duration_s == pytest.approx(1.2345, abs=1 / RATE)
    assert len(found.read()) == round(found.duration_s * RATE)


def test_voxceleb(tmp_path: Path) -> None:
    found = scan(
        files(tmp_path, *(f"wav/id{s}/vid{v}/0000{k}.wav" for s in (10270, 10271) for v in "ab" for k in "12"))
    )
    assert found.speakers == ("id10270", "id10271")
    assert {u.session for u in found.utterances} == {"vida", "vidb"}
    assert found.utterances[0].id == "wav/id10270/vida/00001.wav"


def test_librispeech_with_and_without_chapters(tmp_path: Path) -> None:
    files(tmp_path, "19/198/19-198-0000.flac", "19/227/19-227-0001.flac", "26/26-495-0002.flac")
    found = scan(tmp_path)
    assert [(u.speaker, u.session) for u in found.utterances] == [("19", "198"), ("19", "227"), ("26", "495")]
    inside = scan(files(tmp_path / "up", "train/7/8/7-8-0000.flac", "train/9/1/9-1-0000.flac"))
    assert inside.speakers == ("7", "9")


def test_flat(tmp_path: Path) -> None:
    found = scan(files(tmp_path, "a.wav", "b.wav"))
    assert found.speakers == ()
    assert [u.speaker for u in found.utterances] == ["", ""]
    with pytest.raises(CorpusError, match="who speaks"):
        all_pairs(found)


def test_a_layout_that_is_named_is_used(tmp_path: Path) -> None:
    folder = files(tmp_path, "19/198/19-198-0000.flac", "19/198/19-198-0001.flac")
    assert scan(folder, layout="speakers").utterances[0].session == "198"
    assert scan(folder, layout="flat").speakers == ()
    with pytest.raises(CorpusError, match="idXXXXX"):
        scan(folder, layout="voxceleb")
    with pytest.raises(RecipeError, match="librispeech"):
        scan(folder, layout="libri")


@pytest.mark.parametrize(
    ("paths", "layout"),
    [
        (["id10001/v/1.wav", "id10002/v/1.wav", "readme/1.wav"], "voxceleb"),
        (["1/2/1-2-3.flac", "4/5/4-5-6.flac"], "librispeech"),
        (["1/2-2-3.flac", "4/5-5-6.flac"], "speakers"),  # the number is not the folder's
        (["ann/1.wav", "bob/1.wav", "stray.wav"], "speakers"),
        (["1.wav", "2.wav"], "flat"),
        (["1-2-3.flac", "4-5-6.flac"], "flat"),
    ],
)
def test_detection(paths: list[str], layout: str) -> None:
    assert detect(PurePosixPath(path) for path in paths) == layout


def bad_files(folder: Path) -> dict[str, str]:
    """Write one file of every unusable kind; return what must be said about each."""
    folder.mkdir(parents=True, exist_ok=True)
    sound(folder / "silent.wav", scale=0.0)
    sound(folder / "short.wav", seconds=0.2)
    nan = np.full(RATE, np.nan, dtype=np.float32)
    soundfile.write(folder / "nan.wav", nan, RATE, subtype="FLOAT")
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("this is no sound")
    whole = sound(folder / "cut.flac", seconds=5.0)
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size // 3])
    click = np.zeros(2 * RATE)
    click[RATE : RATE + 400] = 0.5
    soundfile.write(folder / "click.wav", click, RATE)
    return {
        "silent.wav": "silent",
        "short.wav": "too short: 0.20 s",
        "nan.wav": "not finite",
        "empty.wav": "empty",
        "text.wav": "not a readable recording",
        "cut.flac": "truncated",
        "click.wav": "too little sound",
    }


def test_unusable_recordings_are_listed_with_their_reasons(tmp_path: Path) -> None:
    files(tmp_path, *(f"ann/{k}.wav" for k in range(8)))
    expected = bad_files(tmp_path / "bob")
    found = scan(tmp_path, max_unusable_share=0.5)
    assert found.speakers == ("ann",)
    assert {Path(bad.path).name for bad in found.unusable} == set(expected)
    for bad in found.unusable:
        assert expected[Path(bad.path).name] in bad.reason
        assert str(tmp_path) not in bad.reason


def test_too_large_a_share_fails_and_names_the_first_five(tmp_path: Path) -> None:
    files(tmp_path, *(f"ann/{k}.wav" for k in range(8)))
    bad_files(tmp_path / "bob")
    with pytest.raises(CorpusError) as caught:
        scan(tmp_path)
    message = str(caught.value)
    assert "7 of the 15 recordings" in message
    assert message.count("\n  bob/") == 5
    assert "and 2 more" in message
    assert "max_unusable_share=0.2" in message
    scan(tmp_path, max_unusable_share=7 / 15)


def test_a_stray_file_beside_the_speakers_is_listed(tmp_path: Path) -> None:
    found = scan(files(tmp_path, "ann/1.wav", "ann/2.wav", "bob/1.wav", "bob/2.wav", "stray.wav"))
    assert [bad.reason for bad in found.unusable] == ["not in a speaker's folder"]


def test_folders_without_speech_are_refused(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("nothing here")
    with pytest.raises(CorpusError, match="no audio"):
        scan(tmp_path)
    with pytest.raises(CorpusError, match="no such folder"):
        scan(tmp_path / "none")
    sound(tmp_path / "a" / "silent.wav", scale=0.0)
    with pytest.raises(CorpusError, match=r"none of the 1 recordings .* is usable:\n  a/silent.wav: silent"):
        scan(tmp_path, max_unusable_share=1.0)


def test_noise_in_the_layout_of_musan(tmp_path: Path) -> None:
    files(
        tmp_path, "noise/free-sound/n1.wav", "noise/n2.wav", "deep/er/music/fma/m1.wav", "speech/us-gov/s1.wav", "x.wav"
    )
    sound(tmp_path / "noise" / "quiet.wav", scale=0.0)
    sound(tmp_path / "noise" / "blip.wav", seconds=0.05)
    found = noise_folder(tmp_path)
    assert [Path(clip.path).name for clip in found.noise] == ["blip.wav", "n1.wav", "n2.wav"]
    assert [Path(clip.path).name for clip in found.music] == ["m1.wav"]
    assert [(Path(clip.path).name, clip.speaker) for clip in found.speech] == [("s1.wav", "s1")]
    assert found.music[0].duration_s == pytest.approx(1.0)
    assert {Path(bad.path).name: bad.reason.split(":")[0] for bad in found.unusable} == {
        "quiet.wav": "silent",
        "x.wav": "in none of the folders noise, music, speech",
    }
    assert (
        found.describe()
        == "noise: 3 clips, 0.0 min; music: 1 clip, 0.0 min; speech: 1 clip, 0.0 min; 2 recordings left out"
    )


def test_a_plain_folder_is_noise_unless_its_name_says_otherwise(tmp_path: Path) -> None:
    plain = noise_folder(files(tmp_path / "street", "cars/1.wav", "2.wav"))
    assert (len(plain.noise), len(plain.music), len(plain.speech)) == (2, 0, 0)
    music = noise_folder(files(tmp_path / "music", "jazz/1.wav"))
    assert (len(music.noise), len(music.music)) == (0, 1)


def test_noise_folders_without_noise_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="no audio"):
        noise_folder(tmp_path)
    sound(tmp_path / "noise" / "quiet.wav", scale=0.0)
    with pytest.raises(CorpusError, match=r"none of the 1 recordings .* usable as noise:\n  noise/quiet.wav: silent"):
        noise_folder(tmp_path)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the team's recordings are not on this machine")
def test_real_recordings() -> None:
    two = scan(SHARED / "speech" / "librispeech-2chapter")
    assert two.speakers == ("19", "26", "27")
    assert len({(u.speaker, u.session) for u in two.utterances}) == 6
    assert not two.unusable
    noise = noise_folder(SHARED / "noise" / "test")
    assert noise.noise
    assert noise.music
    assert not noise.unusable


def kaldi(folder: Path, **files: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text, encoding="utf-8")
    return folder


def test_a_kaldi_directory_names_recordings_and_speakers(tmp_path: Path) -> None:
    sounds = files(tmp_path / "audio", "1.wav", "2.wav", "3.wav")
    sound(sounds / "empty.wav", scale=0.0)
    scp = f"ann-1 {sounds}/1.wav\nann-2\t{sounds}/2.wav\n\nbob-1 {sounds}/3.wav\nbob-2 {sounds}/empty.wav\n"
    noises = ",".join(f"noise-{number}" for number in range(99))
    scp += f"bob-3 touch ran --additive-signals='{noises}' |\nbob-4 some.ark:17\nbob-5 none.wav\n"
    folder = kaldi(tmp_path / "kal", wav_scp=scp, utt2spk="ann-1 ann\nann-2 ann\nbob-1 bob\n")
    for place in (folder, folder / "wav.scp"):
        found = scan(place, max_unusable_share=0.6)
        assert [(u.id, u.speaker, u.duration_s) for u in found.utterances] == [
            ("ann-1", "ann", 1.0),
            ("ann-2", "ann", 1.0),
            ("bob-1", "bob", 1.0),
        ]
        reasons = [item.reason for item in found.unusable]
        for reason, expected in zip(reasons, ("silent", "no command is run", "archive", "no such file"), strict=True):
            assert expected in reason
    assert not (tmp_path / "ran").exists()
    with pytest.raises(RecipeError, match="leave the layout at auto"):
        scan(folder, layout="voxceleb")
    kaldi(folder, wav_scp=f"ann-1 {sounds}/1.wav\n", utt2spk="ann-1 ann\n")
    assert scan(folder).utterances[0].read().shape == (RATE,)


@pytest.mark.parametrize("look", [scan, noise_folder, room_manifest])
def test_a_folder_that_may_not_be_entered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, look: Callable[[Path], object]
) -> None:
    plain = Path.stat

    def refuse(path: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if path.is_relative_to(tmp_path / "closed"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return plain(path, follow_symlinks=follow_symlinks)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(CorpusError, match=r"closed/speech.*Permission denied.*check its permissions"):
        look(tmp_path / "closed" / "speech")


def test_a_folder_may_be_called_like_a_file_of_kaldi(tmp_path: Path) -> None:
    assert scan(files(tmp_path / "segments", "ann/1.wav")).speakers == ("ann",)


def test_segments_of_kaldi_are_utterances(tmp_path: Path) -> None:
    sound(tmp_path / "kal" / "long.wav", seconds=4.0)
    segments = "a long 0.5 2\nb long 2.5 -1\nc long 3.9 4\nd long 3 9\ne other 0 1\nf long 1 2\n"
    folder = kaldi(tmp_path / "kal", wav_scp="long long.wav\n", segments=segments, utt2spk="a ann\nb bob\n")
    found = scan(folder, max_unusable_share=0.6)
    assert [(u.id, u.speaker, u.duration_s) for u in found.utterances] == [
        ("a", "ann", 1.5),
        ("b", "bob", 1.5),
        ("f", "", 1.0),
    ]
    assert [len(u.read()) for u in found.utterances] == [24_000, 24_000, 16_000]
    assert len({u.recording for u in found.utterances}) == 1
    for bad, reason in zip(found.unusable, ("too short: 0.10 s", "from 3 s to 9 s", "no recording other"), strict=True):
        assert reason in bad.reason
    kaldi(folder, segments="a long 0.5\n")
    with pytest.raises(CorpusError, match=r"segments, line 1: 'a long 0.5' is not an id, a recording and two times"):
        scan(folder)


def test_a_nemo_manifest_names_recordings_and_speakers(tmp_path: Path) -> None:
    files(tmp_path, "a/1.wav", "a/2.wav", "b/3.wav")
    lines: list[dict[str, object]] = [
        {"audio_filepath": "a/1.wav", "duration": 1.0, "label": "ann", "text": "hello"},
        {"audio_filepath": "a/2.wav", "duration": 0.5, "speaker": "ann"},
        {"audio_filepath": str(tmp_path / "b" / "3.wav"), "speaker_id": 0, "offset": 0.25, "duration": 0.5},
        {"audio_filepath": str(tmp_path / "b" / "3.wav"), "speaker_id": 0},
        {"audio_filepath": str(tmp_path / "b" / "3.wav"), "speaker_id": 0},  # again
    ]
    path = tmp_path / "train_manifest.json"
    path.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    found = scan(path)
    assert [(u.id, u.speaker, u.duration_s) for u in found.utterances] == [
        ("a/1.wav", "ann", 1.0),
        ("a/2.wav", "ann", 0.5),
        ("b/3.wav:0.25", "0", 0.5),
        ("b/3.wav:0", "0", 1.0),
    ]
    assert [len(u.read()) for u in found.utterances] == [16_000, 8_000, 8_000, 16_000]
    path.write_text('{"audio_filepath": "a/1.wav"}\n{"path": "x.wav"}\n', encoding="utf-8")
    with pytest.raises(CorpusError, match="line 2: not a line of a NeMo manifest"):
        scan(path)


def test_lists_in_the_place_of_each_other(tmp_path: Path) -> None:
    scan(files(tmp_path, "a/1.wav")).save(tmp_path / "m.jsonl")
    with pytest.raises(CorpusError, match="is a manifest of voxanchor; 'embed' takes it with --manifest"):
        scan(tmp_path / "m.jsonl")
    folder = kaldi(tmp_path / "kal", wav_scp="a a.wav\n")
    (tmp_path / "nemo.json").write_text('{"audio_filepath": "a/1.wav"}\n')
    for place in (folder, folder / "wav.scp", tmp_path / "nemo.json"):
        with pytest.raises(CorpusError, match=r"is a (Kaldi data directory|NeMo manifest), .* give it with --speech"):
            Manifest.load(place)
