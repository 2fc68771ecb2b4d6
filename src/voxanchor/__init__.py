"""voxanchor makes speaker-verification models robust to noise without breaking what they already do.

The public names are loaded on first use, so that importing the package costs nothing:

* jobs: `robustify`, `evaluate`, `compare`, `train`, as the commands of these names;
* a model in use: `load`, and the `Verifier` that it gives;
* the method: `AAMSoftmax`, `anchor_loss`, `frame_loss`;
* noise: `mix`, `Condition`, `NoiseBank`, `noise_bank`;
* additions of your own: `register_loss`, `register_backbone` with `Backbone` and `FbankConfig`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxanchor.audio.snr import mix
    from voxanchor.conditions.bank import NoiseBank, noise_bank
    from voxanchor.conditions.spec import Condition
    from voxanchor.errors import VoxanchorError
    from voxanchor.models.backbone import Backbone
    from voxanchor.models.encoder import register_backbone
    from voxanchor.models.frontend import FbankConfig
    from voxanchor.objectives.anchored import anchor_loss, frame_loss
    from voxanchor.objectives.losses import register_loss
    from voxanchor.objectives.margin import AAMSoftmax
    from voxanchor.verification.loading import load
    from voxanchor.verification.result import Enrolled, Identification, Verification
    from voxanchor.verification.verifier import Verifier
    from voxanchor.workflows.api import compare, evaluate, robustify, train

__version__ = "0.1.0"
__all__ = [
    "AAMSoftmax",
    "Backbone",
    "Condition",
    "Enrolled",
    "FbankConfig",
    "Identification",
    "NoiseBank",
    "Verification",
    "Verifier",
    "VoxanchorError",
    "__version__",
    "anchor_loss",
    "compare",
    "evaluate",
    "frame_loss",
    "load",
    "mix",
    "noise_bank",
    "register_backbone",
    "register_loss",
    "robustify",
    "train",
]

_HOMES = {
    "AAMSoftmax": "voxanchor.objectives.margin",
    "Backbone": "voxanchor.models.backbone",
    "Condition": "voxanchor.conditions.spec",
    "Enrolled": "voxanchor.verification.result",
    "FbankConfig": "voxanchor.models.frontend",
    "Identification": "voxanchor.verification.result",
    "NoiseBank": "voxanchor.conditions.bank",
    "Verification": "voxanchor.verification.result",
    "Verifier": "voxanchor.verification.verifier",
    "VoxanchorError": "voxanchor.errors",
    "anchor_loss": "voxanchor.objectives.anchored",
    "compare": "voxanchor.workflows.api",
    "evaluate": "voxanchor.workflows.api",
    "frame_loss": "voxanchor.objectives.anchored",
    "load": "voxanchor.verification.loading",
    "mix": "voxanchor.audio.snr",
    "noise_bank": "voxanchor.conditions.bank",
    "register_backbone": "voxanchor.models.encoder",
    "register_loss": "voxanchor.objectives.losses",
    "robustify": "voxanchor.workflows.api",
    "train": "voxanchor.workflows.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'voxanchor' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
