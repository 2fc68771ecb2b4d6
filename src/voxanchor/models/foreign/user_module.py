"""Any torch module of the user's as a network: waveforms in, embeddings out, and nothing is known about its inside."""

import weakref
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from voxanchor.errors import ModelError
from voxanchor.models.decimation import Halved, halved_length
from voxanchor.models.equal_lengths import in_equal_lengths
from voxanchor.models.foreign.user_checks import ignores_padding, measure, refuse_weights, takes_lengths
from voxanchor.models.foreign.user_code import from_here, make, named, told
from voxanchor.models.level import wanted_by
from voxanchor.models.masks import frame_mask
from voxanchor.models.tracing import is_exporting
from voxanchor.types import SAMPLE_RATE

HALF_RATE = SAMPLE_RATE // 2

_SHORTEST_S = 0.3
_TRIED_S = 1.0

_given: "weakref.WeakValueDictionary[int, nn.Parameter]" = weakref.WeakValueDictionary()
"""Weights of the modules that are in use, by their identity."""


@dataclass(frozen=True)
class UserModuleConfig:
    """Which code makes the module.

    Attributes:
        target: ``module:function``; it must have been named in this process (`user_code.trust`).
        sample_rate: Hz that the module hears, 16000 or 8000; 0 stands for what it says itself.
    """

    target: str
    sample_rate: int = 0


class UserModule(nn.Module):
    """A module of the user's, held to what an encoder promises.

    Recordings of different lengths are given to it as one padded batch where it takes lengths, and was seen to give
    each recording what it gets alone; otherwise those of one length at a time. A module that hears 8 kHz is given every
    second sample of the filtered waveform.

    Raises:
        ModelError: the code cannot be run, or the module is not what is expected.
        UntrustedCodeError: the user did not name the code.
    """

    SHOWS_FRAMES = False

    MAY_LEAVE_OUT = True
    """Whether parameters may take no part in an embedding, in some steps of training or in all."""

    def __init__(self, config: UserModuleConfig) -> None:
        super().__init__()
        self.target = config.target
        self.module = make(self.target).to("cpu")
        self.rate = self._stated("sample_rate", SAMPLE_RATE)
        if self.rate not in (SAMPLE_RATE, HALF_RATE):
            raise ModelError(
                f"{self.target}: sample_rate {self.rate} Hz. A module hears {SAMPLE_RATE} or {HALF_RATE} Hz; resample "
                "inside it."
            )
        if config.sample_rate not in (0, self.rate):
            raise ModelError(
                f"{self.target}: hears {self.rate} Hz, the model was stored when it heard {config.sample_rate} Hz"
            )
        self.found = replace(config, sample_rate=self.rate)
        self.halved = Halved() if self.rate == HALF_RATE else None
        shortest = self._stated("min_samples", round(_SHORTEST_S * self.rate))
        self.MIN_SAMPLES = shortest * SAMPLE_RATE // self.rate
        self._lengths = takes_lengths(self.module)
        with torch.no_grad(), from_here():
            self._examine(shortest)
        _refuse_shared(self.module, self.target)
        self.train()

    def forward(self, waves: Tensor, lengths: Tensor | None = None, with_frames: bool = False) -> Tensor:
        """Return embeddings (B, D) float32 of `waves` (B, T); `lengths` (B,) int64 only where they differ from T.

        Raises:
            ModelError: lengths in training mode, frames asked for, or whatever the module raises or returns that it
                should not.
        """
        if with_frames:
            raise ModelError(f"{self.target}: a module of your own shows no frames")
        if is_exporting():
            raise ModelError(f"{self.target}: a module of your own cannot be exported; export it with torch itself")
        if lengths is None:
            return self._embed(waves)
        if self.training:
            raise ModelError("in training every crop of a batch must have the same length")
        if not self.knows_lengths:
            return in_equal_lengths(self._embed, waves, lengths)
        # a filter at a recording's end looks past it
        return self._embed(waves.masked_fill(~frame_mask(lengths, waves.shape[1]).squeeze(2), 0.0), lengths)

    def _embed(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return embeddings of waveforms at 16 kHz."""
        if lengths is None and self.knows_lengths:
            lengths = torch.full(waves.shape[:1], waves.shape[1], dtype=torch.int64, device=waves.device)
        if self.halved is not None:
            waves, lengths = self.halved(waves), None if lengths is None else halved_length(lengths)
        return self._run(waves, lengths)

    def _run(self, waves: Tensor, lengths: Tensor | None) -> Tensor:
        """Return embeddings of waveforms at the module's own rate."""
        if lengths is None and self._lengths == "needed":
            lengths = torch.full(waves.shape[:1], waves.shape[1], dtype=torch.int64, device=waves.device)
        try:
            made: Any = self.module(waves) if lengths is None else self.module(waves, lengths)
        except Exception as error:
            given = f"waveforms {tuple(waves.shape)}" + ("" if lengths is None else f" and lengths ({len(lengths)},)")
            raise ModelError(f"{self.target}: the module {told(error)}, given {given}") from error
        if isinstance(made, Tensor) and made.ndim == 2 and len(made) == len(waves) and made.is_floating_point():
            return made.float()
        found = f"{tuple(made.shape)} {made.dtype}" if isinstance(made, Tensor) else named(made)
        raise ModelError(
            f"{self.target}: the module returned {found} for waveforms {tuple(waves.shape)}. Expected is one tensor of "
            f"embeddings, ({len(waves)}, D) in floating point; if it returns more, wrap it."
        )

    def _examine(self, shortest: int) -> None:
        """Find the dimension, and whether the module may be trusted with lengths."""
        self.eval()
        samples = max(round(_TRIED_S * self.rate), 2 * shortest)
        dimension = measure(self._run, samples, self.target)
        self.embedding_dim = self._stated("embedding_dim", dimension)
        if self.embedding_dim != dimension:
            raise ModelError(f"{self.target}: says embedding_dim {self.embedding_dim}, and returned {dimension}")
        # behind the first run, which makes the weights of lazy layers
        refuse_weights(self.module, self.target)
        self.WANTED_INPUT = wanted_by(lambda waves: self._run(waves, None), samples)
        self.HEARS_LEVEL = self.WANTED_INPUT.level_db is not None
        self.knows_lengths = self._lengths != "none" and ignores_padding(self._run, self.module, shortest, samples)

    def _stated(self, name: str, default: int) -> int:
        """Return a whole number that the module may have as an attribute."""
        value = getattr(self.module, name, None)
        if value is None:
            return default
        try:
            number = int(value)
        except (TypeError, ValueError):
            number = 0
        if number < 1 or number != value:
            raise ModelError(f"{self.target}: {name} is {value!r}, expected a whole number above 0")
        return number


def _refuse_shared(module: nn.Module, target: str) -> None:
    """Remember the weights of a module; training one of two models that share them would move the other."""
    for name, weight in module.named_parameters():
        if _given.get(id(weight)) is weight:
            raise ModelError(f"{target}: returned the weight '{name}' a second time. Make a new module in every call.")
    for weight in module.parameters():
        _given[id(weight)] = weight
