"""A pack gives what the files it was made from give, bit for bit, without decoding; a damaged one says what to do."""

import json
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxanchor.audio.babble import Babble
from voxanchor.audio.noise import Clip, ClipCache, RecordedNoise
from voxanchor.audio.pcm import encode
from voxanchor.conditions.bank import OTHER_VOICE_SPEEDS, noise_bank, voices
from voxanchor.corpus.layouts import noise_folder, scan
from voxanchor.corpus.manifest import Manifest, WaveStore
from voxanchor.corpus.pack import check_pack, is_pack, read_pack
from voxanchor.corpus.segments import join_short, segment
from voxanchor.errors import AudioError, CorpusError, RecipeError
from voxanchor.workflows.pack import pack

RATE = 16_000
Voice = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def packed(voices_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The 48 recordings of the voices, 3 MB in three shards."""
    out = tmp_path_factory.mktemp("packs") / "voices"
    pack([out], speech=[str(voices_folder)], shard_mb=1)
    return out


def facts(manifest: Manifest) -> list[tuple[object, ...]]:
    return [(u.id, u.speaker, u.session, u.recording, u.duration_s) for u in manifest.utterances]


def same_sound(one: Manifest, two: Manifest) -> bool:
    pairs = zip(one.utterances, two.utterances, strict=True)
    return all(np.array_equal(a.read(), b.read()) and a.pcm().gain == b.pcm().gain for a, b in pairs)


def test_a_pack_is_the_corpus_it_was_made_from(voices_folder: Path, packed: Path) -> None:
    files, pack_ = scan(voices_folder), scan(packed)
    assert facts(pack_) == facts(files)
    assert pack_.fingerprint == files.fingerprint == read_pack(packed).fingerprint
    assert same_sound(files, pack_)
    for a, b in zip(files.with_voices([0.9]).utterances[-3:], pack_.with_voices([0.9]).utterances[-3:], strict=True):
        assert np.array_equal(a.read(0.3, 0.5), b.read(0.3, 0.5))
    assert check_pack(read_pack(packed)) == []


def test_shards_are_wav_files_of_whole_recordings_that_any_tool_opens(voices_folder: Path, packed: Path) -> None:
    sound = np.concatenate([u.pcm().samples for u in scan(voices_folder).utterances])
    found = []
    for shard in sorted((packed / "shards").glob("*.wav")):
        assert shard.stat().st_size <= 2**20
        with wave.open(str(shard)) as file:
            assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (1, 2, RATE)
            found.append(np.frombuffer(file.readframes(file.getnframes()), "<i2"))
        assert len(found[-1]) % (2 * RATE) == 0  # the recordings have 2 s each, and none is split
        np.testing.assert_array_equal(soundfile.read(shard, dtype="int16")[0], found[-1])
    assert len(found) == 3
    np.testing.assert_array_equal(np.concatenate(found), sound)


def test_opening_a_pack_touches_no_sound(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("sound was opened")

    for name in ("soundfile.SoundFile", "soundfile.info", "numpy.memmap", "voxanchor.audio.io.read"):
        monkeypatch.setattr(name, refuse)
    assert len(scan(packed)) == 48


def test_reading_a_recording_of_a_pack_decodes_nothing(packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a file was decoded")

    monkeypatch.setattr("voxanchor.audio.pcm.read", refuse)
    for utterance in scan(packed).utterances[::7]:
        assert isinstance(utterance.pcm().samples, np.memmap)
        assert len(utterance.read()) == 2 * RATE


def odd_files(folder: Path) -> Path:
    """Recordings that are not 16-bit mono at 16 kHz: whatever else corpora come as."""
    draw = np.random.default_rng(3)
    forms = {
        "a/float.wav": (RATE, 1, "FLOAT"), "a/deep.wav": (RATE, 1, "PCM_24"), "a/cd.wav": (44_100, 2, "PCM_16"),
        "b/phone.wav": (8_000, 1, "ULAW"), "b/film.flac": (48_000, 1, "PCM_24"), "b/net.mp3": (RATE, 1, None),
        "c/radio.ogg": (44_100, 1, None), "c/plain.flac": (RATE, 1, "PCM_16"), "c/loud.wav": (RATE, 1, "FLOAT"),
    }  # fmt: skip
    for name, (rate, channels, subtype) in forms.items():
        level = 2.0 if "loud" in name else 0.1
        sound = level * np.tanh(draw.standard_normal((round(1.37 * rate), channels)))
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, sound, rate, subtype=subtype)
    return folder


def test_recordings_of_every_kind_sound_the_same_from_files_and_from_a_pack(tmp_path: Path) -> None:
    folder = odd_files(tmp_path / "speech")
    pack([tmp_path / "pack"], speech=[str(folder)])
    files, pack_ = scan(folder), scan(tmp_path / "pack")
    assert facts(pack_) == facts(files)
    assert same_sound(files, pack_)
    stores = WaveStore(), WaveStore()
    for a, b in zip(files.utterances, pack_.utterances, strict=True):
        np.testing.assert_array_equal(stores[0].get(a.id, a.read), stores[1].get(b.id, b.read))
        np.testing.assert_array_equal(stores[0].get(a.id, a.read), stores[1].pcm(b.id, b.pcm).waveform())
    gains = {u.id: u.pcm().gain for u in pack_.utterances}
    assert gains["c/plain.flac"] == 1.0
    assert gains["c/loud.wav"] == 2.0
    assert gains["a/float.wav"] == 0.125  # a peak of about 0.1 keeps its 16 bits


@pytest.mark.parametrize("kind", ["plain", "odd"])
def test_short_words_join_alike_in_a_pack(tmp_path: Path, voice: Voice, kind: str) -> None:
    folder = tmp_path / "words"
    draw = np.random.default_rng(0)
    for speaker in range(3):
        (folder / f"s{speaker}").mkdir(parents=True)
        for take in range(5):
            silence = [np.zeros(int(n), np.float32) for n in draw.integers(1_000, 9_000, 2)]
            word = np.concatenate([silence[0], voice(speaker, take, 0.4 + 0.1 * take), silence[1]])
            options = {"subtype": "PCM_16"} if kind == "plain" else {"subtype": "FLOAT"}
            soundfile.write(
                folder / f"s{speaker}" / f"{take}.wav", word, RATE if kind == "plain" else 22_050, **options
            )
    pack([tmp_path / "pack"], speech=[str(folder)], shard_mb=1)
    joined = [join_short(scan(path), 1.0) for path in (folder, tmp_path / "pack")]
    assert any(len(utterance.parts) > 1 for utterance in joined[0].utterances)
    assert joined[0].fingerprint == joined[1].fingerprint
    assert facts(joined[0]) == facts(joined[1])
    assert same_sound(*joined)
    cut = [segment(manifest, 0.3333) for manifest in joined]
    assert cut[0].fingerprint == cut[1].fingerprint
    assert same_sound(*cut)


@pytest.fixture(scope="module")
def noises(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A noise folder with a long clip, namesakes and speech; and its pack."""
    folder = tmp_path_factory.mktemp("noises")
    draw = np.random.default_rng(5)
    names = ["noise/b/1.wav", "noise/a/1.wav", "noise/c.flac", "music/long.wav", "music/1.wav"]
    names += [f"speech/{n}/{n}{take}.flac" for n in ("ann", "bob", "cid", "dan") for take in (0, 1)]
    for name in names:
        seconds = 70.0 if "long" in name else draw.uniform(2.0, 6.0)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, 0.1 * draw.standard_normal(round(seconds * RATE)), RATE, subtype="PCM_16")
    soundfile.write(folder / "noise" / "silent.wav", np.zeros(RATE), RATE)
    out = tmp_path_factory.mktemp("packs") / "noises"
    pack([out], noise=str(folder), shard_mb=3)
    return folder, out


