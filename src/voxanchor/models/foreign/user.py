"""A network of the user's own: its code, what is asked of it, and the module around it."""

import contextlib
import importlib
import inspect
import sys
import traceback
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import voxanchor
from voxanchor.config import nearest
from voxanchor.errors import ModelError
from voxanchor.models.backbone import wanted_by
from voxanchor.models.batches import in_equal_lengths
from voxanchor.models.layers import frame_mask, is_exporting
from voxanchor.types import SAMPLE_RATE

EXPECTED = "Expected is a function without arguments that returns a torch module: waveforms (B, T) to embeddings (B, D)"

_trusted: set[str] = set()


class UntrustedCodeError(ModelError):
    """A model that is made by code which nobody named in this process.

    Args:
        target: the code, ``module:function``.
        folder: of the model; empty where it is not from a directory.
    """

    def __init__(self, target: str, folder: str = "") -> None:
        super().__init__(target, folder)
        self.target, self.folder = target, folder

    def __str__(self) -> str:
        advice = f"made by the code {self.target}. If you trust that code, name it: python:{self.target}"
        return f"{self.folder}: this model is {advice}:{self.folder}" if self.folder else f"a model that is {advice}"


def trust(target: str) -> None:
    """Let `make` run the code ``module:function`` in this process, because the user named it."""
    _trusted.add(target)


def is_trusted(target: str) -> bool:
    """Return whether the user named this code in this process."""
    return target in _trusted


@contextlib.contextmanager
def from_here() -> Iterator[None]:
    """Search the working directory first for what is imported inside; the path of modules is then what it was."""
    here = str(Path.cwd())
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code took it out itself
            sys.path.remove(here)


def make(target: str) -> nn.Module:
    """Return the module that the code ``module:function`` makes. The working directory is searched first.

    It is so while the module is made and first tried, and no longer: what the code imports later it must find itself.
    What the code prints goes to standard error.

    Raises:
        UntrustedCodeError: nobody named this code in this process; nothing of it was imported.
        ModelError: code that cannot be imported, takes arguments, raises, or returns something else.
    """
    if not is_trusted(target):
        raise UntrustedCodeError(target)
    with contextlib.redirect_stdout(sys.stderr), from_here():
        function = _find(target)
        _refuse_arguments(function, target)
        try:
            made = function()
        except (Exception, SystemExit) as error:
            raise ModelError(f"{target}: {told(error)}. {EXPECTED}.") from error
    if not isinstance(made, nn.Module):
        raise ModelError(f"{target}: returned {named(made)}. {EXPECTED}.")
    return made


def told(error: BaseException) -> str:
    """Return what an error of the user's code says, and where it was raised."""
    # neither this package nor what lies below the user's code is where to look
    others = (str(Path(voxanchor.__file__).parent), str(Path(nn.__file__).parents[1]), "<")
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(others)]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"raised {type(error).__name__}: {error}{where}" if str(error) else f"raised {type(error).__name__}{where}"


def named(value: Any) -> str:
    """Return the type of a value as a person says it."""
    return "nothing" if value is None else f"a {type(value).__name__}"


def _find(target: str) -> Callable[[], Any]:
    name, _, attributes = target.partition(":")
    here = str(Path.cwd())
    importlib.invalidate_caches()  # a file written a moment ago
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ModelError(f"{target}: importing {name} {told(error)}") from error
        files = [path.stem for path in sorted(Path(here).glob("*.py"))]
        known = f" {nearest(name, files)}" if files else ""
        raise ModelError(f"{target}: no module '{name}' in {here}, nor among what is installed.{known}") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"{target}: importing {name} {told(error)}") from error
    for attribute in attributes.split("."):
        names = [known for known, value in vars(found).items() if callable(value)]
        found = getattr(found, attribute, None)
        if found is None:
            raise ModelError(f"{target}: {name} has no '{attribute}'. {nearest(attribute, names)}")
    if not callable(found) or isinstance(found, nn.Module):
        raise ModelError(f"{target}: is {named(found)}. {EXPECTED}.")
    function: Callable[[], Any] = found
    return function


