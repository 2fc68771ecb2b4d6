"""A line or a device that a recording goes through, said as data."""

from dataclasses import dataclass

import numpy as np

from voxanchor.audio.channels import AMOUNTS, PLAIN, through
from voxanchor.errors import AudioError, RecipeError
from voxanchor.types import Waveform

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
        import torch

        wave = torch.from_numpy(np.array(waveform, dtype=np.float32))
        heard: Waveform = through(wave.unsqueeze(0), self.kind, self.amount)[0].numpy()
        return heard

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
