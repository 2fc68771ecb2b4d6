"""Models against conditions, from references and folders to tables and a report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

import voxanchor
from voxanchor import config
from voxanchor.audio.downmix import Channel
from voxanchor.conditions.bank import NoiseBank, noise_bank
from voxanchor.conditions.suites import Suite, class_kind, noise_classes, refuse_unclassed, snr_note, with_classes
from voxanchor.conditions.suites import suite as named_suite
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.segments import segment
from voxanchor.corpus.trial_lists import read_trials
from voxanchor.corpus.trials import TrialList, all_pairs
from voxanchor.errors import CorpusError, MissingExtraError, RecipeError
from voxanchor.evaluation.embed import EmbeddingCache, embeddings_key
from voxanchor.evaluation.plots import EmbeddingMap, project
from voxanchor.evaluation.protocol import Keep, Outcome, Setup, evaluate
from voxanchor.evaluation.report import ReportData, write_report
from voxanchor.evaluation.results import summarise, write_csv, write_summary
from voxanchor.evaluation.settings import ComparisonSettings
from voxanchor.files import write_text
from voxanchor.models import registry
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.outputs import lock_run_dir
from voxanchor.runtime import best_device, counted, log_line, resolve
from voxanchor.training.corpora import Corpora
from voxanchor.training.recipe import Data, Evaluation
from voxanchor.types import IntArray
from voxanchor.verification.loading import scoring_backend

MAP_SPEAKERS = 10
MAP_UTTERANCES = 12
CACHE_FOLDER = "embeddings"


@dataclass(frozen=True)
class Comparison(ComparisonSettings):
    """Models, and what they are compared on.

    Attributes:
        models: reference of each model by the name its rows carry.
    """

    models: Mapping[str, str]

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.models:
            raise RecipeError("name at least one model to evaluate")

    @property
    def asked(self) -> Suite:
        """The suite, before classes of noise are put into it.

        Raises:
            RecipeError: a suite that there is not.
        """
        found = named_suite(self.suite)
        return found if self.snr == "active" else replace(found, snr=self.snr)


def system_names(references: Sequence[str]) -> dict[str, str]:
    """Return each reference under the name its rows carry: a directory's own name, with its parent's if need be.

    Raises:
        RecipeError: the same model twice.
    """
    if len(set(references)) < len(references):
        raise RecipeError("the same model was named twice")
    for depth in range(1, 8):
        names = {
            "/".join(Path(reference).resolve().parts[-depth:]) if Path(reference).is_dir() else reference: reference
            for reference in references
        }
        if len(names) == len(references):
            return names
    raise RecipeError("two of the models are the same directory")


def evaluate_folder(
    comparison: Comparison,
    speech: str,
    out: Path,
    *,
    layout: str = "auto",
    channel: Channel = "mix",
    max_unusable_share: float = 0.2,
    cache: Path | None = None,
) -> Outcome:
    """Scan a folder of recordings, evaluate models on it, and write the tables and the report to `out`.

    Raises:
        CorpusError: recordings, noise or trials that cannot serve.
        OutputError: `out` holds another run.
    """
    refuse_unclassed(asked := named_suite(comparison.suite), comparison.noise)
    fingerprints = {name: embeddings_key(registry.load_embedder(ref)) for name, ref in comparison.models.items()}
    # an identity has held the trial list from the start, although recipes leave out one that is not given
    compared = config.to_plain(comparison) | {"trials": comparison.trials}
    identity = {"speech": speech, "layout": layout, "comparison": compared, "models": fingerprints}
    identity |= {} if channel == "mix" else {"channel": channel}
    with lock_run_dir(out, "evaluate", identity):
        manifest = scan(speech, layout=layout, max_unusable_share=max_unusable_share, channel=channel)
        log_line(f"{speech}: {manifest.describe()}")
        title = f"{' and '.join(comparison.models)} {asked.where}"
        return assess(comparison, manifest, out, title=title, cache=cache)


def assess(
    comparison: Comparison, manifest: Manifest, folder: Path, *, title: str, cache: Path | None = None, ours: str = ""
) -> Outcome:
    """Evaluate on the recordings of a manifest; `folder` gets tables, summary and report, which leads with `ours`.

    Embeddings are kept in `cache`, by default inside `folder`. They are found by everything they depend on, so any
    number of evaluations may share one.
    """
    measured = measure(comparison, manifest, EmbeddingCache(cache or folder / CACHE_FOLDER))
    _write(measured, comparison, folder, title, ours)
    return measured.outcome


def cut(manifest: Manifest, segment_s: float, max_segments: int) -> Manifest:
    """Return the segments that recordings are compared in; whole recordings where their length is 0."""
    return segment(manifest, segment_s, max_segments) if segment_s else manifest


@dataclass(frozen=True)
class Measured:
    """An evaluation, and what it was made with."""

    outcome: Outcome
    segments: Manifest
    trials: TrialList
    bank: NoiseBank
    notes: tuple[str, ...]


def measure(comparison: Comparison, manifest: Manifest, cache: EmbeddingCache, replicates: int = 200) -> Measured:
    """Evaluate on the recordings of a manifest, and return what was found without writing it anywhere but the cache."""
    segments = cut(manifest, comparison.segment_s, comparison.max_segments)
    if comparison.trials:
        trials = read_trials(comparison.trials, segments, comparison.enrolments)
        segments = segments.restrict(trials.ids)
    else:
        trials = all_pairs(segments)
    asked = comparison.asked
    refuse_unclassed(asked, comparison.noise)
    bank = noise_bank(
        comparison.noise,
        manifest,
        built_in_share=0.0,
        for_evaluation=True,
        rooms=comparison.rooms,
        by_class=bool(asked.each_class),
    )
    classes = noise_classes(comparison.noise) if asked.each_class else ()
    usable = [name for name in classes if class_kind(name) in bank.kinds]
    suite, heard = with_classes(asked, usable, comparison.heard_noise)
    notes = [trials.note] if trials.note else []
    if heard:
        notes.append(f"Classes of noise that the training heard are left out: {', '.join(heard)}.")
        log_line(notes[-1])
    device = best_device()
    setup = Setup(
        suite,
        comparison.protocol,
        tuple(range(comparison.noise_seeds)),
        comparison.eer_method,
        replicates,
        resolve(comparison.precision, device),
    )
    systems = {name: _on(device, reference) for name, reference in comparison.models.items()}
    enrol = _on(device, comparison.enrol_model) if comparison.enrol_model else None
    cohort = scan(comparison.cohort) if comparison.cohort else None
    backends = {name: scoring_backend(reference, systems[name]) for name, reference in comparison.models.items()}
    calibrated = {name: backend for name, backend in backends.items() if backend.record is not None}
    shown = _shown([condition.name for condition in suite.noisy], segments)
    keep = Keep(("clean", shown.condition), shown.places) if shown else Keep()
    outcome = evaluate(systems, segments, trials, bank, setup, cache, enrol, cohort, backends=calibrated, keep=keep)
    return Measured(outcome, segments, trials, bank, tuple(notes))


def _on(device: torch.device, reference: str) -> registry.Embedder:
    """Return what a reference names, on a device; an exported file stays on the processor."""
    model = registry.load_embedder(reference)
    return model.to(device) if isinstance(model, SpeakerEncoder) else model


def _write(measured: Measured, comparison: Comparison, folder: Path, title: str, ours: str) -> None:
    outcome, segments, notes = measured.outcome, measured.segments, list(measured.notes)
    write_csv(folder / "results.csv", outcome.rows)
    if outcome.geometry:
        write_csv(folder / "geometry.csv", outcome.geometry)
    if outcome.decisions:
        write_csv(folder / "decisions.csv", outcome.decisions)
    write_summary(folder / "summary.json", summarise(outcome.rows, outcome.replicates))
    left_out = [f"{item.path}: {item.reason}" for item in segments.unusable]
    if left_out:
        write_text(folder / "left_out.txt", "\n".join(left_out) + "\n")
        notes.append(f"Left out: {counted(len(left_out), 'recording')}; left_out.txt says why.")
    write_report(
        folder / "report.html",
        ReportData(
            title=title,
            rows=outcome.rows,
            geometry=outcome.geometry,
            det=outcome.det,
            maps=embedding_maps(outcome, tuple(comparison.models), segments),
            facts=facts(comparison, measured),
            notes=notes,
            enrol_model=comparison.enrol_model or None,
            replicates=outcome.replicates,
            decisions=outcome.decisions,
            remark=comparison.note,
            ours=ours,
        ),
    )


def facts(comparison: Comparison, measured: Measured) -> list[tuple[str, str]]:
    """Return what the figures rest on, for a report: label and value."""
    segments, trials, bank = measured.segments, measured.trials, measured.bank
    targets = int(np.count_nonzero(trials.target))
    return [
        ("speech", segments.describe()),
        *([("layout", segments.layout)] if segments.layout else []),
        ("segments", f"{comparison.segment_s:g} s" if comparison.segment_s else "whole recordings"),
        ("trials", f"{len(trials.target):,}, of which {targets:,} same-speaker"),
        ("protocol", comparison.protocol),
        *([("SNR", note.removeprefix("SNR "))] if (note := snr_note(comparison.asked.label)) else []),
        *([("precision", comparison.precision)] if comparison.precision != "float32" else []),
        *([("scores", f"AS-norm with a cohort from {Path(comparison.cohort).name}")] if comparison.cohort else []),
        *(("noise", line) for line in bank.describe()),
        *([("rooms", bank.rooms.summary)] if comparison.rooms else []),
        ("noise seeds", ", ".join(map(str, range(comparison.noise_seeds)))),
        ("EER", f"{comparison.eer_method} interpolation"),
        ("software", f"voxanchor {voxanchor.__version__}, torch {torch.__version__}"),
    ]


@dataclass(frozen=True)
class _Shown:
    """What the maps show beside clean: a condition, and (R,) places of segments with (R,) numbers of their speakers."""

    condition: str
    places: IntArray
    speakers: IntArray


def _shown(noisy: Sequence[str], segments: Manifest) -> _Shown | None:
    """Return what the maps show: babble at 5 dB, or the first noisy condition there is; None where there is no map."""
    speakers = [name for name in segments.speakers if name][:MAP_SPEAKERS]
    if not noisy or len(speakers) < 2:
        return None
    owners = np.array([utterance.speaker for utterance in segments.utterances])
    places = np.concatenate([np.flatnonzero(owners == name)[:MAP_UTTERANCES] for name in speakers])
    if len(places) < 2:
        return None
    numbers = np.array([speakers.index(name) for name in owners[places]])
    return _Shown("babble_5db" if "babble_5db" in noisy else noisy[0], places, numbers)


def embedding_maps(outcome: Outcome, systems: Sequence[str], segments: Manifest) -> list[EmbeddingMap]:
    """Return a map per system: ten speakers, clean and in babble at 5 dB, or the first noisy condition there is.

    Args:
        outcome: as `measure` finds it: with the embeddings that the maps show.
        systems: names of models.
        segments: of the evaluation.
    """
    shown = _shown([row.condition for row in outcome.rows if row.noise], segments)
    if shown is None:
        return []
    maps = []
    for name in systems:
        pair = np.concatenate([outcome.embeddings[name, kind] for kind in ("clean", shown.condition)])
        try:
            points = project(pair)
        except MissingExtraError:
            return []
        is_noisy = np.arange(len(pair)) >= len(shown.places)
        maps.append(EmbeddingMap(name, points, np.concatenate([shown.speakers, shown.speakers]), is_noisy))
    return maps


# A recipe's evaluation as comparisons: one for each suite, all on the same recordings and trials.


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
        log_line(f"{evaluation.speech}: {manifest.describe()}")
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
    first = Comparison(models=models, heard_noise=data.noise, **evaluation.shared)
    further = {name: replace(first, **entry.changes) for name, entry in evaluation.suites.items()}
    found = [Assessment("", first, manifest)] + [Assessment(name, one, manifest) for name, one in further.items()]
    for assessment in found:
        refuse_unclassed(named_suite(assessment.comparison.suite), assessment.comparison.noise)
    return found
