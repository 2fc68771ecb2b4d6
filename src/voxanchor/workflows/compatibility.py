"""Old voiceprints and a new model: measured, reported, and upgraded."""

import io
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from voxanchor.conditions.bank import NoiseBank, noise_bank
from voxanchor.conditions.suites import Suite, class_kind, noise_classes, refuse_unclassed, with_classes
from voxanchor.conditions.suites import suite as named_suite
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.segments import segment
from voxanchor.corpus.trial_lists import read_trials
from voxanchor.corpus.trials import TrialList, all_pairs
from voxanchor.errors import ModelError, RecipeError
from voxanchor.evaluation.compatibility import Examined, Findings, examine, refuse_apart
from voxanchor.evaluation.compatibility_text import compatibility_markdown, plain
from voxanchor.evaluation.embed import EmbeddingCache, embed_with
from voxanchor.evaluation.protocol import Setup
from voxanchor.evaluation.report import write_compatibility_report
from voxanchor.evaluation.results import write_csv
from voxanchor.evaluation.settings import Examination
from voxanchor.files import write_bytes, write_text
from voxanchor.models import registry
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.mapping import CarriedEncoder, EnrolmentMap, fit_map
from voxanchor.outputs import lock_run_dir
from voxanchor.runtime import best_device, log_line, resolve
from voxanchor.types import Embeddings
from voxanchor.workflows.evaluate import CACHE_FOLDER, cut, system_names

QUICK = Examination(suite="compatibility")
"""Clean, and three kinds of noise at two levels: for the end of `robustify`."""


def compatibility(
    old: str | SpeakerEncoder,
    new: str | SpeakerEncoder,
    recordings: Manifest,
    bank: NoiseBank | None,
    cache: EmbeddingCache,
    examination: Examination = QUICK,
    names: tuple[str, str] | None = None,
    carrier: EnrolmentMap | None = None,
) -> Findings:
    """Measure enrolments of the old model against tests of the new one; nothing is written but to the cache.

    Without speaker labels and without a trial list the findings are how far embeddings and scores move.

    Args:
        old: the model that made the enrolments: a reference, or an encoder, which is used where it lies.
        new: the model that would hear the tests.
        recordings: of speakers that neither model was trained on, uncut.
        bank: noise and rooms; None for those of the examination.
        cache: where embeddings are kept.
        examination: suite, segments, seeds.
        names: of both models in the report; by default their references, or "old" and "new".
        carrier: the map from the old model to the new one, where there is one: upgraded enrolments are measured too.

    Raises:
        CorpusError: recordings, noise or trials that cannot serve: a single speaker, say.
        ModelError: a model that cannot be loaded, or two of different dimensions.
    """
    device = best_device()
    known = tuple(model if isinstance(model, str) else name for model, name in ((old, "old"), (new, "new")))
    models = [model if isinstance(model, SpeakerEncoder) else registry.load(model).to(device) for model in (old, new)]
    segments = cut(recordings, examination.segment_s, examination.max_segments)
    trials = _trials(segments, examination.trials)
    if trials is not None and examination.trials:
        segments = segments.restrict(trials.ids)
    bank, suite, remarks = _noise(examination, bank, recordings)
    setup = Setup(
        suite,
        noise_seeds=tuple(range(examination.noise_seeds)),
        replicates=examination.replicates,
        precision=resolve(examination.precision, device),
    )
    told = names or (known[0], known[1])
    upgraded = CarriedEncoder(models[0], carrier).eval() if carrier else None
    examined = Examined(models[0], models[1], segments, trials, bank, setup, told, tuple(remarks), upgraded)
    return examine(examined, cache)


def write_findings(findings: Findings, folder: str | Path) -> None:
    """Write ``compatibility.json``, ``.csv``, ``.md`` and ``.html`` into a folder, each atomically."""
    folder = Path(folder)
    content = json.dumps(plain(findings), indent=2, allow_nan=False, ensure_ascii=False)
    write_text(folder / "compatibility.json", content + "\n")
    write_csv(folder / "compatibility.csv", findings.rows)
    write_text(folder / "compatibility.md", compatibility_markdown(findings))
    write_compatibility_report(folder / "compatibility.html", findings)


def compatibility_folder(
    old: str,
    new: str,
    speech: str,
    out: Path,
    examination: Examination,
    *,
    layout: str = "auto",
    max_unusable_share: float = 0.2,
    cache: Path | None = None,
) -> Findings:
    """Scan a folder of recordings, examine two models on it, and write what was found to `out`.

    Raises:
        CorpusError: recordings, noise or trials that cannot serve.
        ModelError: a model that cannot be loaded, or two of different dimensions.
        OutputError: `out` holds another run.
    """
    refuse_unclassed(named_suite(examination.suite), examination.noise)
    names = (old, new) if old == new else tuple(system_names([old, new]))
    models = [registry.load(reference) for reference in (old, new)]
    refuse_apart(models[0], models[1], (names[0], names[1]))
    carrier = EnrolmentMap.between(models[0].fingerprint, models[1].fingerprint, new)
    examined = asdict(examination)  # and not its plain form: an identity holds all of it, the defaults as well
    noise = examined.pop("noise")
    identity = {
        "old": old,
        "new": new,
        "models": [model.fingerprint for model in models],
        "speech": speech,
        "layout": layout,
        "noise": noise,
        "upgrade": carrier is not None,
        "examination": examined,
    }
    with lock_run_dir(out, "compatibility", identity):
        manifest = scan(speech, layout=layout, max_unusable_share=max_unusable_share)
        log_line(f"{speech}: {manifest.describe()}")
        device = best_device()
        findings = compatibility(
            models[0].to(device),
            models[1].to(device),
            manifest,
            None,
            EmbeddingCache(cache or out / CACHE_FOLDER),
            examination,
            (names[0], names[1]),
            carrier,
        )
        write_findings(findings, out)
    return findings


