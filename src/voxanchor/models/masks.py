"""Which frames of a padded batch are a recording's own, and means over those alone. Frames lie before channels."""

import torch
from torch import Tensor


def frame_mask(frames: Tensor, total: int) -> Tensor:
    """Return (B, total, 1) bool, true on the first `frames` (B,) frames of each recording."""
    positions = torch.arange(total, device=frames.device)
    return (positions < frames.unsqueeze(1)).unsqueeze(2)


def apply_mask(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return `x` (B, F, C) with the frames outside `mask` (B, F, 1) set to 0; `x` itself without a mask."""
    return x if mask is None else x.masked_fill(~mask, 0.0)


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return (B, 1, C), the mean over the frames of `x` (B, F, C) inside `mask` (B, F, 1); over all without a mask."""
    if mask is None:
        return x.mean(dim=1, keepdim=True)
    return apply_mask(x, mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
