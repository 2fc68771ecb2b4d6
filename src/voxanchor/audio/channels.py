"""Channels: telephone band, mu-law, GSM, Opus, clipping, gain and offset.

Whole batches at once, in torch, on whatever device they lie on. Nothing is late: the band filters have no delay, and
what comes out is as long as what went in.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxanchor.audio.noise import digest
from voxanchor.audio.pcm import FULL_SCALE
from voxanchor.audio.rooms import convolve
from voxanchor.audio.snr import USUAL_LEVEL_DB, measure
from voxanchor.extras import lazily
from voxanchor.types import SAMPLE_RATE, FloatArray

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.nn import functional as F
else:
    torch = lazily("torch", globals(), "torch")
    F = lazily("torch.nn.functional", globals(), "F")

BAND_HZ = (300.0, 3400.0)
"""What a telephone line passes (ITU-T G.712)."""


_EDGE_HZ = 200.0  # from the band's end to where 60 dB are reached
_TAPS = 321
_KAISER = 5.65  # 60 dB
_BIAS = 33.0
_LARGEST = 8158.0


def band_limited(waves: Tensor) -> Tensor:
    """Return (N, T) as a telephone line passes it: 300 to 3400 Hz.

    The band is kept to 0.1 dB; what lies below 100 or above 3600 Hz loses 60 dB.

    Args:
        waves: (N, T) float32 or float64 at 16 kHz; the result is the same.
    """
    half = _TAPS // 2
    taps = torch.from_numpy(_band()).to(waves, non_blocking=True)
    heard: Tensor = convolve(F.pad(waves, (0, half)), taps.unsqueeze(0))[:, half:]
    return heard


def mulaw(waves: Tensor) -> Tensor:
    """Return (N, T) float32 after a digital telephone line: its band, 8 kHz, 8 bits in mu-law (ITU-T G.711).

    Args:
        waves: (N, T) float32 at 16 kHz.
    """
    return over_telephone(waves, _quantised)


def over_telephone(waves: Tensor, code: Callable[[Tensor], Tensor]) -> Tensor:
    """Return (N, T) float32: waves in the telephone's band, at 8 kHz and line level, coded, and brought back.

    Both ends of the line filter.

    Args:
        waves: (N, T) float32 at 16 kHz.
        code: takes and returns (N, ceil(T / 2)) float64 at 8 kHz, full scale 1.0.
    """

    def halved(levelled: Tensor) -> Tensor:
        # the band ends below 4 kHz, so every second sample holds all of it
        coded = torch.zeros_like(levelled)
        coded[:, ::2] = 2.0 * code(levelled[:, ::2])
        return band_limited(coded)

    return at_telephone_level(band_limited(waves.double()), halved)


def at_telephone_level(waves: Tensor, code: Callable[[Tensor], Tensor]) -> Tensor:
    """Return (N, T) float32: what `code` makes of the waves when they come at line level, at their own level again.

    So the result does not depend on the level of a recording. A wave whose peak would then pass full scale comes
    quieter, with its peak there. Silence stays silence.

    Args:
        waves: (N, T) float32 or float64 at 16 kHz.
        code: takes and returns (N, T) float64, full scale 1.0.
    """
    # In float64 throughout: a codec answers a difference in the last of its 16 bits with another decision, and float32
    # would round otherwise in a batch, or on another machine.
    waves = waves.double()
    level, peak = measure(waves).power.sqrt(), waves.abs().amax(dim=1)
    heard = level > 0.0
    wanted = torch.minimum(10.0 ** (USUAL_LEVEL_DB / 20.0) / level, 1.0 / peak)
    gains = torch.where(heard, wanted, torch.ones_like(level)).unsqueeze(1)
    coded = code(waves * gains) / gains
    return torch.where(heard.unsqueeze(1), coded, torch.zeros_like(coded)).float()


def _quantised(waves: Tensor) -> Tensor:
    """Return the waves after G.711's mu-law: 14 bits by segments that double, 16 steps in each."""
    biased = (waves.abs() * 8192.0).round().clamp(max=_LARGEST) + _BIAS
    # frexp puts the biased value into [2^(e-1), 2^e); a segment is one such range of 16 steps
    step = torch.exp2(torch.frexp(biased).exponent.to(biased) - 5.0)
    return waves.sign() * (((biased / step).floor() + 0.5) * step - _BIAS) / 8192.0


@lru_cache(maxsize=1)
def _band() -> FloatArray:
    """The band filter: the difference of two low-pass filters, sinc functions under a Kaiser window."""
    time = np.arange(_TAPS) - _TAPS // 2
    low, high = (
        2.0 * edge / SAMPLE_RATE * np.sinc(2.0 * edge / SAMPLE_RATE * time)
        for edge in (BAND_HZ[0] - _EDGE_HZ / 2.0, BAND_HZ[1] + _EDGE_HZ / 2.0)
    )
    taps: FloatArray = (high - low) * np.kaiser(_TAPS, _KAISER)
    return taps


# Speech codecs, encoded and decoded in memory, one recording after the other, by the libsndfile that soundfile brings.
#
# libsndfile compensates the delay of the codecs: what comes out is not late against what went in.

OPUS_KBITS = (6.0, 256.0)
"""Least and most kbit/s that Opus can be asked for."""


def gsm(waves: Tensor) -> Tensor:
    """Return (N, T) float32 after a GSM full-rate call (ETSI EN 300 961, GSM 06.10): telephone band, 13 kbit/s.

    Args:
        waves: (N, T) float32 at 16 kHz.
    """
    return over_telephone(waves, lambda levelled: _each(levelled, gsm_file))


