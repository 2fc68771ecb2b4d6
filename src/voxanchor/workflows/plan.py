"""What a recipe will do, before it does it: data on disk, stages in order, hours of audio, time and memory here."""

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from voxanchor.conditions.spec import Condition
from voxanchor.conditions.suites import suite as named_suite
from voxanchor.config import fingerprint, to_plain
from voxanchor.corpus.downloads import size
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import CorpusError
from voxanchor.evaluation.classes import noise_classes, with_classes
from voxanchor.models.precision import best_device
from voxanchor.progress import counted, load_average
from voxanchor.training.evaluating import Evaluation
from voxanchor.training.recipe import Recipe
from voxanchor.training.stage import SCRATCH, Train
from voxanchor.workflows.plan_data import Looked, look_at_sounds, look_at_speech, look_at_trials
from voxanchor.workflows.plan_measure import Step, encoder_of, measure_embedding, measure_step
from voxanchor.workflows.planned import ONCE, Plan, Repeats, StagePlan

_USUAL_CLASSES = 1000
"""Speakers to measure with while the speech is not there to count them."""

_BASE_BYTES = 500_000_000
"""Of a process with torch, before it does anything."""

_HELD_BYTES = 2 * 2**30
_SAMPLES_AN_HOUR = 2 * 16_000 * 3600


def make_plan(recipe: Recipe, repeats: Repeats = ONCE) -> Plan:
    """Look at a recipe's data, and measure a few steps of its stages on made-up audio; nothing is written.

    Args:
        recipe: what is planned.
        repeats: how often its stages are run.

    Raises:
        RecipeError: a suite that there is not.
        ModelError: a stage starts from a model that cannot be loaded.
    """
    data, evaluation = recipe.data, recipe.evaluation
    speech = [
        look_at_speech("training speech", source.path, source.layout, data.max_unusable_share)[0]
        for source in data.speech
    ]
    looked = [
        *speech,
        *(look_at_sounds("training noise", path, "noise") for path in data.noise),
        *(look_at_sounds("training rooms", path, "rooms") for path in data.rooms),
    ]
    test = None
    if evaluation is not None:
        places, test = _look_at_test(evaluation, data.max_unusable_share)
        looked += places
    busy = _busy()
    training = None if any(place.problem for place in speech) else _training(recipe, speech)
    stages = _Measuring(recipe, training).stages()
    if evaluation is not None:
        # the speakers held out are as the others
        stages.append(
            _evaluation(recipe, evaluation, test if evaluation.speech else _apart(recipe, evaluation, speech), repeats)
        )
    stages = [replace(stage, times=repeats.of(stage.name)) for stage in stages]
    return Plan(
        recipe.name,
        tuple(looked),
        tuple(stages),
        f"{best_device()}, {counted(torch.get_num_threads(), 'thread')}",
        _machine_bytes(),
        (*busy, *_notes(speech)),
    )


@dataclass(frozen=True)
class _Amount:
    """So much speech."""

    recordings: float
    hours: float
    speakers: int


