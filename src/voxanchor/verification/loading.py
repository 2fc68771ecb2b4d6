"""From a model reference to a verifier. Torch is imported for models that need it, and not for exported files."""

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors

from voxanchor.enrolments.store import Store, open_store
from voxanchor.errors import MissingExtraError, ModelError
from voxanchor.extras import is_installed
from voxanchor.models.exported import SUFFIX, ExportedEncoder
from voxanchor.scoring.backend import ScoringBackend
from voxanchor.scoring.calibration import COHORT_FILE, FILE, CalibrationRecord
from voxanchor.scoring.cohort import Cohort
from voxanchor.verification.embedding import Embedder
from voxanchor.verification.people import COMPATIBILITY_FILE, MAP_FILE, OlderModel, older_model
from voxanchor.verification.recordings import LONGEST_S
from voxanchor.verification.verifier import Verifier

if TYPE_CHECKING:
    from voxanchor.models.encoder import SpeakerEncoder


def load(
    reference: str | Path,
    store: str | Path | Store | None = None,
    key: bytes | str | None = None,
    longest_s: float = LONGEST_S,
    device: str = "auto",
) -> Verifier:
    """Return the verifier of a model.

    Args:
        reference: a model directory, an exported ``.onnx`` file, ``ge2e``, or another form that ``voxanchor models``
            lists; ``python:module:function`` runs that code.
        store: who is enrolled: a store, or its place (`voxanchor.enrolments.store.open_store`); by default in memory.
        key: encrypts the store.
        longest_s: a longer recording is an error; its length does not change the memory it takes.
        device: where the model computes: ``cpu``, ``cuda``, one of several as in ``cuda:1``, ``mps``; ``auto`` is CUDA
            where there is one, else the processor. An exported file computes on the processor unless ``cuda`` is asked
            for.

    Raises:
        RecipeError: no such device here.
        ModelError: nothing of that name, or a directory or file that cannot be loaded.
        MissingExtraError: a package that it needs is not installed.
        EnrolmentError: a store that cannot be opened.
    """
    path = Path(reference)
    if path.suffix == SUFFIX and not path.is_dir():
        exported = ExportedEncoder.load(path, device=device)
        embedder: Embedder = exported
        files: Mapping[str, bytes] = _from_metadata(exported.described, str(path))
    else:
        embedder = _by_torch(reference, device)
        files = _from_folder(path) if path.is_dir() else {}
    backend, older = _backend(files, embedder.fingerprint, str(reference)), _older(files, str(reference))
    # last of all, so that a model that cannot be loaded leaves no new store behind
    opened = open_store(store, key) if isinstance(store, str | Path) else store
    return Verifier(embedder, backend, opened, older, longest_s)


def _by_torch(reference: str | Path, device: str) -> Embedder:
    """Return the model of a reference that is no exported file.

    Raises:
        RecipeError: no such device here.
        ModelError: nothing of that name, or something that cannot be loaded.
        MissingExtraError: torch is not installed, as on a device that runs exported files alone.
    """
    if not is_installed("torch"):
        raise MissingExtraError(
            "torch", f"the model '{reference}'", "pip install torch, or give an exported .onnx file"
        )
    from voxanchor.models import registry
    from voxanchor.runtime import device_named
    from voxanchor.verification.embedding import TorchEmbedder

    place = device_named(device)  # before the weights are read: a mistake is an error at once
    return TorchEmbedder(registry.load(reference), place)


def scoring_backend(reference: str | Path, model: "SpeakerEncoder | ExportedEncoder") -> ScoringBackend:
    """Return the scoring back-end of a model, empty where it has no calibration.

    Args:
        reference: a model reference.
        model: what was loaded from it.

    Raises:
        ModelError: a calibration that is damaged, or of another model.
    """
    path = Path(reference)
    if isinstance(model, ExportedEncoder):
        files = _from_metadata(model.described, str(path))
    else:
        files = _from_folder(path) if path.is_dir() else {}
    return _backend(files, model.fingerprint, str(reference))


def read_cohort(content: bytes, record: CalibrationRecord, where: str) -> Cohort:
    """Return the cohort in the bytes of ``cohort.safetensors``.

    Args:
        content: of the file.
        record: the calibration that takes it.
        where: its place, for messages.

    Raises:
        ModelError: damaged, or embedded by another model.
    """
    try:
        length = int.from_bytes(content[:8], "little")
        made_by = json.loads(content[8 : 8 + length])["__metadata__"]["model"]
        if made_by != record.model:
            raise ValueError(f"embedded by the model {made_by}, the calibration is for {record.model}")
        if hashlib.sha256(content).hexdigest() != record.cohort_sha256:
            raise ValueError("it is not the one that the calibration was fitted with")
        return Cohort(load_tensors(content)["embeddings"], record.cohort_top)
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{where}: {COHORT_FILE} cannot be used ({error}). Copy the model again.") from None


def _from_folder(folder: Path) -> dict[str, bytes]:
    names = (FILE, COHORT_FILE, COMPATIBILITY_FILE, MAP_FILE)
    try:
        return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
    except OSError as error:
        raise ModelError(f"{error.filename or folder}: cannot be read ({error.strerror}). Check its mode.") from None


def _from_metadata(described: Mapping[str, str], where: str) -> dict[str, bytes]:
    try:
        found = {FILE: described["calibration"].encode()} if "calibration" in described else {}
        for name, key in ((COHORT_FILE, "cohort"), (COMPATIBILITY_FILE, "compatible"), (MAP_FILE, "enrolment_map")):
            if key in described:
                text = described[key]
                found[name] = text.encode() if name.endswith(".json") else base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ModelError(f"{where}: its metadata are damaged ({error}). Export the model again.") from None
    return found


def _backend(files: Mapping[str, bytes], fingerprint: str, where: str) -> ScoringBackend:
    if FILE not in files:
        return ScoringBackend()
    record = CalibrationRecord.parse(files[FILE].decode("utf-8", "replace"), f"{where}: {FILE}")
    # a variant in lower precision has its model's fingerprint with the precision behind it
    if record.model != fingerprint and record.model != fingerprint.partition("-")[0]:
        raise ModelError(
            f"{where}: its calibration is for the model {record.model}, and this is {fingerprint}. Run voxanchor "
            f"calibrate for it, or remove {FILE}."
        )
    if not record.cohort_top:
        if record.calibration.kind == "as-norm" or "cohort_mean" in record.calibration.measures:
            raise ModelError(f"{where}: its calibration takes a cohort and names none. Run voxanchor calibrate again.")
        return ScoringBackend(record)
    if COHORT_FILE not in files:
        raise ModelError(f"{where}: its calibration needs {COHORT_FILE}, which is missing. Copy the model again.")
    return ScoringBackend(record, read_cohort(files[COHORT_FILE], record, where))


def _older(files: Mapping[str, bytes], where: str) -> OlderModel | None:
    if COMPATIBILITY_FILE not in files:
        return None
    return older_model(files[COMPATIBILITY_FILE].decode("utf-8", "replace"), _matrix(files, where), where)


def _matrix(files: Mapping[str, bytes], where: str) -> NDArray[np.float32] | None:
    if MAP_FILE not in files:
        return None
    try:
        return np.asarray(load_tensors(files[MAP_FILE])["matrix"], dtype=np.float32)
    except (SafetensorError, KeyError) as error:
        raise ModelError(f"{where}: {MAP_FILE} is damaged ({error}). Copy the model again.") from None
