"""ECAPA-TDNN of WeSpeaker."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from voxanchor.errors import ModelError
from voxanchor.models.encoder import EncoderConfig


def convert(name: str, args: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[EncoderConfig, dict[str, Tensor]]:
    """Return what our encoder is made of, and its network's weights.

    Raises:
        ModelError: always.
    """
    raise ModelError(f"wespeaker {name}: not here yet ({len(args)} options, {len(state)} tensors)")
