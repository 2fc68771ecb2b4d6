"""Writes ge2e.safetensors: synthetic waveforms and what the package's own `embed_utterance` makes of them.

Run in an environment of its own, not the project's:
    pip install torch librosa scipy safetensors && pip install --no-deps resemblyzer==0.1.4
    python tests/golden/make_ge2e.py
"""

import sys
import types
from pathlib import Path

import numpy as np
import scipy.ndimage
from numpy.typing import NDArray
from safetensors.numpy import save_file

SAMPLE_RATE = 16_000
DURATIONS_S = (1.0, 1.6, 2.3, 5.7)


def sweep(duration_s: float, seed: int) -> NDArray[np.int16]:
    """Return a voice-like test signal: gliding harmonics under a slow envelope and formant-like weights, plus noise."""
    generator = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * SAMPLE_RATE)) / SAMPLE_RATE
    pitch_hz = generator.uniform(90, 220) * (1 + 0.2 * np.sin(2 * np.pi * generator.uniform(0.5, 2) * time_s))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE
    harmonics = np.arange(1, 31)
    formants_hz = generator.uniform([300, 900, 2200], [800, 1900, 3000])
    weights = sum(np.exp(-(((harmonics * pitch_hz.mean() - f) / 250) ** 2)) for f in formants_hz) + 0.02
    voiced = (weights[:, None] * np.sin(harmonics[:, None] * phase)).sum(axis=0)
    noise = np.cumsum(generator.standard_normal(len(time_s))) * 0.01 + generator.standard_normal(len(time_s))
    envelope = np.clip(np.sin(2 * np.pi * generator.uniform(2, 4) * time_s) + 0.5, 0, None)
    wave = envelope * (voiced + 0.05 * noise)
    return np.asarray(np.round(wave / np.abs(wave).max() * 0.5 * 32767), dtype=np.int16)


def main() -> None:
    """Compute and write the golden file beside this script."""
    # The package imports a voice activity detector and a module path that SciPy has dropped; neither is used here.
    sys.modules["webrtcvad"] = types.ModuleType("webrtcvad")
    morphology = types.ModuleType("scipy.ndimage.morphology")
    morphology.binary_dilation = scipy.ndimage.binary_dilation  # type: ignore[attr-defined]
    sys.modules["scipy.ndimage.morphology"] = morphology
    from resemblyzer import VoiceEncoder

    encoder = VoiceEncoder("cpu", verbose=False)
    tensors = {}
    for index, duration_s in enumerate(DURATIONS_S):
        wave = sweep(duration_s, seed=index)
        tensors[f"wave_{index}"] = wave
        tensors[f"embedding_{index}"] = encoder.embed_utterance(wave.astype(np.float32) / 32768)
    save_file(tensors, Path(__file__).with_name("ge2e.safetensors"))


if __name__ == "__main__":
    main()
