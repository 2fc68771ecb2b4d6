"""Voiceprints of an old model made usable with the robust model that replaces it, without recording anybody again."""

import io
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.segments import segment
from voxanchor.errors import ModelError, RecipeError
from voxanchor.evaluation.embed import embed_with
from voxanchor.files import write_bytes
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.enrolment_map import EnrolmentMap
from voxanchor.progress import say
from voxanchor.scoring.carry import fit_map
from voxanchor.types import Embeddings

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
        say(f"{path}: nothing in it says which model made it; it has to be {carrier.old}")
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
