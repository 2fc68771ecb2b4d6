"""A model to one file, with what is known about it inside, and what the file loses beside it measured."""

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from voxanchor.conditions.bank import noise_bank
from voxanchor.conditions.spec import Condition
from voxanchor.conditions.suites import Suite
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest, read_known
from voxanchor.corpus.trials import all_pairs
from voxanchor.errors import CorpusError, ModelError
from voxanchor.evaluation.embed import EmbeddingCache
from voxanchor.evaluation.protocol import Keep, Setup, evaluate
from voxanchor.export.onnx import Export, Precision, check_target, describe, export
from voxanchor.files import temporary_folder
from voxanchor.models import registry
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.runtime import log_line
from voxanchor.scoring.calibration import COHORT_FILE, FILE
from voxanchor.types import Waveform
from voxanchor.verification.people import COMPATIBILITY_FILE, MAP_FILE
from voxanchor.workflows.evaluate import cut

SEGMENT_S = 3.0
MOST_SEGMENTS = 4
"""Of one recording: lengths and number are those of `voxanchor evaluate`."""

SUITE = Suite(
    "export",
    (Condition(None, None), *(Condition(kind, db) for kind in ("noise", "music", "babble") for db in (10.0, 0.0))),
)

RANGES_SHARE = 0.2
"""Share of the speakers whose recordings set the ranges of an int8 file; the others are what it is measured on."""

MOST_FOR_RANGES = 48
"""Segments that set the ranges: more move them little."""

BESIDE = {"calibration": FILE, "cohort": COHORT_FILE, "compatible": COMPATIBILITY_FILE, "enrolment_map": MAP_FILE}
"""Files of a model directory by the metadata they become: JSON as it is, others in base64."""


@dataclass(frozen=True)
class Loss:
    """What a file loses beside its model, on the same recordings, noise and trials.

    Attributes:
        speakers: who speaks.
        trials: pairs of segments of 3 s, enrolment clean.
        targets: pairs of one speaker among them.
        mean_cosine: between the two embeddings of a segment, over all conditions.
        min_cosine: the smallest.
        model_eer: EER of the model in percent, by condition.
        file_eer: that of the file.
    """

    speakers: int
    trials: int
    targets: int
    mean_cosine: float
    min_cosine: float
    model_eer: Mapping[str, float]
    file_eer: Mapping[str, float]


@dataclass(frozen=True)
class Made:
    """A file that was written, and what it loses; None where that was not measured."""

    export: Export
    loss: Loss | None


def export_model(
    model: str,
    out: Path,
    precision: Precision = "float32",
    *,
    speech: str = "",
    noise: Sequence[str] = (),
) -> Made:
    """Write the model that a reference names as one ONNX file, and return what was written and what it loses.

    Of a model directory the file gets what a verifier reads besides the model, too: `BESIDE`. What it loses is kept as
    ``loss``.

    Args:
        model: a reference.
        out: file ending in ``.onnx``.
        precision: of the file.
        speech: folder of recordings to measure the loss on; in ``int8`` a fifth of its speakers set ranges instead.
        noise: folders in MUSAN layout for the noisy conditions; without any, the built-in kinds.

    Raises:
        CorpusError: recordings that cannot serve.
        ModelError: a file in the model directory that is not what its name says; otherwise as `export.onnx.export`.
    """
    check_target(out)
    encoder = registry.load(model)
    extra = _beside(Path(model)) if Path(model).is_dir() else {}
    manifest, recordings = (None, []) if not speech else _parted(scan(speech), precision)
    made = export(encoder, out, model, precision, extra=extra, recordings=recordings)
    if manifest is None:
        return Made(made, None)
    loss = measure_loss(encoder, out, manifest, noise)
    size = describe(out, {"loss": json.dumps(asdict(loss))})
    return Made(Export(**{**vars(made), "size_bytes": size}), loss)


def measure_loss(encoder: SpeakerEncoder, path: Path, manifest: Manifest, noise: Sequence[str] = ()) -> Loss:
    """Return what an exported file loses beside its model on the recordings of a manifest.

    Raises:
        CorpusError: recordings of fewer than two speakers, or none of whom two segments can be compared.
    """
    log_line(f"measuring the loss on {manifest.describe()}, in {len(SUITE.conditions)} conditions")
    segments = cut(manifest, SEGMENT_S, MOST_SEGMENTS)
    trials = all_pairs(segments)
    bank = noise_bank(noise, manifest, built_in_share=0.0, for_evaluation=True)
    systems = {"model": encoder, "file": registry.load_embedder(path)}
    with temporary_folder("voxanchor-loss-") as folder:
        keep = Keep(tuple(condition.name for condition in SUITE.conditions))
        setup = Setup(SUITE, replicates=1)
        found = evaluate(systems, segments, trials, bank, setup, EmbeddingCache(folder), keep=keep)
    cosines = np.concatenate(
        [
            (found.embeddings["model", condition.name] * found.embeddings["file", condition.name]).sum(axis=1)
            for condition in SUITE.conditions
        ]
    )
    rates = {(row.system, row.condition): round(row.eer, 3) for row in found.rows}
    return Loss(
        speakers=len(segments.speakers),
        trials=len(trials.target),
        targets=int(np.count_nonzero(trials.target)),
        mean_cosine=round(float(cosines.mean()), 6),
        min_cosine=round(float(cosines.min()), 6),
        model_eer={condition.name: rates["model", condition.name] for condition in SUITE.conditions},
        file_eer={condition.name: rates["file", condition.name] for condition in SUITE.conditions},
    )


def _parted(manifest: Manifest, precision: Precision) -> tuple[Manifest, list[Waveform]]:
    """Return the recordings to measure the loss on, and the waveforms, of other speakers, that set ranges."""
    if precision != "int8":
        return manifest, []
    if len(manifest.speakers) < 3:
        raise CorpusError(
            f"export: {manifest.root or 'the folder'} has {len(manifest.speakers)} speakers; int8 needs at least 3, "
            "one whose recordings set the ranges and two to measure the loss on. Give --speech more of them."
        )
    rest, aside = manifest.hold_out(max(1, round(RANGES_SHARE * len(manifest.speakers))), 0)
    segments = cut(aside, SEGMENT_S, MOST_SEGMENTS).utterances
    return rest, [read_known(segments[i]) for i in _spread(len(segments), MOST_FOR_RANGES)]


def _spread(count: int, most: int) -> list[int]:
    """Return at most `most` places of `count`, evenly apart."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, most))})


def _beside(folder: Path) -> dict[str, str]:
    """Return the metadata that files of a model directory make."""
    found: dict[str, str] = {}
    for key, name in BESIDE.items():
        path = folder / name
        if not path.is_file():
            continue
        try:
            content = path.read_bytes()
            if path.suffix == ".json":
                json.loads(content)
            found[key] = content.decode() if path.suffix == ".json" else base64.b64encode(content).decode()
        except (OSError, ValueError) as error:
            raise ModelError(
                f"{path}: cannot be put into the export ({error}). Make it again, or remove it."
            ) from error
    return found
