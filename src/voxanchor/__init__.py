"""voxanchor makes speaker-verification models robust to noise without breaking what they already do.

The public names are loaded on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxanchor.errors import VoxanchorError
    from voxanchor.verification.loading import load
    from voxanchor.verification.result import Enrolled, Identification, Verification
    from voxanchor.verification.verifier import Verifier

__version__ = "0.1.0"
__all__ = ["Enrolled", "Identification", "Verification", "Verifier", "VoxanchorError", "__version__", "load"]

_HOMES = {
    "Enrolled": "voxanchor.verification.result",
    "Identification": "voxanchor.verification.result",
    "Verification": "voxanchor.verification.result",
    "Verifier": "voxanchor.verification.verifier",
    "VoxanchorError": "voxanchor.errors",
    "load": "voxanchor.verification.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'voxanchor' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