def test_noise_is_drawn_alike_from_a_pack(noises: tuple[Path, Path]) -> None:
    files, pack_ = (noise_folder(path) for path in noises)
    assert len(read_pack(noises[1]).shards) > 1

    def known(clips: tuple[Clip, ...]) -> list[tuple[object, ...]]:
        return [(c.name, c.speaker, c.start_s, c.duration_s) for c in clips]

    assert [bad.reason for bad in pack_.unusable] == [bad.reason for bad in files.unusable]
    assert pack_.describe() == files.describe()
    for kind in ("noise", "music", "speech"):
        clips = [getattr(folder, kind) for folder in (files, pack_)]
        assert known(clips[0]) == known(clips[1])
        assert len(clips[0]) > 1
        for make in (RecordedNoise, Babble, lambda c, cache: Babble(c, cache, speeds=OTHER_VOICE_SPEEDS)):
            one, two = (make(c, ClipCache()) for c in clips)
            assert one.fingerprint == two.fingerprint
            assert one.summary == two.summary
            for seed in range(12):
                exclude = [frozenset({c[0].path, c[1].speaker} - {""}) if seed % 2 else frozenset[str]() for c in clips]
                draws = [
                    source.draw(24_000, np.random.default_rng(seed), left_out)
                    for source, left_out in zip((one, two), exclude, strict=True)
                ]
                assert draws[0].description == draws[1].description
                np.testing.assert_array_equal(draws[0].waveform, draws[1].waveform)