def _refuse_arguments(function: Callable[[], Any], target: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C: the call will tell
        return
    try:
        signature.bind()
    except TypeError as error:
        raise ModelError(f"{target}: takes arguments, {signature}. {EXPECTED}.") from error


# Waveforms at half their rate, differentiably: for networks that hear telephone speech at 8 kHz.

_REACH = 128
"""Samples that the filter sees on either side."""

_CUTOFF = 0.475
"""Middle of the slope in parts of half the input's rate: 3.8 kHz of 16 kHz, with all kept to 3.6 and nothing from 4."""

_BETA = 9.0
"""Kaiser's window with 90 dB of attenuation."""


class Halved(nn.Module):
    """Every second sample behind a windowed-sinc low-pass filter without delay."""

    def __init__(self) -> None:
        super().__init__()
        places = np.arange(-_REACH, _REACH + 1)
        taps = np.sinc(_CUTOFF * places) * np.kaiser(len(places), _BETA)
        # follows the module to its device, and is no weight that anybody saves
        self.register_buffer("taps", torch.from_numpy(taps / taps.sum()).float()[None, None], persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Return (B, ceil(T / 2)) float32 of `waves` (B, T); zeros lie before the first sample and behind the last."""
        taps: Tensor = self.taps  # type: ignore[assignment]
        with torch.autocast(waves.device.type, enabled=False):
            return F.conv1d(waves.float().unsqueeze(1), taps, stride=2, padding=_REACH).squeeze(1)


def halved_length(samples: Tensor) -> Tensor:
    """Return how many samples `Halved` makes of so many."""
    return torch.div(samples + 1, 2, rounding_mode="floor")


# What is asked of a module of the user's before it is believed: it is run on low noise.

Lengths: TypeAlias = Literal["none", "optional", "needed"]
"""Whether a module takes the lengths of the recordings."""

Run: TypeAlias = Callable[[Tensor, Tensor | None], Tensor]
"""A module's embeddings of waveforms and lengths."""

TOLERANCE = 1e-4
"""Between components of unit vectors."""


def refuse_weights(module: nn.Module, target: str) -> None:
    """Check that the weights of a module can be trained, stored and compared.

    Raises:
        ModelError: no weights, weights that are not float32, or a state that is not made of tensors.
    """
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            raise ModelError(f"{target}: '{name}' in the module's state_dict() is {named(value)}, expected a tensor")
        if value.dtype in (torch.bfloat16, torch.complex128) or value.layout != torch.strided or value.is_quantized:
            raise ModelError(f"{target}: '{name}' is {value.dtype}, {value.layout}. Return a module in float32.")
    weights = dict(module.named_parameters())
    if not weights:
        raise ModelError(f"{target}: the module has no parameters, so there is nothing to train")
    if other := [name for name, weight in weights.items() if weight.dtype != torch.float32]:
        raise ModelError(f"{target}: the weight '{other[0]}' is {weights[other[0]].dtype}. Return module.float().")


def takes_lengths(module: nn.Module) -> Lengths:
    """Return whether a module's forward has a second positional argument, one that may be left out, or neither.

    One that may be left out is a flag, and not meant, where its default is anything but None.
    """
    try:
        arguments = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # a traced module does not say
        return "none"
    positional = [one for one in arguments if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)]
    if len(positional) < 2 or positional[1].default not in (inspect.Parameter.empty, None):
        return "none"
    return "optional" if positional[1].default is None else "needed"


def measure(run: Run, samples: int, target: str) -> int:
    """Return the dimension of the embeddings.

    Args:
        run: the module, in eval mode.
        samples: length of the recordings to try.
        target: the code that made the module.

    Raises:
        ModelError: embeddings that are not finite, are all 0, or depend on the rest of the batch.
    """
    waves = _noise(2, samples)
    together = run(waves, None)
    if not torch.isfinite(together).all() or not together.any(dim=1).all():
        what = "all 0" if torch.isfinite(together).all() else "not finite"
        raise ModelError(f"{target}: the embedding of {samples:,} samples of low noise is {what}")
    alone = run(waves[:1], None)
    if (difference := _apart(together[:1], alone)) > TOLERANCE:
        raise ModelError(
            f"{target}: in eval mode a recording gets another embedding in a batch than alone (by {difference:.1g}): "
            "something looks at the whole batch, or draws at random, in eval mode too"
        )
    return together.shape[1]


def ignores_padding(run: Run, module: nn.Module, shortest: int, samples: int) -> bool:
    """Return whether a padded batch gives each recording the embedding that it gets alone, by its lengths.

    The padding holds noise, and the weights are also moved a little at random: no network passes because a bias
    happens to be 0 where it starts.

    Args:
        run: the module, in eval mode.
        module: whose weights are moved, and put back.
        shortest: length of the shortest recording to try.
        samples: length of the longest.
    """
    lengths = torch.tensor([samples, max(shortest, samples * 3 // 5)])
    waves = _noise(2, samples + samples // 8)

    def holds() -> bool:
        padded = run(waves, lengths)
        alone = [run(waves[row : row + 1, :length], lengths[row : row + 1]) for row, length in enumerate(lengths)]
        return _apart(padded, torch.cat(alone)) <= TOLERANCE

    try:
        if not holds():
            return False
        with _moved(module):
            return holds()
    except ModelError:
        return False


def _apart(one: Tensor, other: Tensor) -> float:
    """Return the largest difference of two unit vectors' components; infinite where one is not finite."""
    difference = (F.normalize(one, dim=1) - F.normalize(other, dim=1)).abs().max()
    return float(difference.nan_to_num(nan=torch.inf))


@contextmanager
def _moved(module: nn.Module) -> Iterator[None]:
    weights = list(module.parameters())
    kept = [weight.detach().clone() for weight in weights]
    try:
        for number, weight in enumerate(weights):
            step = 0.1 * weight.abs().mean() + 0.01
            weight.add_(step * torch.randn(weight.shape, generator=torch.Generator().manual_seed(number)))
        yield
    finally:
        for weight, value in zip(weights, kept, strict=True):
            weight.copy_(value)


def _noise(rows: int, samples: int) -> Tensor:
    return 0.01 * torch.randn(rows, samples, generator=torch.Generator().manual_seed(0))


# Any torch module of the user's as a network: waveforms in, embeddings out, and nothing is known about its inside.

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
