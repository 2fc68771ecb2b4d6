"""What can happen to a recording, said as data: a room, noise at a signal-to-noise ratio, a channel."""

import math
import re
from dataclasses import dataclass
from typing import get_args

import numpy as np

from voxanchor.audio.arrays import Array, sent
from voxanchor.audio.channels import AMOUNTS, PLAIN, apply_channel
from voxanchor.audio.noise import weighted
from voxanchor.audio.rooms import check_rt60
from voxanchor.audio.snr import SnrLevels
from voxanchor.errors import AudioError, RecipeError
from voxanchor.types import FloatArray, IntArray, Waveform

KINDS = (*PLAIN, *AMOUNTS)
"""First words of the names of channels; no kind of noise is called so."""

_TOLD = {
    "telephone": "telephone band",
    "mulaw": "telephone band, mu-law",
    "gsm": "telephone band, GSM full rate",
    "opus": "Opus at {} kbit/s",
    "clipped": "clipped {} dB above the active level",
    "dead_channel": "one of two channels silent",
    "gain": "a recorder's gain of {} dB, 16 bits",
    "dc": "a recorder's DC offset of {} of full scale, 16 bits",
}


@dataclass(frozen=True)
class Channel:
    """The last thing that happens to a recording: a telephone's band, a codec, clipping, a recorder's gain or offset.

    Attributes:
        kind: ``telephone``, ``mulaw``, ``gsm``, ``opus``, ``clipped``, ``gain``, ``dc`` or ``dead_channel``.
        amount: kbit/s of ``opus``, from 6 to 256; ceiling of ``clipped`` in dB above the active level, from -20 to 40;
            dB of ``gain``, from -60 to 40; full scales of ``dc``, from -0.5 to 0.5; None for the others.

    Raises:
        RecipeError: no such channel, an amount beyond its range, or one too many or missing.
    """

    kind: str
    amount: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RecipeError(f"no channel '{self.kind}': there is {names()}")
        if (self.amount is None) != (self.kind in PLAIN):
            raise RecipeError(f"{self.kind} does not go with {self.amount!r}: channels are {names()}")
        if self.amount is None:
            return
        unit, (low, high) = AMOUNTS[self.kind]
        if not low <= self.amount <= high:
            raise RecipeError(f"{self.kind} goes from {low:g}{unit} to {high:g}{unit}, not to {self.amount:g}{unit}")
        object.__setattr__(self, "amount", float(self.amount) + 0.0)  # + 0.0 turns -0.0 into 0.0

    @property
    def name(self) -> str:
        """``"gsm"``, ``"opus_6k"``, ``"clipped_-3db"``: what `parse` reads."""
        return self.kind if self.amount is None else f"{self.kind}_{number(self.amount)}{AMOUNTS[self.kind][0]}"

    @property
    def description(self) -> str:
        """What it does, for a listener."""
        return _TOLD[self.kind].format("" if self.amount is None else number(self.amount))

    def apply(self, waveform: Waveform) -> Waveform:
        """Return (T,) float32: a recording after the channel, as long as it was, and not late.

        Args:
            waveform: (T,) float32 at 16 kHz.

        Raises:
            AudioError: it is empty or not finite.
        """
        if len(waveform) == 0 or not np.isfinite(waveform).all():
            raise AudioError(f"{self.name} needs a recording with samples, all of them finite")
        heard: Waveform = self.apply_rows(np.asarray(waveform, dtype=np.float32)[None])[0]
        return heard

    def apply_rows(self, waves: Array) -> Array:
        """Return (N, T) float32: many recordings after the channel.

        Channels compute in torch, for a recording as for a batch.

        Args:
            waves: (N, T) float32 at 16 kHz, finite.
        """
        if isinstance(waves, np.ndarray):
            own = np.require(waves, requirements=["C", "W"])  # torch wants memory that it may write to
            return apply_channel(sent(own), self.kind, self.amount).numpy()
        return apply_channel(waves, self.kind, self.amount)

    @staticmethod
    def parse(name: str) -> "Channel | None":
        """Return the channel of a name, or None when it is not that of a channel.

        Raises:
            RecipeError: an amount that the channel cannot have.
        """
        if name in PLAIN:
            return Channel(name)
        kind, _, text = name.partition("_")
        if kind not in AMOUNTS or not text.endswith(AMOUNTS[kind][0]):
            return None
        try:
            amount = float(text.removesuffix(AMOUNTS[kind][0]))
        except ValueError:
            return None
        return Channel(kind, amount)


