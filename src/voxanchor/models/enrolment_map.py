"""What keeps stored voiceprints in use when a model is replaced: a map from the old model's space into the new."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from voxanchor.errors import ModelError
from voxanchor.files import write_bytes
from voxanchor.scoring.carry import carried
from voxanchor.types import Embeddings, FloatArray

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