@pytest.mark.parametrize("labelled", [True, False])
def test_babble_of_the_speech_itself_is_drawn_alike_from_a_pack(
    voices_folder: Path, packed: Path, labelled: bool
) -> None:
    """Talkers without names are told apart by their files, which share a shard in a pack."""
    layout = "auto" if labelled else "flat"
    manifests = [scan(path, layout=layout) for path in (voices_folder, packed)]
    banks = [noise_bank([], m, built_in_share=0.0, for_evaluation=True) for m in manifests]
    assert banks[0].fingerprint == banks[1].fingerprint
    for seed in range(20):
        heard = [
            bank.draw("babble", 8_000, np.random.default_rng(seed), voices(manifest.utterances[seed]))
            for bank, manifest in zip(banks, manifests, strict=True)
        ]
        np.testing.assert_array_equal(heard[0].waveform, heard[1].waveform)


def test_layouts_read_the_names_the_files_had(voices_folder: Path, packed: Path, tmp_path: Path) -> None:
    flat = scan(packed, layout="flat")
    assert facts(flat) == facts(scan(voices_folder, layout="flat"))
    assert flat.speakers == ()
    assert facts(scan(packed, layout="speakers")) == facts(scan(voices_folder, layout="speakers"))
    assert len(scan(packed, layout="voxceleb").unusable) == 48
    pack([tmp_path / "both"], speech=[str(voices_folder), str(odd_files(tmp_path / "odd"))])
    both = scan(tmp_path / "both")
    assert {u.id.partition("/")[0] for u in both.utterances} == {voices_folder.name, "odd"}
    assert f"{voices_folder.name}/s00" in both.speakers
    assert scan(tmp_path / "both", layout="flat").speakers == ()
    with pytest.raises(RecipeError, match="several folders"):
        scan(tmp_path / "both", layout="speakers")


def test_unusable_recordings_are_listed(tmp_path: Path, voice: Voice) -> None:
    for take in range(6):
        (tmp_path / "speech" / "ann").mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "speech" / "ann" / f"{take}.wav", voice(0, take) * (take != 3), RATE)
    made, manifest = pack([tmp_path / "pack"], speech=[str(tmp_path / "speech")])
    assert len(manifest.unusable) == 1
    assert scan(tmp_path / "pack").unusable == scan(tmp_path / "speech").unusable
    with pytest.raises(CorpusError, match="unusable"):
        pack([tmp_path / "strict"], speech=[str(tmp_path / "speech")], max_unusable_share=0.1)
    assert made.shards[0].samples == 5 * 2 * RATE


