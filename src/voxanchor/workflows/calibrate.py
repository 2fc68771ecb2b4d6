"""Fitting a calibration to a model, and leaving both in one model directory."""

import contextlib
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from voxanchor.audio.downmix import Channel
from voxanchor.conditions.bank import noise_bank
from voxanchor.conditions.suites import snr_note
from voxanchor.conditions.suites import suite as named_suite
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import CorpusError, ModelError, OutputError, RecipeError
from voxanchor.evaluation.calibrate import PIECES_S, CalibrationTrials, calibrated, part_of, require_speakers
from voxanchor.evaluation.calibration_text import calibration_markdown, remarks
from voxanchor.evaluation.embed import EmbeddingCache, embed_with
from voxanchor.files import write_private, write_text, writing
from voxanchor.models import artefact, registry
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.runtime import Precision, best_device, log_line, resolve
from voxanchor.scoring.calibration import COHORT_FILE, FILE, TEXT_FILE, CalibrationRecord, Kind, MeasureName
from voxanchor.scoring.cohort import Cohort

WORK_FOLDER = Path("run", "calibration")
"""In the model directory: what was embedded, so that a run that was stopped goes on. Gone when it is done."""

TOP = 300
"""How many of a cohort count, those most alike; all of a smaller one."""

COHORT_SPEAKERS, COHORT_RECORDINGS = 2000, 4
"""Speakers of a cohort, and recordings of each, at most; of more an even part."""

FEW_SPEAKERS = 50

NOT_COPIED = ("run", FILE, COHORT_FILE, TEXT_FILE)


@dataclass(frozen=True)
class Material:
    """What a calibration is fitted on.

    Attributes:
        speech: folder of recordings, one sub-folder per speaker, of speakers the model was not trained on.
        noise: folders in MUSAN layout; without any, built-in noise.
        rooms: folders of room impulse responses, for suites with measured rooms.
        cohort: folder of recordings of other speakers; empty for none.
        suite: conditions, a named suite or a YAML file.
        seed: of the noise.
    """

    speech: str
    noise: tuple[str, ...] = ()
    rooms: tuple[str, ...] = ()
    cohort: str = ""
    suite: str = "noise"
    seed: int = 0


def calibrate(
    model: str,
    material: Material,
    out: Path,
    *,
    normalise: bool = False,
    layout: str = "auto",
    channel: Channel = "mix",
    max_unusable_share: float = 0.2,
    precision: Precision = "float32",
) -> CalibrationRecord:
    """Fit a calibration and write it beside the model into `out`, and return it.

    Args:
        model: a model reference.
        material: what to fit on.
        out: model directory to make, or `model` itself.
        normalise: take scores normalised by the cohort (AS-norm) instead of the mean score with it as a quality.
        layout: how the folder names its speakers.
        channel: which channel of the recordings is heard, those of the cohort included.
        max_unusable_share: largest share of unusable recordings with which the rest still serves.
        precision: of the model's matrix products.

    Raises:
        CorpusError: recordings that cannot serve: too few speakers, say.
        ModelError: a model that cannot be loaded.
        OutputError: `out` holds something else.
        RecipeError: `normalise` without a cohort.
    """
    if normalise and not material.cohort:
        raise RecipeError("calibrate: AS-norm needs a cohort: add --cohort DIR, recordings of other speakers")
    device = best_device()
    encoder = registry.load(model).to(device)
    _refuse_other(out, encoder)
    recordings = scan(material.speech, layout=layout, max_unusable_share=max_unusable_share, channel=channel)
    log_line(f"{material.speech}: {recordings.describe()}")
    heard = _in_training(model, recordings)
    suite = named_suite(material.suite)
    bank = noise_bank(material.noise, recordings, built_in_share=0.0, for_evaluation=True, rooms=material.rooms)
    cache = EmbeddingCache(out / WORK_FOLDER)
    arithmetic = resolve(precision, device)
    trials = CalibrationTrials(encoder, recordings, suite, bank, cache, material.seed, arithmetic)
    require_speakers(trials.speakers)
    if trials.speakers < FEW_SPEAKERS:
        log_line(f"{trials.speakers} speakers are few: thresholds for rare false acceptances take hundreds")
    cohort = _cohort(encoder, material.cohort, recordings, arithmetic, layout, channel) if material.cohort else None
    kind: Kind = "as-norm" if normalise else "cosine"
    measures: tuple[MeasureName, ...] = (
        ("speech", "snr", "cohort_mean") if cohort and not normalise else ("speech", "snr")
    )
    groups = trials.groups(cohort, kind)
    plain = trials.groups() if normalise else groups  # what they hold beside the score does not matter there
    found = calibrated(groups, plain, kind, measures, trials.speakers, trials.searches(cohort, kind))
    for remark in remarks(found.figures[0]):
        log_line(remark)
    facts = {
        "speech": f"{Path(material.speech).name}: {trials.speakers} speakers, {len(trials.pieces.utterances)} pieces "
        f"of {min(map(min, PIECES_S)):g} to {max(map(max, PIECES_S)):g} s",
        "conditions": f"suite {suite.label}: {len(suite.conditions)}"
        + (f"; {note}" if (note := snr_note(suite.label)) else ""),
        "noise": "; ".join(bank.describe()),
        "precision": arithmetic,
    }
    if cohort:
        facts["cohort"] = f"{Path(material.cohort).name}: {len(cohort.embeddings)} speakers, {cohort.top} of them count"
    if heard:
        facts["heard in training"] = f"{heard} speakers have names of speakers of the training"
    content = save({"embeddings": cohort.embeddings}, {"model": encoder.fingerprint}) if cohort else b""
    record = CalibrationRecord(
        encoder.fingerprint,
        found.calibration,
        found.thresholds,
        found.figures,
        facts,
        cohort.top if cohort else 0,
        hashlib.sha256(content).hexdigest() if cohort else "",
        found.searches,
        trials.heard(),
    )
    with writing(out):
        _write(encoder, model, record, content, out)
    return record


