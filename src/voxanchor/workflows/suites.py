"""A recipe's evaluation as comparisons: one for each suite, all on the same recordings and trials."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from voxanchor.conditions.suites import suite as named_suite
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.trials import all_pairs, read_trials
from voxanchor.errors import CorpusError
from voxanchor.evaluation.classes import refuse_unclassed
from voxanchor.progress import say
from voxanchor.training.corpora import Corpora
from voxanchor.training.evaluating import Evaluation
from voxanchor.training.recipe import Data
from voxanchor.workflows.evaluate import Comparison, cut


@dataclass(frozen=True)
class Assessment:
    """One comparison that a recipe asks for.

    Attributes:
        name: of the further suite; empty for the evaluation itself.
        comparison: models, suite, noise and protocol.
        manifest: the recordings.
    """

    name: str
    comparison: Comparison
    manifest: Manifest

    def place(self, folder: Path) -> Path:
        """Return where its tables belong: `folder` itself, or ``suite-<name>`` in it."""
        return folder / f"suite-{self.name}" if self.name else folder

    def of(self, models: Mapping[str, str]) -> "Assessment":
        """Return the same of other models."""
        return replace(self, comparison=replace(self.comparison, models=models))


def evaluations(evaluation: Evaluation, models: Mapping[str, str], corpora: Corpora, data: Data) -> list[Assessment]:
    """Return what an evaluation asks for, the evaluation itself first and then its further suites.

    Everything but the models is looked at: suites, test corpus and trial list. The models need not exist yet.

    Args:
        evaluation: as the recipe has it.
        models: reference of each model by the name its rows carry.
        corpora: of the training, with the speakers kept out of it; used where the evaluation names no corpus.
        data: of the training: the share of unusable recordings that is borne, and noise whose classes are not unseen.

    Raises:
        RecipeError: a suite that there is not.
        CorpusError: nothing to evaluate on, a corpus that cannot serve, or a list of trials between other recordings.
    """
    manifest = corpora.validation if evaluation.speakers == "validation" else corpora.held_out
    if evaluation.speech:
        manifest = scan(evaluation.speech, max_unusable_share=data.max_unusable_share)
        say(f"{evaluation.speech}: {manifest.describe()}")
    elif not manifest.utterances and evaluation.speakers == "validation":
        raise CorpusError("the recipe evaluates on its validation speakers but has none: set data.validation_speakers")
    elif not manifest.utterances:
        raise CorpusError(
            "the recipe evaluates but holds out no speakers: set hold_out_speakers in data.speech, or give a test "
            "corpus as evaluation.speech"
        )
    if evaluation.trials:
        read_trials(evaluation.trials, manifest, evaluation.enrolments)
    else:
        all_pairs(cut(manifest, evaluation.segment_s, evaluation.max_segments))
    first = replace(comparison(evaluation, models), heard_noise=data.noise)
    further = {
        name: replace(
            first,
            suite=entry.suite,
            noise=entry.noise or first.noise,
            rooms=entry.rooms or first.rooms,
            protocol=entry.protocol or first.protocol,
            noise_seeds=entry.noise_seeds or first.noise_seeds,
        )
        for name, entry in evaluation.suites.items()
    }
    found = [Assessment("", first, manifest)] + [Assessment(name, one, manifest) for name, one in further.items()]
    for assessment in found:
        refuse_unclassed(named_suite(assessment.comparison.suite), assessment.comparison.noise)
    return found


def comparison(evaluation: Evaluation, models: Mapping[str, str]) -> Comparison:
    """Return an evaluation, without its further suites, as a comparison of models."""
    return Comparison(
        models=models,
        noise=evaluation.noise,
        rooms=evaluation.rooms,
        trials=evaluation.trials,
        enrolments=evaluation.enrolments,
        suite=evaluation.suite,
        protocol=evaluation.protocol,
        segment_s=evaluation.segment_s,
        max_segments=evaluation.max_segments,
        noise_seeds=evaluation.noise_seeds,
        note=evaluation.note,
        precision=evaluation.precision,
        snr=evaluation.snr,
    )
