"""Embeddings of an old model mapped into the space of the new one."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.errors import ModelError
from voxanchor.files import write_bytes
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.types import Embeddings, FloatArray

RIDGE = 2e-4
"""Strength of the pull of the map towards leaving embeddings as they are, for each embedding it is fitted on."""


def fit_map(old: Embeddings, new: Embeddings) -> FloatArray:
    """Return the (D, E) map that carries old embeddings to where the new model puts the same recordings.

    Least squares with a ridge: towards the identity where both have one dimension, otherwise towards nothing.

    Args:
        old: (N, D) unit vectors.
        new: (N, E) unit vectors of the same recordings in the same order.

    Raises:
        ValueError: arrays that do not belong together.
    """
    if old.ndim != 2 or new.ndim != 2 or len(old) != len(new) or not len(old):
        raise ValueError(f"expected rows of the same recordings, got {old.shape} and {new.shape}")
    x, y = old.astype(np.float64), new.astype(np.float64)
    rest = np.eye(x.shape[1]) if x.shape[1] == y.shape[1] else np.zeros((x.shape[1], y.shape[1]))
    normal = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
    found: FloatArray = rest + np.linalg.solve(normal, x.T @ (y - x @ rest))
    return found


def carried(old: Embeddings, matrix: FloatArray) -> Embeddings:
    """Return (N, E) float32 unit vectors: `old` (N, D) in the space of the newer model."""
    moved = old.astype(np.float64) @ matrix
    unit: Embeddings = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
    return unit


# What keeps stored voiceprints in use when a model is replaced: a map from the old model's space into the new.

FILE = "enrolment_map.safetensors"
FORMAT = "voxanchor-enrolment-map-1"


@dataclass(frozen=True)
class EnrolmentMap:
    """A linear map of embeddings, and which models it lies between.

    Attributes:
        matrix: (D, E), from the old model's D dimensions to the new one's E.
        old: fingerprint of the model whose embeddings it takes.
        new: of the model whose embeddings the result may be compared with.
    """

    matrix: FloatArray
    old: str
    new: str

    def apply(self, embeddings: Embeddings) -> Embeddings:
        """Return (N, E) float32 unit vectors of (N, D) embeddings by the old model.

        Raises:
            ModelError: embeddings of another dimension, or with values that are not finite.
        """
        if embeddings.ndim != 2 or embeddings.shape[1] != self.matrix.shape[0]:
            wanted = f"(N, {self.matrix.shape[0]})"
            raise ModelError(f"the enrolment map takes embeddings {wanted}, got {embeddings.shape}: of another model?")
        if not np.isfinite(embeddings).all() or not np.linalg.norm(embeddings, axis=1).all():
            raise ModelError("embeddings to be carried must be finite and not 0")
        unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
        return carried(unit.astype(np.float32), self.matrix)

    def save(self, folder: str | Path) -> None:
        """Write the map into the new model's directory."""
        metadata = {"format": FORMAT, "old": self.old, "new": self.new}
        write_bytes(Path(folder) / FILE, save({"matrix": self.matrix.astype(np.float32)}, metadata))

    @classmethod
    def load(cls, folder: str | Path) -> "EnrolmentMap":
        """Return the map in a model directory.

        Raises:
            ModelError: there is none, or the file is damaged.
        """
        path = Path(folder) / FILE
        if not path.is_file():
            raise ModelError(f"{folder}: no {FILE} in it. Models that robustify makes have one.")
        try:
            with safe_open(path, "numpy") as file:
                metadata = file.metadata() or {}
            return cls(load_file(path)["matrix"].astype(np.float64), metadata["old"], metadata["new"])
        except (OSError, SafetensorError, KeyError) as error:
            raise ModelError(f"{path}: damaged ({error}). Copy the model directory again.") from None

    @classmethod
    def between(cls, old: str, new: str, folder: str | Path) -> "EnrolmentMap | None":
        """Return the map from one fingerprint to the other in a folder; None where there is no such map.

        Raises:
            ModelError: the file is damaged.
        """
        if not (Path(folder) / FILE).is_file():
            return None
        found = cls.load(folder)
        return found if (found.old, found.new) == (old, new) else None


class CarriedEncoder(SpeakerEncoder):
    """An old model whose embeddings are carried: what enrolments are once they were upgraded.

    Args:
        encoder: the old model; its network is shared, not copied.
        carrier: a map from it.

    Raises:
        ModelError: the map is from another model.
    """

    matrix: Tensor

    def __init__(self, encoder: SpeakerEncoder, carrier: EnrolmentMap) -> None:
        nn.Module.__init__(self)
        if carrier.old != encoder.fingerprint:
            raise ModelError(f"the enrolment map is from the model {carrier.old}, not from {encoder.fingerprint}")
        self.network = encoder.network
        self.config = dataclasses.replace(encoder.config, embedding_dim=carrier.matrix.shape[1])
        device = next(encoder.parameters()).device
        self.register_buffer("matrix", torch.from_numpy(carrier.matrix).float().to(device))

    def forward(self, waves: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return embeddings (B, E), as `SpeakerEncoder.forward`."""
        embeddings = super().forward(waves, lengths).float()
        with torch.autocast(waves.device.type, enabled=False):
            return F.normalize(embeddings @ self.matrix, dim=1)
