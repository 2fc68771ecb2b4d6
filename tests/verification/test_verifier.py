from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

import voxanchor
from voxanchor.errors import AudioError, ModelError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.verification.embedding import TorchEmbedder
from voxanchor.verification.verifier import Verifier

Voice = Callable[..., np.ndarray]


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier(TorchEmbedder(SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}))))


def test_paths_and_arrays_give_the_same_embedding(verifier: Verifier, voice: Voice, tmp_path: Path) -> None:
    wave = voice(1, 1)
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="FLOAT")
    embeddings = verifier.embed([tmp_path / "a.wav", wave, voice(2, 1, 1.0)])
    np.testing.assert_allclose(embeddings[0], embeddings[1], atol=1e-5)
    np.testing.assert_allclose(embeddings[2], verifier.embed([voice(2, 1, 1.0)])[0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)


def test_a_recording_is_like_itself(verifier: Verifier, voice: Voice) -> None:
    result = verifier.verify(voice(1, 1), voice(1, 1))
    assert result.score == pytest.approx(1.0, abs=1e-5)
    assert result.sides[0].quality.speech_s > 1


@pytest.mark.parametrize(
    ("seconds", "gain", "reason"),
    [(2.0, 0.0, "silent"), (0.3, 1.0, "holds 0.3")],
)
def test_too_little_speech_is_an_abstention_never_a_score(
    verifier: Verifier, voice: Voice, seconds: float, gain: float, reason: str
) -> None:
    result = verifier.verify(voice(1, 1), np.float32(gain) * voice(1, 1, seconds))
    assert result.score is None
    assert reason in result.reason
    assert "second recording" in result.reason


@pytest.mark.parametrize("wave", [np.zeros(0, np.float32), np.full(32_000, np.nan, np.float32), np.zeros((2, 9, 1))])
def test_what_is_no_waveform_is_an_error(verifier: Verifier, voice: Voice, wave: np.ndarray) -> None:
    with pytest.raises(AudioError, match=r"waveform|not finite"):
        verifier.embed([wave])
    with pytest.raises(AudioError, match=r"waveform|not finite"):
        verifier.verify(wave, voice(1, 1))


def test_one_sample_and_silence_cannot_be_embedded(verifier: Verifier) -> None:
    with pytest.raises(AudioError, match="too short"):
        verifier.embed([np.ones(1, np.float32)])
    with pytest.raises(AudioError, match="silent"):
        verifier.embed([np.zeros(32_000, np.float32)])


def test_loading_names_what_a_model_may_be(tmp_path: Path) -> None:
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16})).save(tmp_path / "m")
    assert voxanchor.load(tmp_path / "m").fingerprint == voxanchor.load(str(tmp_path / "m")).fingerprint
    with pytest.raises(ModelError, match="ge2e"):
        voxanchor.load(tmp_path / "nothing")
    with pytest.raises(AttributeError, match="no attribute"):
        voxanchor.nothing  # noqa: B018
