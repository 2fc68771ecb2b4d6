"""Voiceprints of other models: of the one that this one replaced, and of the same in another precision."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxanchor.errors import ModelError
from voxanchor.types import Embeddings

COMPATIBILITY_FILE = "compatibility.json"
MAP_FILE = "enrolment_map.safetensors"

USABLE = ("keep", "new threshold", "upgrade")
"""Decisions of `voxanchor compatibility` with which old voiceprints stay in use."""

VARIANT = "variant"


@dataclass(frozen=True)
class OlderModel:
    """A model whose voiceprints the present one may be compared with, by its own statement.

    Attributes:
        fingerprint: of the older model.
        matrix: (D, E) map of its voiceprints into the present model's space; None where they are used as they are.
        decision: what `voxanchor compatibility` found; or that it is the same model, exported in another precision.
    """

    fingerprint: str
    matrix: NDArray[np.float32] | None
    decision: str

    def carried(self, embeddings: Embeddings) -> Embeddings:
        """Return (N, E) unit vectors of (N, D) voiceprints by the older model."""
        if self.matrix is None:
            return embeddings
        moved = embeddings @ self.matrix
        return np.asarray(moved / np.linalg.norm(moved, axis=1, keepdims=True), dtype=np.float32)

    @property
    def warning(self) -> str:
        """What to know when such a voiceprint decides; empty where there is nothing."""
        if self.decision == VARIANT:
            return ""
        return (
            f"the voiceprint was made by the model that this one replaced ({self.fingerprint}); the calibration is for "
            "voiceprints of this one. Enrol again where you can, or see the model's compatibility.md"
        )


def variant(fingerprint: str, of: str) -> OlderModel | None:
    """Return a model as the present one in another precision, or None where it is not.

    `voxanchor export` puts the precision behind the model's fingerprint, and keeps a file only where its embeddings are
    near the model's (docs/export.md), so that voiceprints of the two may be compared.

    Args:
        fingerprint: of the model.
        of: of the present one.
    """
    same = fingerprint != of and fingerprint.partition("-")[0] == of.partition("-")[0]
    return OlderModel(fingerprint, None, VARIANT) if same else None


def older_model(report: str, matrix: NDArray[np.float32] | None, where: str) -> OlderModel | None:
    """Return the older model that a compatibility report names, or None where it says to enrol again.

    Args:
        report: content of ``compatibility.json``.
        matrix: of the enrolment map that lies beside it, if one does.
        where: its place, for messages.

    Raises:
        ModelError: not such a report.
    """
    try:
        values: Mapping[str, Any] = json.loads(report)
        fingerprint, decision = str(values["old"]["fingerprint"]), str(values["verdict"]["decision"])
    except (ValueError, KeyError, TypeError):
        raise ModelError(f"{where}: not a report of voxanchor compatibility. Copy the model directory again.") from None
    return OlderModel(fingerprint, matrix, decision) if decision in USABLE else None