def test_a_pack_may_move_and_be_packed_again(voices_folder: Path, packed: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere" / "moved"
    shutil.copytree(packed, moved)
    files = scan(voices_folder)
    assert same_sound(files, scan(moved))
    assert scan(moved).utterances[0].parts[0].stored.path == str(moved / "shards" / "00000.wav")  # type: ignore[union-attr]
    pack([tmp_path / "again"], speech=[str(moved)], shard_mb=2)
    again = scan(tmp_path / "again")
    assert facts(again) == facts(files)
    assert again.fingerprint == files.fingerprint
    assert same_sound(files, again)
    banks = [noise_bank([], m, built_in_share=0.0, for_evaluation=False) for m in (files, again)]
    assert banks[0].fingerprint == banks[1].fingerprint


def damaged(packed: Path, folder: Path, harm: str) -> Path:
    shutil.copytree(packed, folder)
    shard = folder / "shards" / "00001.wav"
    if harm == "missing":
        shard.unlink()
    elif harm == "truncated":
        shard.write_bytes(shard.read_bytes()[:-2])
    elif harm == "changed":
        content = bytearray(shard.read_bytes())
        content[5_000] ^= 1
        shard.write_bytes(content)
    elif harm == "manifest":
        path = folder / "manifest.jsonl"
        path.write_text(path.read_text().replace('"gain": 1.0', '"gain": 2.0', 1))
    elif harm == "no manifest":
        (folder / "manifest.jsonl").unlink()
    return folder


@pytest.mark.parametrize(
    ("harm", "file", "problem"),
    [
        ("missing", "shards/00001.wav", "No such file"),
        ("truncated", "shards/00001.wav", "bytes instead of"),
        ("changed", "shards/00001.wav", "checksum"),
        ("manifest", "manifest.jsonl", "checksum"),
        ("no manifest", "manifest.jsonl", "No such file"),
    ],
)
def test_damage_is_found(packed: Path, tmp_path: Path, harm: str, file: str, problem: str) -> None:
    folder = damaged(packed, tmp_path / "pack", harm)
    (damage,) = check_pack(read_pack(folder))
    assert damage.file == str(folder / file)
    assert problem in damage.problem
    if harm not in ("changed", "manifest"):
        with pytest.raises(CorpusError, match=r"(?s)data pack.*makes what is missing"):
            scan(folder)


@pytest.mark.parametrize(
    "text",
    ["", "{}", '["a"]', '{"format": "voxanchor-pack", "schema_version": 2}', "\x00", '{"format": "voxanchor-pack"'],
)
def test_a_damaged_heading_is_refused(packed: Path, tmp_path: Path, text: str) -> None:
    shutil.copytree(packed, tmp_path / "pack")
    (tmp_path / "pack" / "pack.json").write_text(text)
    with pytest.raises(CorpusError, match="is damaged"):
        scan(tmp_path / "pack")


def test_what_is_no_pack_or_not_the_one_wanted_is_refused(
    noises: tuple[Path, Path], packed: Path, voices_folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(CorpusError, match="pack of noise, and speech is wanted"):
        scan(noises[1])
    with pytest.raises(CorpusError, match="pack of speech, and noise is wanted"):
        noise_folder(packed)
    with pytest.raises(CorpusError, match="folder of a pack"):
        read_pack(voices_folder)
    assert not is_pack(voices_folder)
    unfinished = tmp_path / "unfinished"
    shutil.copytree(packed, unfinished)
    (unfinished / "pack.json").unlink()
    for read in (scan, noise_folder):
        with pytest.raises(CorpusError, match="not finished"):
            read(unfinished)


def test_a_shard_that_vanishes_later_is_named(packed: Path, tmp_path: Path) -> None:
    shutil.copytree(packed, tmp_path / "pack")
    manifest = scan(tmp_path / "pack")
    shutil.rmtree(tmp_path / "pack" / "shards")
    with pytest.raises(AudioError, match=r"00000\.wav.*data check"):
        manifest.utterances[0].read()


def test_the_index_says_where_every_recording_lies(packed: Path) -> None:
    """Read as docs/formats.md tells a reader without voxanchor to do."""
    lines = [json.loads(line) for line in (packed / "manifest.jsonl").read_text(encoding="utf-8").splitlines()]
    manifest = scan(packed)
    for record, utterance in zip(lines[1::9], manifest.utterances[::9], strict=True):
        stored = record["parts"][0]["stored"]
        samples, rate = soundfile.read(
            packed / stored["path"], start=stored["first"], frames=stored["samples"], dtype="float32"
        )
        assert rate == RATE
        np.testing.assert_array_equal(samples * stored["gain"], utterance.read())


def test_utterances_made_of_parts_are_packed_as_they_are_heard(voices_folder: Path, tmp_path: Path) -> None:
    from voxanchor.corpus.pack import write_pack

    joined = segment(scan(voices_folder).select(["s00", "s01"]), 2.5)
    (tmp_path / "pack").mkdir()
    write_pack(joined, [tmp_path / "pack"], kind="speech", corpora=1, shard_mb=1, workers=2)
    found = scan(tmp_path / "pack")
    assert facts(found) == facts(joined)
    for one, two in zip(joined.utterances, found.utterances, strict=True):
        np.testing.assert_array_equal(encode(one.read()).waveform(), two.read())
