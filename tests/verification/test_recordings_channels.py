"""A channel of a recording, and recordings too long to be held in memory, through the verifier."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from voxanchor.audio.io import OPEN_HEADER, AudioFile
from voxanchor.errors import AudioError, RecipeError, TooLongError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.types import IntArray
from voxanchor.verification import embedding, recordings
from voxanchor.verification.embedding import TorchEmbedder
from voxanchor.verification.recordings import CANCEL, DIFFERENT, Long, load_audio
from voxanchor.verification.verifier import Verifier

RATE = 16_000

Voice = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier(TorchEmbedder(SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}))))


@pytest.fixture
def call(voice: Voice, tmp_path: Path) -> Path:
    """Two people who take turns of a second, one in each channel."""
    left, right = voice(1, 1, 6.0), voice(2, 1, 6.0)
    turn = np.arange(len(left)) // RATE % 2 == 0
    soundfile.write(tmp_path / "call.wav", np.stack((left * turn, right * ~turn), 1), RATE, subtype="FLOAT")
    return tmp_path / "call.wav"


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Recordings are long from 2 s on, and embedded in blocks of at most 1 s."""
    monkeypatch.setattr(recordings, "WHOLE_S", 2.0)
    monkeypatch.setattr(embedding, "BLOCK_S", 1.0)


def test_a_two_sided_call_gets_a_warning_unless_a_side_is_chosen(verifier: Verifier, call: Path, voice: Voice) -> None:
    found = verifier.verify(call, voice(1, 2))
    assert DIFFERENT in found.sides[0].warnings
    assert DIFFERENT not in found.sides[1].warnings
    for channel in ("left", "right", 1, 2):
        assert DIFFERENT not in verifier.verify(call, voice(1, 2)[:, None].repeat(2, 1), channel=channel).warnings
    wave = soundfile.read(call, dtype="float32")[0]
    for channel, place in (("left", 0), ("right", 1), (2, 1)):
        np.testing.assert_allclose(verifier.embed(call, channel), verifier.embed(wave[:, place]), atol=1e-6)  # type: ignore[arg-type]
        np.testing.assert_allclose(verifier.embed(wave, channel), verifier.embed(wave[:, place]), atol=1e-6)  # type: ignore[arg-type]
    assert verifier.score(call, wave[:, 1], ("right", "mix")) == pytest.approx(1, abs=1e-5)
    assert DIFFERENT in verifier.enroll("ann", call).side.warnings[0]
    assert not [text for text in verifier.enroll("ann", call, channel="left").side.warnings if DIFFERENT in text]


def test_channels_that_cancel_are_not_silent(verifier: Verifier, voice: Voice, tmp_path: Path) -> None:
    wave = voice(1, 1)
    plain = verifier.embed(wave)
    for gain in (-1.0, -0.98):
        turned = np.stack((wave, np.float32(gain) * wave), axis=1)
        soundfile.write(tmp_path / "a.wav", turned, RATE, subtype="FLOAT")
        for recording in (turned, tmp_path / "a.wav"):
            (heard,) = verifier.load_audio(recording)
            assert heard.remarks == (CANCEL.format(1),)
            np.testing.assert_allclose(verifier.embed(heard), plain, atol=1e-5)
            assert verifier.load_audio(recording, "right")[0].remarks == ()


def test_a_channel_that_is_not_there_names_the_recording(verifier: Verifier, call: Path, voice: Voice) -> None:
    with pytest.raises(AudioError, match=r"call\.wav: has 2 channels, and so no channel 3"):
        verifier.embed(call, 3)
    with pytest.raises(AudioError, match="the second recording: has 1 channel, and so no channel right"):
        verifier.verify(call, voice(1, 1), channel="right")


def test_a_header_left_open_is_a_warning_of_the_side(verifier: Verifier, voice: Voice, tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, voice(1, 1), RATE)
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = bytes(4)
    path.write_bytes(content)
    found = verifier.verify(path, voice(1, 2))
    assert OPEN_HEADER in found.sides[0].warnings
    assert found.to_dict()["sides"][0]["warnings"] == [*found.sides[0].warnings]


