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


def mirrored(x: Tensor, mask: Tensor | None, margin: int) -> Tensor:
    """Return (B, margin + F + margin, C): `x` (B, F, C) with each recording mirrored at its first and its last frame.

    Args:
        x: of more frames than `margin` in each recording.
        mask: (B, F, 1) bool, the first frames of each recording, which are its own; all of them when absent.
        margin: frames before the first, and behind the last. What lies further behind it is of no meaning.
    """
    if mask is None:
        return torch.cat([x[:, 1 : margin + 1].flip(1), x, x[:, -margin - 1 : -1].flip(1)], dim=1)
    batch, total, _ = x.shape
    last = mask.sum(dim=1) - 1
    positions = torch.arange(-margin, total + margin, device=x.device).abs()
    rows = (last - (positions - last).abs()).clamp(min=0)
    rows = rows + total * torch.arange(batch, device=x.device).unsqueeze(1)
    # whole rows of memory: element by element, as torch.gather goes, takes several times as long
    return x.flatten(0, 1).index_select(0, rows.flatten()).view(batch, total + 2 * margin, -1)


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return (B, 1, C), the mean over the frames of `x` (B, F, C) inside `mask` (B, F, 1); over all without a mask."""
    if mask is None:
        return x.mean(dim=1, keepdim=True)
    return apply_mask(x, mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)
