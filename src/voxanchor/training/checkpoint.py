"""The complete state of a stage between two steps, written atomically, so that a killed run resumes bit for bit."""

from pathlib import Path
from typing import Any

import torch

from voxanchor.errors import TrainingError
from voxanchor.files import replacing

FORMAT = 2


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and plain values to `path`; a reader finds the old state or the whole new one.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save({"format": FORMAT, **state}, file)
        except RuntimeError as error:
            # of a full disk torch says that a position was unexpected; what the file said comes before that
            raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def load_state(path: Path) -> dict[str, Any] | None:
    """Return the state at `path`, or None when there is none yet. Data only: nothing is unpickled into code.

    Raises:
        TrainingError: a file that is not a state of this version.
    """
    if not path.exists():
        return None
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise TrainingError(f"{path}: not a resume state ({error}). Remove it to start the stage again.") from None
    if state.get("format") != FORMAT:
        raise TrainingError(f"{path}: written by another version. Remove it to start the stage again.")
    return state
