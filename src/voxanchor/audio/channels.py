"""What a line or a device does to recordings, by name: telephone band, codecs, clipping, gain, offset."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import soundfile

from voxanchor.audio.clips import digest
from voxanchor.audio.codec import OPUS_KBITS, gsm, opus
from voxanchor.audio.pcm import FULL_SCALE

if TYPE_CHECKING:  # names of channels are read without PyTorch, too
    from torch import Tensor

VERSION = 1
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


def clip(waves: "Tensor", ceiling_db: float) -> "Tensor":
    """Return (N, T) float32 cut off hard where a wave passes a ceiling; the rest is left as it is.

    Args:
        waves: (N, T) float32 at 16 kHz.
        ceiling_db: above the wave's own active level (`voxanchor.audio.level`), so gain changes nothing; the lower,
            the harsher.
    """
    from voxanchor.audio.batched import measure

    ceiling = (measure(waves).power.sqrt() * 10.0 ** (ceiling_db / 20.0)).float().unsqueeze(1)
    return waves.maximum(-ceiling).minimum(ceiling)


def recorded(waves: "Tensor", gain_db: float = 0.0, offset_fs: float = 0.0) -> "Tensor":
    """Return (N, T) float32 as a recorder keeps them: with its gain and its DC offset, rounded to 16 bits.

    What lies beyond full scale is not cut off; `clip` does that.

    Args:
        waves: (N, T) float32 at 16 kHz.
        gain_db: of the recorder.
        offset_fs: of the recorder, in full scales.
    """
    kept: Tensor = ((waves * 10.0 ** (gain_db / 20.0) + offset_fs) * FULL_SCALE).round() / FULL_SCALE
    return kept


def dead_channel(waves: "Tensor") -> "Tensor":
    """Return (N, T) float32: the mean of two channels of which one is silent, in 16 bits each."""
    return recorded(waves) / 2.0


def through(waves: "Tensor", kind: str, amount: float | None = None) -> "Tensor":
    """Return (N, T) float32: waves after a channel, as long as they were, and not late.

    Lines and codecs leave the level as it was.

    Args:
        waves: (N, T) float32 at 16 kHz, finite.
        kind: of `PLAIN` or `AMOUNTS`.
        amount: kbit/s of ``opus``, dB of ``clipped`` and ``gain``, full scales of ``dc``; None for the others.

    Raises:
        KeyError: no such channel, or an amount that it does not have.
    """
    from voxanchor.audio import line

    if amount is None:
        plain: dict[str, Callable[[Tensor], Tensor]] = {
            "telephone": line.band_limited,
            "mulaw": line.mulaw,
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