def _refuse_other(out: Path, encoder: SpeakerEncoder) -> None:
    """Check that a place is free, or holds this model.

    Raises:
        OutputError: it holds something else.
    """
    if not out.exists():
        return
    names = {entry.name for entry in out.iterdir()} if out.is_dir() else {""}
    stopped = (out / WORK_FOLDER).is_dir() and artefact.CONFIG_NAME not in names  # perhaps while the model was copied
    if stopped or names <= {WORK_FOLDER.parts[0]}:
        return
    try:
        same = SpeakerEncoder.load(out).fingerprint == encoder.fingerprint
    except ModelError:
        same = False
    if not same:
        raise OutputError(f"{out}: holds something else than this model. Give a new folder, or the model's own.")


def _in_training(model: str, recordings: Manifest) -> int:
    """Return how many speakers have the names of some that the model was trained on, and say so."""
    path = Path(model) / "anchors.safetensors"
    try:
        with safe_open(path, "numpy") as file:
            trained = set(json.loads((file.metadata() or {}).get("speakers", "[]")))
    except (OSError, SafetensorError, ValueError):
        return 0
    shared = trained & set(recordings.speakers)
    if shared:
        log_line(
            f"{len(shared)} of the speakers have names of speakers that {model} was trained on ({sorted(shared)[0]}): "
            "if they are the same, the calibration is too sure of itself. Give others"
        )
    return len(shared)


def _cohort(
    encoder: SpeakerEncoder, folder: str, recordings: Manifest, precision: str, layout: str, channel: Channel
) -> Cohort:
    """Return the cohort of a folder: the mean of each speaker's embeddings.

    Raises:
        CorpusError: fewer than two speakers, or recordings of the trials.
    """
    manifest = scan(folder, layout=layout, channel=channel)
    speakers = [utterance.speaker for utterance in manifest.utterances]
    if not all(speakers) or len(set(speakers)) < 2:
        raise CorpusError(f"{folder}: a cohort needs recordings of at least two speakers, one folder per speaker")
    # resolved, since one folder has many spellings
    files, own = (
        {Path(part.path).resolve() for item in found.utterances for part in item.parts}
        for found in (recordings, manifest)
    )
    if files & own:
        raise CorpusError(f"{folder}: holds recordings of the calibration. Give a cohort of other speakers")
    if shared := set(speakers) & set(recordings.speakers):
        log_line(
            f"{len(shared)} speakers of the cohort have names of speakers that calibrate ({sorted(shared)[0]}): if "
            "they are the same, give a cohort of others"
        )
    chosen = part_of(manifest, COHORT_SPEAKERS, COHORT_RECORDINGS)
    (embeddings,) = embed_with([encoder], chosen, label="cohort", precision=precision)
    speakers = [utterance.speaker for utterance in chosen]
    return Cohort.of_speakers(embeddings, speakers, min(TOP, len(set(speakers))))


def _write(encoder: SpeakerEncoder, model: str, record: CalibrationRecord, cohort: bytes, out: Path) -> None:
    """Write the model, where it is not there yet, and what belongs to the calibration, ``calibration.json`` last."""
    if not (out / artefact.CONFIG_NAME).exists():
        _copy(encoder, Path(model), out)
    # without this file nothing takes the others for a calibration, so that a stop here leaves none that is mixed
    (out / FILE).unlink(missing_ok=True)
    if cohort:
        write_private(out / COHORT_FILE, cohort)  # embeddings of people
    else:
        (out / COHORT_FILE).unlink(missing_ok=True)
    write_text(out / TEXT_FILE, calibration_markdown(record))
    write_text(out / FILE, record.text())
    shutil.rmtree(out / WORK_FOLDER, ignore_errors=True)
    with contextlib.suppress(OSError):  # not empty: what robustify keeps of its run
        (out / WORK_FOLDER.parent).rmdir()


def _copy(encoder: SpeakerEncoder, model: Path, out: Path) -> None:
    """Write the model's directory to `out`: card, anchors and map too, where it has them."""
    others: dict[str, bytes] = {}
    if model.is_dir() and (model / artefact.CONFIG_NAME).is_file():
        names: Sequence[Path] = sorted(model.iterdir())
        left_out = {*NOT_COPIED, artefact.CONFIG_NAME, artefact.WEIGHTS_NAME, "run.json"}
        others = {
            path.name: path.read_bytes()
            for path in names
            if path.is_file() and path.name not in left_out and not path.name.startswith(".")
        }
    encoder.save(out, others)
