"""voxanchor makes speaker-verification models robust to noise without breaking what they already do.

The public names are loaded on first use, so that importing the package costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from voxanchor.errors import VoxanchorError as VoxanchorError
    from voxanchor.verification.verifier import Verification as Verification
    from voxanchor.verification.verifier import Verifier as Verifier
    from voxanchor.verification.verifier import load as load

__version__ = "0.1.0"
__all__ = ["Verification", "Verifier", "VoxanchorError", "__version__", "load"]

_HOMES = {
    "Verification": "voxanchor.verification.verifier",
    "Verifier": "voxanchor.verification.verifier",
    "VoxanchorError": "voxanchor.errors",
    "load": "voxanchor.verification.verifier",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'voxanchor' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
