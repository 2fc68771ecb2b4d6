"""Losses of the user's own: terms that a recipe adds to a training stage by name."""

import inspect
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from voxanchor import config
from voxanchor.errors import RecipeError
from voxanchor.plugins import Registry

INPUTS = ("embeddings", "targets", "labels")
"""What a loss may ask for, by the names of its parameters: (B, D) unit vectors of the batch, the (B, D) fixed anchors
of the same rows, and the (B,) int64 numbers of their speakers."""

SIZES = ("embedding_dim", "classes")
"""What a loss that is a module may ask for when it is made: D, and the number of training speakers."""

Loss = TypeVar("Loss", bound=Callable[..., Any])


@dataclass(frozen=True)
class RegisteredLoss:
    """A loss as it was registered.

    Attributes:
        name: in recipes, and in ``metrics.jsonl``.
        source: the function, or the class of module.
        inputs: which of `INPUTS` it takes.
        sizes: which of `SIZES` it takes.
    """

    name: str
    source: Callable[..., Any]
    inputs: tuple[str, ...]
    sizes: tuple[str, ...]

    def options(self, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return the options of a recipe in the types that the loss declares.

        Raises:
            RecipeError: an option that it does not take (names the nearest), one that is missing, or of another type.
        """
        parameters = {
            name: parameter
            for name, parameter in inspect.signature(self.source).parameters.items()
            if name not in (*self.inputs, *self.sizes)
        }
        for name in values:
            if name not in parameters:
                raise RecipeError(f"{where}: unknown key '{name}'. {config.nearest(name, ['weight', *parameters])}")
        if missing := [n for n, p in parameters.items() if p.default is inspect.Parameter.empty and n not in values]:
            raise RecipeError(f"{where}: missing key{'s' * (len(missing) > 1)} {', '.join(missing)}")
        function = self.source.__init__ if isinstance(self.source, type) else self.source  # type: ignore[misc]
        try:
            hints = typing.get_type_hints(function)
        except (NameError, TypeError):  # annotations of names that are only there for a type checker
            hints = {}
        return {name: config.convert(hints.get(name, Any), value, f"{where}.{name}") for name, value in values.items()}

    def make(self, options: Mapping[str, Any], sizes: Mapping[str, int]) -> "LossTerm":
        """Return the term that a stage trains with.

        Args:
            options: as `options` gave them.
            sizes: all of `SIZES`.
        """
        if isinstance(self.source, type):
            module = self.source(**options, **{name: sizes[name] for name in self.sizes})
            return LossTerm(self, module, {})
        return LossTerm(self, self.source, options)


class LossTerm(nn.Module):
    """A registered loss in a stage; parameters of its module are trained with the network.

    Args:
        loss: what was registered.
        function: gives the loss.
        options: passed to it each time.
    """

    def __init__(self, loss: RegisteredLoss, function: Callable[..., Any], options: Mapping[str, Any]) -> None:
        super().__init__()
        self.loss, self.function, self.options = loss, function, dict(options)

    def forward(self, embeddings: Tensor, targets: Tensor | None, labels: Tensor) -> Tensor:
        """Return the loss of a batch, a scalar.

        Args:
            embeddings: (B, D) unit vectors.
            targets: (B, D) anchors; None in a stage without.
            labels: (B,) int64 speakers.

        Raises:
            RecipeError: it gives anything but one number.
        """
        given = {"embeddings": embeddings, "targets": targets, "labels": labels}
        # in float32 also under autocast: a user's loss should not have to know of lower precision
        with torch.autocast(embeddings.device.type, enabled=False):
            value = self.function(**{name: given[name] for name in self.loss.inputs}, **self.options)
        if not isinstance(value, Tensor) or value.ndim:
            found = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise RecipeError(f"loss '{self.loss.name}' gave {found}: it must return a scalar tensor, such as a mean")
        return value


LOSSES: Registry[RegisteredLoss] = Registry(
    "loss",
    "voxanchor.losses",
    "register_loss",
    RecipeError,
    reserved=frozenset({"loss", "aam", "accuracy", "anchor", "frames", "consistency", "step", "validation", "seconds"}),
)
"""The names of the parts of a stage's loss, and of other columns of ``metrics.jsonl``, are reserved."""


def register_loss(name: str) -> Callable[[Loss], Loss]:
    """Register a loss under a name, for ``stages.x.train.losses: {name: {weight: 1.0, ...options}}`` in recipes.

    A loss is a function, or a class of `torch.nn.Module` with such a `forward`. It takes what it needs of
    ``embeddings`` (B, D), ``targets`` (B, D; the anchors, in a stage with some) and ``labels`` (B,), by these names,
    and returns a scalar. All other parameters of the function, or of the class, are its options; a class may
    also ask for ``embedding_dim`` and ``classes``. A loss that takes ``labels`` needs speech with speaker labels.

    Example::

        @voxanchor.register_loss("norm_gap")
        def norm_gap(embeddings, targets, power: float = 2.0):
            return (embeddings - targets).norm(dim=1).pow(power).mean()

    Raises:
        ValueError: a name that is taken or of another form, or a loss that takes no embeddings.
    """

    def register(source: Loss) -> Loss:
        function: Callable[..., Any] = source
        if isinstance(source, type):
            if not issubclass(source, nn.Module):
                raise ValueError(f"loss '{name}': a class must be a torch.nn.Module; {source.__name__} is none")
            function = source.forward
        takes = inspect.signature(function).parameters
        inputs = tuple(one for one in INPUTS if one in takes)
        if "embeddings" not in inputs:
            raise ValueError(f"loss '{name}': needs a parameter called 'embeddings', the (B, D) rows that it judges")
        made_of = inspect.signature(source).parameters
        sizes = tuple(one for one in SIZES if one in made_of) if isinstance(source, type) else ()
        LOSSES.add(name, RegisteredLoss(name, source, inputs, sizes), source)
        return source

    return register