def names() -> str:
    """Return the names there are, for an error."""
    return ", ".join([*PLAIN, *(f"{kind}_X{unit}" for kind, (unit, _) in AMOUNTS.items())])


def number(value: float) -> str:
    """Return a number as names of conditions write it: exact, and without a point where it needs none."""
    return f"{int(value)}" if value.is_integer() else repr(value)


# What can happen to a recording, said as data.

_ROOM = "reverb"
_KIND = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")
_LARGEST_SNR_DB = 100.0


@dataclass(frozen=True)
class Reverb:
    """A room that speech is heard in.

    Attributes:
        rt60_s: reverberation time of a synthetic room; None for a measured one.

    Raises:
        RecipeError: a time that no synthetic room has.
    """

    rt60_s: float | None = None

    def __post_init__(self) -> None:
        if self.rt60_s is not None:
            check_rt60(self.rt60_s)
            object.__setattr__(self, "rt60_s", float(self.rt60_s))

    @property
    def name(self) -> str:
        """``"reverb"`` or ``"reverb_0.6s"``: what `parse` reads."""
        return _ROOM if self.rt60_s is None else f"{_ROOM}_{number(self.rt60_s)}s"

    @staticmethod
    def parse(name: str) -> "Reverb | None":
        """Return the room of a name, or None when it is not that of a room.

        Raises:
            RecipeError: a time that no synthetic room has.
        """
        if name == _ROOM:
            return Reverb()
        kind, _, seconds = name.rpartition("_")
        if kind != _ROOM or not seconds.endswith("s"):
            return None
        try:
            return Reverb(float(seconds.removesuffix("s")))
        except ValueError:
            return None


