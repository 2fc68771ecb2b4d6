"""Waveforms brought to another rate, whole or in blocks, with an offset of theirs left as it is.

To a resampler there is silence on either side of a sound. A constant offset is then a step at both ends, and rings: a
click that no high-pass takes out. So what a waveform rests on is taken away before, and put back behind.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import soxr

from voxanchor.types import SAMPLE_RATE, FloatArray, Waveform

EDGE_S = 0.25
"""The offset at an end is the mean of so much of the sound beside it: the same for the whole, for blocks and crops."""

_LEAST_OFFSET = 0.1
"""A smaller offset, as a share of the sound's deviation from it, is lost in the sound, which is then left as it is."""


def resampled(wave: Waveform, rate: float) -> Waveform:
    """Return (T',) float32 at 16 kHz of a (T,) waveform at a rate in Hz."""
    return wave if rate == SAMPLE_RATE else rerated(wave, rate, SAMPLE_RATE)


def rerated(wave: Waveform, rate: float, wanted: float) -> Waveform:
    """Return (T',) float32 at the wanted rate of a (T,) waveform at another, both in the same unit.

    A waveform played `speed` times as fast is one that was recorded at `speed` times the rate.
    """
    edge = _edge(rate, wanted)
    first, last = _offset(wave[:edge]), _offset(wave[-edge:])
    if first != 0.0 or last != 0.0:
        wave = wave - np.float32(first)
        _turn(wave, 0, 1.0, len(wave), edge, first - last)
    found = np.asarray(soxr.resample(wave, rate, wanted), dtype=np.float32)
    if first != 0.0 or last != 0.0:
        found = found + np.float32(first)
        _turn(found, 0, rate / wanted, len(wave), edge, last - first)
    return found


def at_16_khz(blocks: Iterable[Waveform], rate: float, samples: int) -> Iterator[Waveform]:
    """Yield (`samples`,) float32 at 16 kHz, the last one shorter, of a recording that comes in blocks of any length.

    Nothing more than that is held in memory. It equals the recording resampled whole to within 1e-5 of full scale.

    Args:
        blocks: (T,) float32 each.
        rate: theirs, in Hz.
        samples: length of what is yielded.
    """
    held: list[Waveform] = []
    count = 0
    for block in blocks if rate == SAMPLE_RATE else _streamed(blocks, rate):
        held.append(block)
        count += len(block)
        if count >= samples:
            joined = np.concatenate(held)
            for start in range(0, count - samples + 1, samples):
                yield joined[start : start + samples]
            rest = joined[count - count % samples :]
            held, count = [rest.copy()], len(rest)
    if count:
        yield np.concatenate(held)


def _streamed(blocks: Iterable[Waveform], rate: float) -> Iterator[Waveform]:
    """Yield what `rerated` gives of all blocks together; the end of them is held back until it is known to be one."""
    resampler = soxr.ResampleStream(rate, SAMPLE_RATE, 1, dtype="float32")
    edge = _edge(rate, SAMPLE_RATE)
    held: Waveform = np.zeros(0, np.float32)
    first: float | None = None
    taken = given = 0
    for block in blocks:
        held = np.concatenate((held, block))
        if len(held) < 2 * edge:
            continue
        first = _offset(held[:edge]) if first is None else first
        found = resampler.resample_chunk(held[:-edge] - np.float32(first)) + np.float32(first)
        taken, given = taken + len(held) - edge, given + len(found)
        held = held[-edge:].copy()
        yield found
    first = _offset(held[:edge]) if first is None else first
    last = _offset(held[-edge:])
    end = taken + len(held)
    held = held - np.float32(first)
    _turn(held, taken, 1.0, end, edge, first - last)
    found = resampler.resample_chunk(held, last=True) + np.float32(first)
    _turn(found, given, rate / SAMPLE_RATE, end, edge, last - first)
    yield found


def _edge(rate: float, wanted: float) -> int:
    """Return how many samples of a sound are the edge of it."""
    return max(1, int(EDGE_S * SAMPLE_RATE * rate / wanted))


def _offset(stretch: Waveform) -> float:
    """Return what a stretch of sound rests on; 0 where that is nothing to speak of, or where it is not finite."""
    if not len(stretch):
        return 0.0
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found later
        mean, deviation = float(stretch.mean(dtype=np.float64)), float(stretch.std(dtype=np.float64))
    return mean if abs(mean) > _LEAST_OFFSET * deviation else 0.0


def _turn(samples: Waveform, first: int, step: float, end: int, edge: int, rise: float) -> None:
    """Add half a wave, from 0 to `rise`, over the last edge of a sound: from its offset at the beginning to the last.

    It is so slow that resampling it gives what it is at the new samples.

    Args:
        samples: changed in place: the n-th lies where the sample ``(first + n) step`` of the sound does.
        first: number of the first of them.
        step: the sound's samples from one to the next.
        end: length of the sound.
        edge: that of its edge.
        rise: how far the offset moves.
    """
    if rise == 0.0 or end <= edge:
        return
    begin = max(0, int((end - edge) / step) - first)
    places: FloatArray = (np.arange(first + begin, first + len(samples)) * step - (end - edge)) / edge
    samples[begin:] += (rise * 0.5 * (1.0 - np.cos(np.pi * np.clip(places, 0.0, 1.0)))).astype(np.float32)
