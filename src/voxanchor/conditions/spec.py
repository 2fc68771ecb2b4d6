"""What can happen to a recording, said as data."""

import math
import re
from dataclasses import dataclass
from typing import get_args

import numpy as np

from voxanchor.audio.level import SnrLevels
from voxanchor.audio.synthetic_room import check_rt60
from voxanchor.conditions import channel as channels
from voxanchor.conditions.channel import Channel, number
from voxanchor.errors import RecipeError

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
        if self.noise in channels.KINDS or Channel.parse(self.noise) is not None:
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
                f"as 'reverb_0.6s+babble_0db+gsm'. Channels are {channels.names()}"
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

    def draw(self, generator: np.random.Generator) -> Condition:
        """Return a noisy condition: a kind by the weights, and a ratio uniform over the range."""
        weights = np.array([weight for _, weight in self.kinds], dtype=np.float64)
        kind = self.kinds[int(generator.choice(len(weights), p=weights / weights.sum()))][0]
        return Condition(kind, float(generator.uniform(*self.snr_db)))
