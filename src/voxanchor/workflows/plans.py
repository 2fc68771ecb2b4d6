"""The plan of a system: the stages that lead to its model, what they cost, and what makes two plans unequal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from voxanchor.errors import RecipeError
from voxanchor.training.recipe import Recipe, Stage
from voxanchor.training.stage import SCRATCH, Train

DESCRIBED = {
    "base": "Stage 1 alone: trained on clean speech.",
    "joint": "Trained on clean and noisy speech at once, with classification alone.",
    "joint_consistency": "As joint, and a crop with and without noise are pulled together; both move.",
    "finetune": "A copy of the base fine-tuned on noisy speech with classification, without the pull to anchors.",
    "anchored": "The method: a copy of the base fine-tuned on noisy speech, held by the fixed anchors of its own clean "
    "recordings.",
    "anchored_frames": "The same, with its frame-level outputs held, too, by the base's for the same crop, clean.",
    "anchored_unlabelled": "The method with the pull to the anchors alone: nobody has to say who speaks.",
}
"""What the systems of the field's comparison are, by the names they have in our recipes."""


@dataclass(frozen=True)
class Effort:
    """What a plan has a model go through.

    Attributes:
        steps: optimiser steps of all its stages.
        clean: examples heard without noise.
        noisy: examples heard with noise, in rooms, or both.
        twins: clean crops heard beside noisy ones, by a consistency term or a live teacher.
        hours: of audio heard, twins among them.
    """

    steps: int
    clean: int
    noisy: int
    twins: int
    hours: float


def plan_of(recipe: Recipe, system: str) -> tuple[str, ...]:
    """Return the names of the stages that a system's model comes from, in the order in which they run."""
    needed = {system}
    for name in reversed(recipe.stages):
        if name in needed:
            needed.update(recipe.stages[name].needs)
    return tuple(name for name in recipe.stages if name in needed)


def effort(recipe: Recipe, system: str) -> Effort:
    """Return what the training stages of a system's plan come to."""
    trained = [stage.train for name in plan_of(recipe, system) if (stage := recipe.stages[name]).train is not None]
    clean = sum(_clean(train) for train in trained)
    total = sum(train.steps * train.batch_size for train in trained)
    twins = sum(train.steps * train.batch_size for train in trained if train.paired)
    seconds = sum(train.steps * train.batch_size * train.crop_s * (2 if train.paired else 1) for train in trained)
    return Effort(sum(train.steps for train in trained), clean, total - clean, twins, seconds / 3600)


def _clean(train: Train) -> int:
    return int(train.steps * train.batch_size * train.clean_share + 1e-9)


def in_words(recipe: Recipe, system: str) -> tuple[str, ...]:
    """Return a sentence for each stage of a system's plan."""
    return tuple(_sentence(name, recipe.stages[name]) for name in plan_of(recipe, system))


def _sentence(name: str, stage: Stage) -> str:
    if stage.take:
        return f"{name}: {stage.take}, as it is"
    if stage.anchors is not None:
        return f"{name}: embeddings of the clean training speech by {stage.anchors.of}, frozen"
    train = stage.train
    assert train is not None
    terms = []
    if train.classification.weight:
        centres = "at the anchors" if train.classification.centres == "anchors" else "at random"
        fixed = " and staying there" if train.classification.fixed else ""
        terms.append(f"classification of {train.classification.classes}, centres starting {centres}{fixed}")
    if train.pulled:
        kind = train.anchor.kind.replace("_", " ")
        terms.append(f"pull to the {kind} anchor ({train.anchor.distance.replace('_', ' ')}, {train.anchor.weight:g})")
    if train.frames_pulled:
        terms.append(f"pull of frames to the base model's ({train.anchor.frame_weight:g})")
    if train.consistency.weight:
        terms.append(f"consistency with the clean crop ({train.consistency.weight:g})")
    start = "from scratch" if train.start == SCRATCH else f"from {train.start}"
    return (
        f"{name}: {start}, {train.steps:,} steps of {train.batch_size} x {train.crop_s:g} s, "
        f"{100 * train.clean_share:.0f} % clean, learning rate {train.learning_rate.peak:g}; {'; '.join(terms)}"
    )


def unequal(recipe: Recipe, systems: Sequence[str], ours: str) -> tuple[str, ...]:
    """Return, a sentence each, in what the plans of `systems` differ from that of `ours` in what a model is given."""
    own = effort(recipe, ours)
    found = []
    for system in systems:
        other = effort(recipe, system)
        if system == ours:
            continue
        if recipe.stages[system].take:
            found.append(f"{system} was trained elsewhere; what that took is not counted for any system")
            continue
        parts = []
        if other.steps != own.steps:
            parts.append(f"takes {other.steps:,} steps, {ours} {own.steps:,}")
        if (other.clean, other.noisy) != (own.clean, own.noisy):
            parts.append(
                f"hears {other.clean:,} clean and {other.noisy:,} noisy examples, "
                f"{ours} {own.clean:,} and {own.noisy:,}"
            )
        if other.twins != own.twins:
            parts.append(f"hears {other.twins:,} clean crops beside its inputs, {ours} {own.twins:,}")
        if parts:
            found.append(f"{system} {', and '.join(parts)}")
    return tuple(found)


def select(recipe: Recipe, systems: Sequence[str]) -> Recipe:
    """Return the recipe with the evaluation of `systems` alone, and the stages that lead to them.

    Raises:
        RecipeError: a system that the recipe does not evaluate, or without base or ours.
    """
    assert recipe.evaluation is not None
    assert recipe.contest is not None
    known = recipe.evaluation.systems
    for system in systems:
        if system not in known:
            raise RecipeError(f"--systems: the recipe has no system '{system}', there is {', '.join(known)}")
    kept = tuple(name for name in known if name in systems or name in (recipe.contest.base, recipe.contest.ours))
    needed = {name for system in kept for name in plan_of(recipe, system)}
    stages = {name: stage for name, stage in recipe.stages.items() if name in needed}
    return replace(recipe, stages=stages, evaluation=replace(recipe.evaluation, systems=kept))


def reuse(recipe: Recipe, name: str, reference: str) -> Recipe:
    """Return the recipe with a model that exists in the place of a training stage.

    What trained from scratch beside it then starts from that model, too, and takes as many steps fewer as the stage
    would have had: every system keeps the budget that it has after that stage. Its learning rate becomes that of the
    stage which is compared with the others: one for fresh weights would tear a trained model apart.

    Raises:
        RecipeError: no training stage of that name, or a stage from scratch that is left without steps.
    """
    stage = recipe.stages.get(name)
    if stage is None or not stage.gives_model:
        raise RecipeError(f"--from: the recipe has no stage '{name}' that trains a model")
    given = stage.train.steps if stage.train else 0
    ours = recipe.stages[recipe.contest.ours].train if recipe.contest else None
    stages = dict(recipe.stages)
    stages[name] = Stage(take=reference)
    for other, plan in recipe.stages.items():
        train = plan.train
        if other == name or train is None or train.start != SCRATCH:
            continue
        if train.steps <= given:
            raise RecipeError(f"--from: stage {other} has {train.steps} steps, no more than the {given} of {name}")
        steps = train.steps - given
        margin = train.classification.margin
        margin = replace(margin, warmup_steps=min(margin.warmup_steps, steps // 2))
        rate = ours.learning_rate if ours is not None else train.learning_rate
        stages[other] = Stage(
            train=replace(
                train,
                start=name,
                steps=steps,
                learning_rate=rate,
                classification=replace(train.classification, margin=margin),
            )
        )
    return replace(recipe, stages=stages)
