"""Which frames of a padded batch are a recording's own, and means over those alone."""

import torch
from torch import Tensor


def frame_mask(frames: Tensor, total: int) -> Tensor:
    """Return (B, 1, total) bool, true on the first `frames` (B,) frames of each recording."""
    positions = torch.arange(total, device=frames.device)
    return (positions < frames.unsqueeze(1)).unsqueeze(1)


def apply_mask(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return `x` (B, C, F) with the frames outside `mask` (B, 1, F) set to 0; `x` itself without a mask."""
    return x if mask is None else x.masked_fill(~mask, 0.0)


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return (B, C, 1), the mean over the frames of `x` (B, C, F) inside `mask` (B, 1, F); over all without a mask."""
    if mask is None:
        return x.mean(dim=2, keepdim=True)
    return apply_mask(x, mask).sum(dim=2, keepdim=True) / mask.sum(dim=2, keepdim=True)
