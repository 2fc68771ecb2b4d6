"""Which channel of a recording is heard, and what its channels have to do with each other."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from voxanchor.errors import AudioError, RecipeError
from voxanchor.types import FloatArray, Waveform

Channel: TypeAlias = Literal["mix", "loudest", "left", "right"] | int
"""The mean of all channels; the one with the most energy; the first; the second; or one by its number, from 1 on."""

_NAMES: tuple[Literal["mix", "loudest", "left", "right"], ...] = ("mix", "loudest", "left", "right")

LARGEST = 1e15
"""A channel with a sample so large, or one that is not finite, holds no sound."""

CANCELLING = 0.25
"""Channels cancel when their mean has less than this share of the power it has when they are unrelated."""

_DOMINANT = 10.0
"""In a frame one channel speaks alone when it has so many times the power of the other (10 dB)."""

_TURN_SHARE = 0.1
"""Each of two channels that hold different voices speaks alone in at least this share of the active frames."""

_TURN_POWER = 1e-3
"""A channel whose turns are this far (30 dB) below those of the other has noise in them, and no voice."""

_ACTIVE = 10.0**-1.59  # the margin of `voxanchor.audio.snr`
_FRAME_S = 0.02


def channel_of(value: object) -> Channel:
    """Return the channel that a text or number names.

    Raises:
        RecipeError: it names none.
    """
    text = str(value).strip() if isinstance(value, str | int | np.integer) else ""
    for name in _NAMES:
        if text == name:
            return name
    if not isinstance(value, bool) and text.isascii() and text.isdigit() and int(text) >= 1:
        return int(text)
    raise RecipeError(f"channel '{value}': choose mix, loudest, left, right, or the number of one, 1 being the first")


def channels_of(text: str, count: int) -> tuple[Channel, ...]:
    """Return the channel of each of `count` recordings: one name for all of them, or one for each, with commas between.

    Raises:
        RecipeError: a name of none, or too many or too few.
    """
    found = tuple(channel_of(part.strip()) for part in text.split(","))
    if len(found) == 1:
        return found * count
    if len(found) != count:
        raise RecipeError(f"channel '{text}': give one, or one for each of the {count} recordings")
    return found


def index_of(channel: Channel, channels: int, name: object) -> int | None:
    """Return the place of a channel among so many, from 0 on; None for those that depend on what is heard.

    Args:
        channel: which.
        channels: how many there are.
        name: of the recording, for the message.

    Raises:
        AudioError: there is no such channel.
        RecipeError: nothing names a channel so.
    """
    channel = channel_of(channel)
    if channel in ("mix", "loudest"):
        return 0 if channels == 1 else None
    number = {"left": 1, "right": 2}.get(str(channel)) or int(channel)
    if number > channels:
        there = "1 channel" if channels == 1 else f"{channels} channels"
        raise AudioError(f"{name}: has {there}, and so no channel {channel}")
    return number - 1


def mono(block: NDArray[np.float32], place: int | None) -> Waveform:
    """Return (T,) of a (T, channels) block: the channel at `place`, or the mean of all where it is None."""
    if block.shape[1] == 1 or place is not None:
        return np.ascontiguousarray(block[:, place or 0])
    with np.errstate(over="ignore", invalid="ignore"):  # what is not finite is found later
        mixed: Waveform = block.mean(axis=1, dtype=np.float32)
    return mixed


@dataclass(frozen=True)
class Channels:
    """What was found of a recording's channels.

    Attributes:
        loudest: place of the one with the most energy, from 0 on.
        cancel: their mean is next to nothing, because one is the other turned round.
        different: there are two, and they take turns: a call with a party in each.
    """

    loudest: int = 0
    cancel: bool = False
    different: bool = False


class ChannelMeter:
    """Compares the channels of a recording while it passes by in blocks. A constant offset counts nowhere.

    Args:
        channels: how many there are.
        sample_rate: in Hz.
    """

    def __init__(self, channels: int, sample_rate: float) -> None:
        self._samples = 0
        self._sound = np.ones(channels, np.bool_)
        self._sums = np.zeros((2, channels + 1))  # of the samples and their squares; the last column is the mean
        self._frame = max(1, round(_FRAME_S * sample_rate))
        self._rest = np.zeros((0, channels), np.float32)
        self._powers: list[FloatArray] = []

    def add(self, block: NDArray[np.float32]) -> None:
        """Take in a (T, channels) block."""
        if block.shape[1] == 1:
            return
        self._sound &= np.abs(block).max(axis=0, initial=0.0) < LARGEST  # false for NaN, too
        with np.errstate(over="ignore", invalid="ignore"):
            mean = block.mean(axis=1, dtype=np.float64, keepdims=True)
            self._samples += len(block)
            self._sums[0, :-1] += block.sum(axis=0, dtype=np.float64)
            self._sums[0, -1] += mean.sum()
            self._sums[1, :-1] += np.einsum("ij,ij->j", block, block, dtype=np.float64)
            self._sums[1, -1] += np.einsum("ij,ij->", mean, mean)
            if block.shape[1] == 2:
                self._add_frames(block)

    def result(self) -> Channels:
        """Return what the blocks so far show."""
        if not self._samples:
            return Channels()
        with np.errstate(over="ignore", invalid="ignore"):
            means, squares = self._sums / self._samples
            power = np.maximum(squares - means**2, 0.0)
        each, mean = np.where(self._sound, power[:-1], 0.0), float(power[-1])
        # of channels that are equal but for rounding, the first
        loudest = int(np.flatnonzero(each >= 0.9999 * each.max())[0])
        if not self._sound.all():
            return Channels(loudest)
        return Channels(loudest, mean < CANCELLING * float(each.mean()) / len(each), self._take_turns())

    def _add_frames(self, block: NDArray[np.float32]) -> None:
        joined = np.concatenate((self._rest, block))
        whole = len(joined) // self._frame * self._frame
        frames = joined[:whole].reshape(-1, self._frame, 2).astype(np.float64)
        self._powers.append(frames.var(axis=1))
        self._rest = joined[whole:]

    def _take_turns(self) -> bool:
        if not self._powers:
            return False
        left, right = np.concatenate(self._powers).T
        active = [_active(left), _active(right)]
        either = int((active[0] | active[1]).sum())
        turns = (active[0] & (left > _DOMINANT * right), active[1] & (right > _DOMINANT * left))
        if not either or min(int(turn.sum()) for turn in turns) < _TURN_SHARE * either:
            return False
        levels = (float(left[turns[0]].mean()), float(right[turns[1]].mean()))
        return min(levels) > _TURN_POWER * max(levels)


def _active(power: FloatArray) -> NDArray[np.bool_]:
    heard = power[power > 0]
    if not len(heard):
        return np.zeros(len(power), np.bool_)
    found: NDArray[np.bool_] = power > _ACTIVE * heard.mean()
    return found
