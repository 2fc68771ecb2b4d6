"""What a line or a device does to recordings, by name: telephone band, codecs, clipping."""

from typing import TYPE_CHECKING

import soundfile

from voxanchor.audio.clips import digest
from voxanchor.audio.codec import OPUS_KBITS, gsm, opus

if TYPE_CHECKING:  # names of channels are read without PyTorch, too
    from torch import Tensor

VERSION = 1
"""Raised when the same channel gives another sound."""

CLIPPED_DB = (-20.0, 40.0)
"""Lowest and highest ceiling of clipping, in dB above the active level."""

PLAIN = ("telephone", "mulaw", "gsm")
"""Channels that are what their name says; the others have an amount."""

AMOUNTS: dict[str, tuple[str, tuple[float, float]]] = {"opus": ("k", OPUS_KBITS), "clipped": ("db", CLIPPED_DB)}
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


def through(waves: "Tensor", kind: str, amount: float | None = None) -> "Tensor":
    """Return (N, T) float32: waves after a channel, as long as they were, at their own level, and not late.

    Args:
        waves: (N, T) float32 at 16 kHz, finite.
        kind: of `PLAIN` or `AMOUNTS`.
        amount: kbit/s of ``opus``, dB of ``clipped``; None for the others.

    Raises:
        KeyError: no such channel, or an amount that it does not have.
    """
    from voxanchor.audio import line

    if amount is None:
        return {"telephone": line.band_limited, "mulaw": line.mulaw, "gsm": gsm}[kind](waves)
    return {"opus": opus, "clipped": clip}[kind](waves, amount)


def fingerprint(kind: str) -> str:
    """Return 16 hex digits that change when the sound of a channel may: with this program, or with its codecs."""
    codecs = soundfile.__libsndfile_version__ if kind in ("gsm", "opus") else ""
    return digest("channel", VERSION, codecs)
