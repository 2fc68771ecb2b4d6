"""Speech codecs, encoded and decoded in memory, one recording after the other, by the libsndfile that soundfile brings.

libsndfile compensates the delay of the codecs: what comes out is not late against what went in.
"""

import io
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxanchor.types import SAMPLE_RATE

if TYPE_CHECKING:  # names of channels are read without PyTorch, too
    from torch import Tensor

OPUS_KBITS = (6.0, 256.0)
"""Least and most kbit/s that Opus can be asked for."""


def gsm(waves: "Tensor") -> "Tensor":
    """Return (N, T) float32 after a GSM full-rate call (ETSI EN 300 961, GSM 06.10): telephone band, 13 kbit/s.

    Args:
        waves: (N, T) float32 at 16 kHz.
    """
    from voxanchor.audio.line import on_line

    return on_line(waves, lambda levelled: _each(levelled, gsm_file))


def opus(waves: "Tensor", kbits: float) -> "Tensor":
    """Return (N, T) float32 after Opus (RFC 6716) at about so many kbit/s.

    Up to 8 kbit/s Opus itself keeps no more than 4 kHz, from 9 on all 8 kHz.

    Args:
        waves: (N, T) float32 at 16 kHz.
        kbits: asked of the encoder, within `OPUS_KBITS`; it varies with what is said.
    """
    from voxanchor.audio.line import at_line_level

    return at_line_level(waves, lambda levelled: _each(levelled, partial(opus_file, kbits=kbits)))


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


def _each(waves: "Tensor", code: Callable[[NDArray[np.int16]], bytes]) -> "Tensor":
    """Return (N, T) float64: every row as 16 bits, coded to a file and decoded from it."""
    import torch

    rows = []
    for row in waves.cpu().numpy():
        samples = np.clip(np.rint(row * 32768.0), -32768, 32767).astype(np.int16)
        heard = soundfile.read(io.BytesIO(code(samples)), dtype="float64")[0]
        rows.append(heard[: len(row)])  # GSM fills its last frame with silence
    return torch.from_numpy(np.stack(rows)).to(waves.device)