@dataclass(frozen=True)
class Condition:
    """One acoustic condition: clean, or any of a room, noise at a signal-to-noise ratio and a channel, in this order.

    Attributes:
        noise: kind of noise, such as ``"babble"``; None without noise.
        snr_db: ratio of the levels of speech, as heard in the room, and noise, before the channel; None without noise.
        room: what the speech is heard in; None for no room.
        channel: the line or device that speech and noise go through; None for none.
        snr: what the ratio lies between: ``active`` levels, or those of the ``whole`` signals. The name does not tell:
            a suite is of one kind throughout.

    Raises:
        RecipeError: noise without a ratio or a ratio without noise, a kind that is not a name in lower case or that is
            the name of a channel, a ratio beyond -100 to 100 dB, or one between other levels.
    """

    noise: str | None = None
    snr_db: float | None = None
    room: Reverb | None = None
    channel: Channel | None = None
    snr: SnrLevels = "active"

    def __post_init__(self) -> None:
        if (self.noise is None) != (self.snr_db is None):
            raise RecipeError(f"a condition has a noise and an SNR, or neither: got {self.noise!r} and {self.snr_db!r}")
        if self.snr not in get_args(SnrLevels):
            raise RecipeError(f"a signal-to-noise ratio lies between 'active' or 'whole' levels, not {self.snr!r}")
        if self.noise is None or self.snr_db is None:
            return
        if not _KIND.fullmatch(self.noise) or self.noise == "clean":
            raise RecipeError(f"'{self.noise}' cannot name a kind of noise: use lower-case letters, digits and _ or -")
        if self.noise in KINDS or Channel.parse(self.noise) is not None:
            raise RecipeError(f"'{self.noise}' is a channel, so it cannot name a kind of noise")
        if not (math.isfinite(self.snr_db) and abs(self.snr_db) <= _LARGEST_SNR_DB):
            raise RecipeError(f"an SNR lies between -100 and 100 dB, not at {self.snr_db}")
        object.__setattr__(self, "snr_db", float(self.snr_db) + 0.0)  # + 0.0 turns -0.0 into 0.0

    @property
    def is_clean(self) -> bool:
        """Whether nothing happens to the recording."""
        return self.noise is None and self.room is None and self.channel is None

    @property
    def name(self) -> str:
        """``"clean"``, ``"babble_0db"``, ``"reverb_0.6s+noise_-2.5db+opus_6k"``: what `parse` reads."""
        return self._joined("" if self.snr_db is None else f"_{number(self.snr_db)}db") or "clean"

    @property
    def kind(self) -> str:
        """What happens, without the ratio: ``""`` for clean, ``"babble"``, ``"reverb_0.6s"``, ``"babble+gsm"``."""
        return self._joined("")

    def _joined(self, ratio: str) -> str:
        room, channel = self.room.name if self.room else None, self.channel.name if self.channel else None
        return "+".join(part for part in (room, self.noise and self.noise + ratio, channel) if part)

    @staticmethod
    def parse(name: str) -> "Condition":
        """Return the condition of a name such as ``"clean"``, ``"babble_0db"`` or ``"reverb_0.6s+babble_0db+gsm"``.

        Raises:
            RecipeError: the name is not that of a condition.
        """
        if name == "clean":
            return Condition()
        parts = name.split("+")
        room, channel = Reverb.parse(parts[0]), Channel.parse(parts[-1])
        noise = parts[room is not None : len(parts) - (channel is not None)]
        if not noise:
            return Condition(room=room, channel=channel)
        kind, _, snr = "+".join(noise).rpartition("_")
        try:
            if not snr.endswith("db"):
                raise ValueError
            return Condition(kind, float(snr.removesuffix("db")), room, channel)
        except (ValueError, RecipeError) as error:
            raise RecipeError(
                f"'{name}' is not a condition: write 'clean', a kind of noise and an SNR such as 'babble_0db', a room "
                "such as 'reverb' (measured) or 'reverb_0.6s', a channel such as 'gsm', or several in this order, such "
                f"as 'reverb_0.6s+babble_0db+gsm'. Channels are {names()}"
            ) from error


@dataclass(frozen=True)
class NoiseMix:
    """The conditions noisy training inputs are drawn from.

    Attributes:
        kinds: kinds of noise with their weights.
        snr_db: lowest and highest signal-to-noise ratio, drawn uniformly in dB.

    Raises:
        RecipeError: no kind, a kind twice, weights that cannot be shares, or a range that ends before it begins.
    """

    kinds: tuple[tuple[str, float], ...] = (("noise", 1.0), ("music", 1.0), ("babble", 1.0))
    snr_db: tuple[float, float] = (0.0, 20.0)

    def __post_init__(self) -> None:
        low, high = self.snr_db
        if not low <= high:
            raise RecipeError(f"an SNR range starts with its lower end, got {low} to {high} dB")
        names, weights = [kind for kind, _ in self.kinds], [weight for _, weight in self.kinds]
        for name in names:
            Condition(name, low), Condition(name, high)
        if len(set(names)) < len(names):
            raise RecipeError(f"a kind of noise is named twice in {', '.join(names)}: give it one weight")
        if not weights or not all(math.isfinite(w) and w >= 0.0 for w in weights) or sum(weights) <= 0.0:
            raise RecipeError(f"weights of noise kinds must be finite, not negative and not all zero, got {weights}")

    def choose(self, kind: FloatArray, ratio: FloatArray) -> tuple[IntArray, FloatArray]:
        """Return the positions among `kinds`, by their weights, and the ratios, uniform over the range, of n draws.

        Args:
            kind: (n,) numbers from 0 to 1.
            ratio: (n,) numbers from 0 to 1.
        """
        low, high = self.snr_db
        return weighted(kind, [weight for _, weight in self.kinds]), low + ratio * (high - low)