def _training(recipe: Recipe, speech: list[Looked]) -> _Amount:
    """Return what is trained on, speakers held out and voices added."""
    voices = 1 + len(recipe.data.voice_speeds)
    speakers = sum(
        place.speakers - source.hold_out_speakers for place, source in zip(speech, recipe.data.speech, strict=True)
    )
    aside = min(recipe.data.validation_speakers, speakers // 4)
    kept = (speakers - aside) / max(1, sum(place.speakers for place in speech))
    kept = kept if speakers else 1.0  # without labels next to nothing is put aside
    hours = sum(place.hours for place in speech)
    join_s = max(recipe.data.join_s, 0.1)
    recordings = sum(min(place.usable, place.hours * 3600.0 / join_s) for place in speech)  # short ones are joined
    return _Amount(voices * kept * recordings, voices * kept * hours, max(1, voices * (speakers - aside)))


def _apart(recipe: Recipe, evaluation: Evaluation, speech: list[Looked]) -> _Amount | None:
    """Return what is evaluated on of the speech: the speakers held out, or those that training is watched by."""
    if any(place.problem for place in speech):
        return None
    if evaluation.speakers == "validation":
        whole = sum(place.speakers for place in speech)
        left = whole - sum(source.hold_out_speakers for source in recipe.data.speech)
        count = min(recipe.data.validation_speakers, left // 4)
        share = count / max(1, whole)
        return _Amount(share * sum(p.usable for p in speech), share * sum(p.hours for p in speech), count)
    shares = [s.hold_out_speakers / max(1, place.speakers) for place, s in zip(speech, recipe.data.speech, strict=True)]
    return _Amount(
        sum(share * place.usable for place, share in zip(speech, shares, strict=True)),
        sum(share * place.hours for place, share in zip(speech, shares, strict=True)),
        sum(source.hold_out_speakers for source in recipe.data.speech),
    )


def _look_at_test(evaluation: Evaluation, max_unusable_share: float) -> tuple[list[Looked], _Amount | None]:
    places: list[Looked] = []
    amount = None
    if evaluation.speech:
        found, manifest = look_at_speech("test speech", evaluation.speech, "auto", max_unusable_share)
        places.append(found)
        if not found.problem:
            amount = _Amount(found.usable, found.hours, found.speakers)
        if evaluation.trials:
            places.append(
                look_at_trials(
                    "trials", evaluation.trials, manifest if not found.problem else Manifest(()), evaluation.enrolments
                )
            )
    noise = [*evaluation.noise, *(path for entry in evaluation.suites.values() for path in entry.noise)]
    rooms = [*evaluation.rooms, *(path for entry in evaluation.suites.values() for path in entry.rooms)]
    places += [look_at_sounds("test noise", path, "noise") for path in dict.fromkeys(noise)]
    places += [look_at_sounds("test rooms", path, "rooms") for path in dict.fromkeys(rooms)]
    return places, amount


_NO_PART_IN_A_STEP = ("start", "anchors", "steps", "learning_rate", "validate_every", "checkpoint_every")
"""Settings of a stage that change neither the time nor the memory of one of its steps."""


def _cost_settings(stage: Train) -> dict[str, Any]:
    """Return what the cost of a step may depend on.

    All settings of the stage but those known to have no part in it: one that is added to `Train` later is then measured
    once too often at worst, and is never planned with the time and memory of another.
    """
    settings = {key: value for key, value in to_plain(stage).items() if key not in _NO_PART_IN_A_STEP}
    return {**settings, "scratch": stage.start == SCRATCH, "anchored": bool(stage.anchors)}


class _Measuring:
    """The stages of a recipe with what they cost; what is alike is measured once."""

    def __init__(self, recipe: Recipe, training: _Amount | None) -> None:
        self.recipe, self.training = recipe, training
        self._steps: dict[str, Step] = {}

    def stages(self) -> list[StagePlan]:
        return [
            self._train(name, stage.train) if stage.train else self._anchors(name, *stage.needs)
            for name, stage in self.recipe.stages.items()
            if not stage.take
        ]

    def _train(self, name: str, stage: Train) -> StagePlan:
        classes = _USUAL_CLASSES
        if self.training:
            recordings = stage.classification.classes == "recordings"
            classes = max(1, round(self.training.recordings)) if recordings else self.training.speakers
        key = fingerprint(_cost_settings(stage), classes, encoder_of(self.recipe, stage.start).config)
        step = self._steps.get(key)
        if step is None:
            step = self._steps[key] = measure_step(lambda: encoder_of(self.recipe, stage.start), stage, classes)
        heard = stage.steps * stage.batch_size
        held = min(_HELD_BYTES, (self.training.hours if self.training else 0.0) * _SAMPLES_AN_HOUR)
        return StagePlan(
            name,
            "train",
            stage.steps,
            stage.batch_size,
            stage.crop_s,
            heard / self.training.recordings if self.training else None,
            heard * stage.crop_s / 3600.0,
            stage.steps * step.seconds,
            _BASE_BYTES + round(held) + step.bytes,
        )

    def _anchors(self, name: str, of: str) -> StagePlan:
        if self.training is None:
            return StagePlan(name, "anchors")
        rate = measure_embedding(encoder_of(self.recipe, of))
        hours = self.training.hours
        return StagePlan(name, "anchors", epochs=1.0, hours=hours, seconds=3600.0 * hours / rate)


def _evaluation(recipe: Recipe, evaluation: Evaluation, test: _Amount | None, repeats: Repeats) -> StagePlan:
    for name in (evaluation.suite, *(more.suite for more in evaluation.suites.values())):
        named_suite(name)  # refuses what there is not, data or no data
    if test is None:
        return StagePlan("evaluation", "evaluation")
    hours = test.hours
    if evaluation.segment_s:
        hours = min(hours, test.recordings * evaluation.max_segments * evaluation.segment_s / 3600.0)
    entries = [(evaluation.suite, evaluation.noise, evaluation.noise_seeds)]
    entries += [
        (more.suite, more.noise or evaluation.noise, more.noise_seeds or evaluation.noise_seeds)
        for more in evaluation.suites.values()
    ]
    renderings = 1 + sum(seeds * len(_conditions(name, noise, recipe)) for name, noise, seeds in entries)
    heard = 0.0
    seconds = 0.0
    for system in evaluation.systems:
        own = hours * renderings * repeats.seeds.get(system, 1)
        heard += own
        seconds += 3600.0 * own / measure_embedding(encoder_of(recipe, system), evaluation.precision)
    return StagePlan("evaluation", "evaluation", hours=heard, seconds=seconds)


def _conditions(name: str, noise: Sequence[str], recipe: Recipe) -> tuple[Condition, ...]:
    """Return the noisy conditions of a suite, those of classes of noise as far as the folders are there."""
    suite = named_suite(name)
    if suite.each_class:
        with contextlib.suppress(CorpusError):
            suite, _ = with_classes(suite, noise_classes(noise), recipe.data.noise)
    return suite.noisy


def _machine_bytes() -> int:
    """Return the memory of the machine; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):  # Windows has none of it
        return 0


def _busy() -> list[str]:
    """Return a remark when others are at work on the machine: a step then takes several times as long as alone."""
    load, cores = load_average(), os.cpu_count() or 1
    if load < cores / 2:
        return []
    return [f"the machine was busy before measuring (load {load:.1f} on {cores} cores): alone it is faster"]


def _notes(speech: list[Looked]) -> list[str]:
    loose = sum(place.hours for place in speech if not place.packed)
    if loose * _SAMPLES_AN_HOUR <= _HELD_BYTES:
        return []
    return [
        f"every training stage decodes the speech into an unnamed file of {size(round(loose * _SAMPLES_AN_HOUR))} in "
        "the folder for temporary files; packed once (voxanchor data pack), a stage begins at once without such a file"
    ]