def opus(waves: Tensor, kbits: float) -> Tensor:
    """Return (N, T) float32 after Opus (RFC 6716) at about so many kbit/s.

    Up to 8 kbit/s Opus itself keeps no more than 4 kHz, from 9 on all 8 kHz.

    Args:
        waves: (N, T) float32 at 16 kHz.
        kbits: asked of the encoder, within `OPUS_KBITS`; it varies with what is said.
    """
    return at_telephone_level(waves, lambda levelled: _each(levelled, partial(opus_file, kbits=kbits)))


def gsm_file(samples: NDArray[np.int16]) -> bytes:
    """Return a WAV file in GSM 06.10 of (T,) samples at 8 kHz."""
    file = io.BytesIO()
    soundfile.write(file, samples, SAMPLE_RATE // 2, format="WAV", subtype="GSM610")
    return file.getvalue()


def opus_file(samples: NDArray[np.int16], kbits: float) -> bytes:
    """Return an Ogg Opus file of (T,) samples at 16 kHz."""
    least, most = OPUS_KBITS
    file = io.BytesIO()
    # libsndfile spreads its compression levels evenly over the bit rates
    compression = (most - kbits) / (most - least)
    soundfile.write(file, samples, SAMPLE_RATE, format="OGG", subtype="OPUS", compression_level=compression)
    return file.getvalue()


def _each(waves: Tensor, code: Callable[[NDArray[np.int16]], bytes]) -> Tensor:
    """Return (N, T) float64: every row as 16 bits, coded to a file and decoded from it."""
    import torch

    rows = []
    for row in waves.cpu().numpy():
        samples = np.clip(np.rint(row * 32768.0), -32768, 32767).astype(np.int16)
        heard = soundfile.read(io.BytesIO(code(samples)), dtype="float64")[0]
        rows.append(heard[: len(row)])  # GSM fills its last frame with silence
    return torch.from_numpy(np.stack(rows)).to(waves.device)


# What a line or a device does to recordings, by name: telephone band, codecs, clipping, gain, offset.

VERSION = 2
"""Raised when the same channel gives another sound."""

CLIPPED_DB = (-20.0, 40.0)
"""Lowest and highest ceiling of clipping, in dB above the active level."""

GAIN_DB = (-60.0, 40.0)
"""Lowest and highest gain of a recorder."""

OFFSET_FS = (-0.5, 0.5)
"""Lowest and highest DC offset of a recorder, in full scales."""

PLAIN = ("telephone", "mulaw", "gsm", "dead_channel")
"""Channels that are what their name says; the others have an amount."""

AMOUNTS: dict[str, tuple[str, tuple[float, float]]] = {
    "opus": ("k", OPUS_KBITS),
    "clipped": ("db", CLIPPED_DB),
    "gain": ("db", GAIN_DB),
    "dc": ("fs", OFFSET_FS),
}
"""Channels with an amount: its unit as names write it, and its lowest and highest value."""


def clip(waves: Tensor, ceiling_db: float) -> Tensor:
    """Return (N, T) float32 cut off hard where a wave passes a ceiling; the rest is left as it is.

    Args:
        waves: (N, T) float32 at 16 kHz.
        ceiling_db: above the wave's own active level (`voxanchor.audio.snr`), so gain changes nothing; the lower,
            the harsher.
    """
    from voxanchor.audio.snr import measure

    ceiling = (measure(waves).power.sqrt() * 10.0 ** (ceiling_db / 20.0)).float().unsqueeze(1)
    return waves.maximum(-ceiling).minimum(ceiling)


def recorded(waves: Tensor, gain_db: float = 0.0, offset_fs: float = 0.0) -> Tensor:
    """Return (N, T) float32 as a recorder keeps them: with its gain and its DC offset, rounded to 16 bits.

    What lies beyond full scale is not cut off; `clip` does that.

    Args:
        waves: (N, T) float32 at 16 kHz.
        gain_db: of the recorder.
        offset_fs: of the recorder, in full scales.
    """
    kept: Tensor = ((waves * 10.0 ** (gain_db / 20.0) + offset_fs) * FULL_SCALE).round() / FULL_SCALE
    return kept


def dead_channel(waves: Tensor) -> Tensor:
    """Return (N, T) float32: the mean of two channels of which one is silent, in 16 bits each."""
    return recorded(waves) / 2.0


def apply_channel(waves: Tensor, kind: str, amount: float | None = None) -> Tensor:
    """Return (N, T) float32: waves after a channel, as long as they were, and not late.

    Lines and codecs leave the level as it was.

    Args:
        waves: (N, T) float32 at 16 kHz, finite.
        kind: of `PLAIN` or `AMOUNTS`.
        amount: kbit/s of ``opus``, dB of ``clipped`` and ``gain``, full scales of ``dc``; None for the others.

    Raises:
        KeyError: no such channel, or an amount that it does not have.
    """
    if amount is None:
        plain: dict[str, Callable[[Tensor], Tensor]] = {
            "telephone": band_limited,
            "mulaw": mulaw,
            "gsm": gsm,
            "dead_channel": dead_channel,
        }
        return plain[kind](waves)
    if kind == "dc":
        return recorded(waves, offset_fs=amount)
    return {"opus": opus, "clipped": clip, "gain": recorded}[kind](waves, amount)


def fingerprint(kind: str) -> str:
    """Return 16 hex digits that change when the sound of a channel may: with this program, or with its codecs."""
    codecs = soundfile.__libsndfile_version__ if kind in ("gsm", "opus") else ""
    return digest("channel", VERSION, codecs)
