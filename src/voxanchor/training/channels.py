"""The channels that a share of training inputs goes through: which rows, which channel, and the sound of it."""

import math
from dataclasses import dataclass, field

import numpy as np

from voxanchor.audio.noise import weighted
from voxanchor.audio.pcm import Indices
from voxanchor.conditions.spec import Channel, names
from voxanchor.errors import RecipeError
from voxanchor.rng import generator


@dataclass(frozen=True)
class Channels:
    """The channels that training inputs go through, after their room and their noise.

    Attributes:
        share: of the inputs of a batch; they are among those that do not stay clean.
        kinds: names of channels, such as ``gsm`` and ``clipped_6db``, with their weights.
    """

    share: float = 0.0
    kinds: dict[str, float] = field(default_factory=lambda: {"telephone": 1.0, "mulaw": 1.0, "gsm": 1.0})

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise RecipeError("channels.share is a share from 0 to 1")
        for name in self.kinds:
            channel = Channel.parse(name)
            if channel is None:
                raise RecipeError(f"channels.kinds: '{name}' is not a channel: there is {names()}")
            if channel.name != name:
                raise RecipeError(f"channels.kinds: write '{channel.name}', not '{name}'")
        weights = list(self.kinds.values())
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights) or not sum(weights) > 0:
            raise RecipeError("channels.kinds: weights are finite, not negative and not all zero")


class ChannelSampler:
    """The channels of a stage, ready to be drawn for batches."""

    def __init__(self, channels: Channels) -> None:
        self.channels = [channel for name in channels.kinds if (channel := Channel.parse(name)) is not None]
        self._weights = list(channels.kinds.values())

    def draw(self, seed: int, step: int, clean: int, count: int, size: int) -> Indices:
        """Return (size,) the channel of each row of a batch among `channels`; -1 for none.

        Args:
            seed: of the run.
            step: of the batch.
            clean: rows at the beginning of the batch that stay clean.
            count: rows to choose from the others; all of them at most.
            size: rows of the batch.
        """
        draw = generator(seed, 0, step, "channels")
        # any of the rows: were they the last ones, as those in rooms are, each of these would have its channel
        rows = clean + draw.permutation(size - clean)[:count]
        kinds = weighted(draw.random(size), self._weights)
        chosen = np.full(size, -1)
        chosen[rows] = kinds[rows]
        return chosen
