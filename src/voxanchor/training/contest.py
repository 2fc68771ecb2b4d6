"""What a comparison of systems is: a part of a recipe."""

from dataclasses import dataclass

from voxanchor.errors import RecipeError


@dataclass(frozen=True)
class Tuning:
    """The grid that all systems of a comparison are tuned with, on the validation speakers, in equally many trials.

    Attributes:
        learning_rates: peaks that every stage in the comparison tries; empty for none but its own.
        weights: of the term that a stage adds to classification: the pull to its anchors, or consistency. Each is tried
            with each learning rate; a stage without such a term tries as many more learning rates in its place.
    """

    learning_rates: tuple[float, ...] = ()
    weights: tuple[float, ...] = ()


@dataclass(frozen=True)
class Contest:
    """What `voxanchor compare` makes of a recipe: its systems, trained with several seeds under equal conditions.

    Attributes:
        base: the stage whose model the others are measured against.
        ours: the stage whose model is held against each of the others.
        seeds: how many training seeds, counted from the recipe's seed.
        tuning: before the first seed.
    """

    base: str = "base"
    ours: str = "anchored"
    seeds: int = 3
    tuning: Tuning = Tuning()

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise RecipeError("contest.seeds must be at least 1")