@pytest.mark.usefixtures("short")
@pytest.mark.parametrize("rate", [16_000, 44_100])
@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_a_long_recording_is_the_mean_of_its_blocks(
    verifier: Verifier, voice: Voice, tmp_path: Path, rate: int, suffix: str
) -> None:
    wave = np.concatenate([voice(1, 1, 3.3), np.zeros(2 * RATE, np.float32), voice(1, 2, 2.0)])
    if rate != RATE:
        wave = np.interp(np.arange(len(wave) * rate // RATE) * RATE / rate, np.arange(len(wave)), wave)
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, wave, rate)
    (heard,) = verifier.load_audio(path)
    assert isinstance(heard.sound, Long)
    assert heard.samples == pytest.approx(7.3 * RATE, abs=2)
    length = -(-heard.samples // (8 * 320)) * 320
    blocks = [heard.waveform[start : start + length] for start in range(0, heard.samples, length)]
    weights = [int(heard.sound.active[i * length // 320 : (i + 1) * length // 320].sum()) for i in range(8)]
    assert 0 in weights
    parts = np.stack([weight * verifier.embed(block) for weight, block in zip(weights, blocks, strict=True) if weight])
    expected = parts.sum(axis=0) / np.linalg.norm(parts.sum(axis=0))
    for given in (path, (wave, rate), heard):
        np.testing.assert_allclose(verifier.embed(given), expected, atol=2e-3)
    assert np.linalg.norm(verifier.embed(path)) == pytest.approx(1, abs=1e-5)


@pytest.mark.usefixtures("short")
def test_long_recordings_go_through_every_decision(verifier: Verifier, voice: Voice, call: Path) -> None:
    long = np.concatenate([voice(1, take, 2.0) for take in range(3)])
    assert verifier.verify(long, voice(1, 5)).score is not None
    assert verifier.enroll("ann", [long, voice(1, 6)]).recordings == 2
    assert verifier.verify_as("ann", call, channel="left").score is not None
    assert verifier.identify(call, channel="left").candidates[0].person == "ann"
    assert DIFFERENT in verifier.identify(call).side.warnings
    turned = np.stack((long, -long), axis=1)
    assert CANCEL.format(1) in verifier.verify(turned, long).sides[0].warnings
    assert verifier.verify(turned, long).score == pytest.approx(1, abs=1e-4)
    assert verifier.verify(0 * long, long).reason.startswith("the first recording is silent")


@pytest.mark.usefixtures("short")
def test_a_file_is_decoded_as_often_as_needed(
    verifier: Verifier, voice: Voice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = []
    plain = AudioFile.decoded

    def counted(file: AudioFile, *given: Any) -> Any:
        passes.append(file.name)
        return plain(file, *given)

    monkeypatch.setattr(AudioFile, "decoded", counted)
    for seconds, channels, expected in ((1.5, 1, 1), (1.5, 2, 1), (4.0, 1, 2), (4.0, 2, 2)):
        path = tmp_path / "a.wav"
        soundfile.write(path, np.stack([np.tile(voice(1, 1), 5)[: round(44_100 * seconds)]] * channels, axis=1), 44_100)
        passes.clear()
        verifier.embed(path)
        assert len(passes) == expected


def test_the_longest_recording_is_a_limit(voice: Voice, tmp_path: Path) -> None:
    embedder = TorchEmbedder(SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})))
    verifier = Verifier(embedder, longest_s=1.5)
    path = tmp_path / "a.wav"
    soundfile.write(path, voice(1, 1, 2.0), RATE)
    for recording in (path, voice(1, 1, 2.0), (voice(1, 1, 2.0), 8_000)):
        with pytest.raises(
            TooLongError, match=r"lasts [24] s, more than the 1\.5 s allowed\. Cut it, or allow more with --longest-s"
        ):
            verifier.embed(recording)
    content = bytearray(path.read_bytes())
    content[content.index(b"data") + 4 : content.index(b"data") + 8] = b"\xff" * 4
    path.write_bytes(content)
    with pytest.raises(TooLongError, match=r"more than the 1\.5 s allowed"):
        verifier.embed(path)
    assert verifier.embed(voice(1, 1, 1.4)).shape == (16,)
    with pytest.raises(RecipeError, match="longer than 0 s"):
        Verifier(embedder, longest_s=0)


def test_audio_that_is_kept_has_a_limit(verifier: Verifier, voice: Voice, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recordings, "KEPT_S", 1.0)
    with pytest.raises(TooLongError, match="at most 1 s are kept"):
        verifier.enroll("bob", voice(1, 1), keep_audio=True)
    assert "bob" not in [person.name for person in verifier.store.people()]
    assert verifier.enroll("bob", voice(1, 1)).recordings == 1


class Counting:
    """An embedder that is nothing but a bound on what it is given."""

    fingerprint, embedding_dim, min_samples, hears_level = "counting", 2, 1_600, False

    def embed(self, waves: np.ndarray, lengths: IntArray) -> np.ndarray:
        assert waves.size <= 31 * RATE
        return np.tile(np.array([0.6, 0.8], np.float32), (len(waves), 1))


def test_the_memory_does_not_grow_with_the_length(tmp_path: Path, voice: Voice) -> None:
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", 48_000, 2, "PCM_16") as file:
        piece = np.stack([voice(1, 1, 3.0)] * 2, axis=1)
        for _ in range(150):
            file.write(piece)
    tracemalloc.start()
    found = Verifier(Counting()).embed(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    np.testing.assert_allclose(found, [0.6, 0.8], atol=1e-6)
    assert most < 60 * 2**20  # its samples alone are 173 MB, or 86 MB of one channel


def test_what_was_heard_may_be_given_again(verifier: Verifier, voice: Voice) -> None:
    heard = load_audio(voice(1, 1))
    assert load_audio(heard) is heard
    assert verifier.score(heard, voice(1, 1)) == pytest.approx(1, abs=1e-5)