def _trials(segments: Manifest, listed: str) -> TrialList | None:
    """Return the trials of a list, or all pairs; None where there is no list and nobody says who speaks."""
    if listed:
        return read_trials(listed, segments)
    if segments.utterances and not all(utterance.speaker for utterance in segments.utterances):
        return None
    return all_pairs(segments)


def _noise(examination: Examination, bank: NoiseBank | None, talkers: Manifest) -> tuple[NoiseBank, Suite, list[str]]:
    """Return noise and rooms, the suite with the classes of noise there are, and what was left out of it."""
    asked = named_suite(examination.suite)
    if bank is not None:
        if asked.each_class:
            raise RecipeError(f"suite '{asked.name}' goes through the classes of noise in folders: give folders")
        return bank, asked, []
    folders = examination.noise
    refuse_unclassed(asked, folders)
    bank = noise_bank(
        folders,
        talkers,
        built_in_share=0.0,
        for_evaluation=True,
        rooms=examination.rooms,
        by_class=bool(asked.each_class),
    )
    classes = [name for name in noise_classes(folders) if class_kind(name) in bank.kinds] if asked.each_class else []
    suite, heard = with_classes(asked, classes, examination.heard_noise)
    return bank, suite, [f"Classes of noise that the training heard are left out: {', '.join(heard)}."] * bool(heard)


# Voiceprints of an old model made usable with the robust model that replaces it, without recording anybody again.

EMBEDDINGS_FORMAT = "voxanchor-embeddings-1"

SEGMENT_S = 3.0
SEGMENTS_PER_RECORDING = 2
"""Short pieces fit better than whole recordings, of which there are fewer (docs/results.md)."""

MOST_SEGMENTS = 4000
"""Of a larger corpus so many pieces, evenly."""


def fit_enrolment_map(old: SpeakerEncoder, new: SpeakerEncoder, manifest: Manifest, precision: str) -> EnrolmentMap:
    """Return the map from `old` to `new`, fitted on clean pieces of the recordings; no labels are needed.

    Args:
        old: the model that is replaced.
        new: the model that replaces it.
        manifest: clean recordings, the more speakers the better.
        precision: of the models' matrix products, ``float32`` or ``bfloat16``.
    """
    pieces = segment(manifest, SEGMENT_S, SEGMENTS_PER_RECORDING).utterances or manifest.utterances
    pieces = pieces[:: -(-len(pieces) // MOST_SEGMENTS)]
    before, after = embed_with([old, new], pieces, label="enrolment map", precision=precision)
    return EnrolmentMap(fit_map(before, after), old.fingerprint, new.fingerprint)


def upgrade(path: Path, model: str, out: Path) -> int:
    """Carry the embeddings in a file into the space of a robust model, and return how many there were.

    Args:
        path: what ``voxanchor embed`` wrote (.safetensors), or an array (N, D) in a .npy file.
        model: a directory that robustify made.
        out: file to write, of the same kind.

    Raises:
        ModelError: a model without a map, or embeddings of another model than the one that it replaces.
        RecipeError: a file of another kind.
    """
    carrier = EnrolmentMap.load(model)
    if out.suffix != path.suffix or path.suffix not in (".safetensors", ".npy"):
        raise RecipeError("upgrade: takes and writes .safetensors files of 'voxanchor embed', or .npy arrays (N, D)")
    if path.suffix == ".npy":
        array = _read_array(path)
        log_line(f"{path}: nothing in it says which model made it; it has to be {carrier.old}")
        _write_array(out, carrier.apply(array))
        return len(array)
    names, rows, made_by = _read_embeddings(path)
    if made_by == carrier.new:
        raise ModelError(f"{path}: these embeddings are of {model} already ({made_by})")
    if made_by != carrier.old:
        raise ModelError(
            f"{path}: embeddings of the model {made_by or 'unknown'}, but {model} replaces {carrier.old}. Upgrade with "
            "the model that was made from theirs."
        )
    tensors = dict(zip(names, carrier.apply(rows), strict=True))
    write_bytes(out, save(tensors, {"model": carrier.new, "upgraded_from": made_by, "format": EMBEDDINGS_FORMAT}))
    return len(names)


def _write_array(path: Path, array: Embeddings) -> None:
    """Write an array as .npy, atomically."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    write_bytes(path, buffer.getvalue())


def _read_array(path: Path) -> Embeddings:
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: not an array that can be read ({error})") from None
    if array.ndim != 2 or array.dtype.kind != "f":
        raise ModelError(f"{path}: expected embeddings (N, D), found {array.dtype} {array.shape}")
    embeddings: Embeddings = array.astype(np.float32)
    return embeddings


def _read_embeddings(path: Path) -> tuple[list[str], Embeddings, str]:
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path}: not a file of embeddings ({error})") from None
    names = list(tensors)
    if metadata.get("format") != EMBEDDINGS_FORMAT or any(tensors[name].ndim != 1 for name in names) or not names:
        raise ModelError(f"{path}: not written by 'voxanchor embed' for single recordings. Save an array as .npy.")
    return names, np.stack([tensors[name] for name in names]), metadata.get("model", "")
