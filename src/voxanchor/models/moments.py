"""Means over a recording's frames, plain or weighted by a softmax, in ways that a processor is fast at.

Written with torch's own operations, every product of the pooling goes through memory as a tensor of the size of the
widest layer in float32, forward and backward, which takes as long as all matrix products of the network in bfloat16.
Here frames are worked through in pieces that fit a core's cache, their gradients are those of the equations, and of the
tensors only the two inputs are kept for them.

Everywhere frames outside the mask count nothing, whatever finite numbers they hold.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from voxanchor.models.tracing import is_exporting

_PIECE_ELEMENTS = 2**17
"""Elements worked on at once on a processor: half a megabyte in float32, of which a few must fit a core's cache."""


def frame_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return (B, 1, C), the mean over the frames of `x` (B, F, C) inside `mask` (B, F, 1), in the precision of `x`.

    Summed by a product with ones, which adds rows of memory as they come; torch's own sum takes up to five times as
    long in bfloat16, onnxruntime's in float32.
    """
    if mask is None:
        return _ones(x) @ x / x.shape[1]
    return mask.transpose(1, 2).to(x.dtype) @ x / mask.sum(dim=1, keepdim=True)


def plain_moments(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the means of `x` and of its square over the frames, each (B, 1, C) float32.

    Args:
        x: (B, F, C), in any precision; sums are taken in float32.
        mask: (B, F, 1) bool, the frames that count; all of them when absent.
    """
    if _written_out():
        x32 = x.float()
        return frame_mean(x32, mask), frame_mean(x32 * x32, mask)
    first, second = _Plain.apply(x, mask)  # type: ignore[no-untyped-call]
    return first, second


def attended_moments(x: Tensor, scores: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the means of `x` and of its square, weighted by the softmax of `scores` over the frames.

    Args:
        x: (B, F, C), in any precision; sums are taken in float32.
        scores: (B, F, C).
        mask: (B, F, 1) bool, the frames that count; all of them when absent.

    Returns:
        two of (B, 1, C) float32.
    """
    if _written_out():
        weighted = x.float() * _inside(scores, mask).softmax(dim=1)
        return _ones(weighted) @ weighted, _ones(weighted) @ (weighted * x.float())
    first, second = _Attended.apply(x, scores, mask)  # type: ignore[no-untyped-call]
    return first, second


def _written_out() -> bool:
    """Return whether what is asked for is a program, in whose operations nothing of the below could stand."""
    return is_exporting() or torch.compiler.is_compiling()


class _Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, mask)
        first = x.new_empty(len(x), 1, x.shape[2], dtype=torch.float32)
        second = torch.empty_like(first)
        for rows in _pieces(x):
            x32 = x[rows].float()
            part = None if mask is None else mask[rows]
            first[rows], second[rows] = frame_mean(x32, part), frame_mean(x32 * x32, part)
        return first, second

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, mask = ctx.saved_tensors
        frames = x.shape[1] if mask is None else mask.sum(dim=1, keepdim=True)
        of_first, of_second = gradients[0] / frames, 2.0 * gradients[1] / frames
        of_x = torch.empty_like(x)
        for rows in _pieces(x):
            made = torch.addcmul(of_first[rows], x[rows].float(), of_second[rows])
            of_x[rows] = made if mask is None else made.masked_fill_(~mask[rows], 0.0)
        return of_x, None


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scores: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        first = x.new_empty(len(x), 1, x.shape[2], dtype=torch.float32)
        second, logarithm = torch.empty_like(first), torch.empty_like(first)
        for rows in _pieces(x):
            x32, inside = x[rows].float(), _inside(scores[rows], None if mask is None else mask[rows])
            ones, peak = _ones(x32), inside.amax(dim=1, keepdim=True)
            weights = (inside - peak).exp_()
            total = ones @ weights
            weighted = weights.mul_(x32)
            first[rows] = ones @ weighted / total
            second[rows] = ones @ weighted.mul_(x32) / total
            logarithm[rows] = total.log_().add_(peak)
        ctx.save_for_backward(x, scores, mask, first, second, logarithm)
        return first, second

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # With weights w, first = sum(w x), second = sum(w x^2) and gradients a and b of them:
        #   of x: w (a + 2 b x);  of the scores: w (a x + b x^2 - (a first + b second)).
        x, scores, mask, first, second, logarithm = ctx.saved_tensors
        a, b = gradients
        middle = a * first + b * second
        of_x, of_scores = torch.empty_like(x), torch.empty_like(scores)
        for rows in _pieces(x):
            inside = _inside(scores[rows], None if mask is None else mask[rows])
            weights = (inside - logarithm[rows]).exp_()
            x32 = x[rows].float()
            slope = torch.addcmul(a[rows], x32, b[rows])
            of_scores[rows] = (slope * x32).sub_(middle[rows]).mul_(weights)
            of_x[rows] = slope.addcmul_(x32, b[rows]).mul_(weights)
        return of_x, of_scores, None


def _ones(x: Tensor) -> Tensor:
    """Return (B, 1, F), whose product with `x` (B, F, C) is the sum over the frames."""
    return x.new_ones(1, 1, 1).expand(x.shape[0], 1, x.shape[1])


def _inside(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Return scores in float32, with minus infinity where frames do not count."""
    return scores.float() if mask is None else scores.float().masked_fill(~mask, -torch.inf)


def _pieces(x: Tensor) -> Iterator[slice]:
    size = len(x) if x.device.type != "cpu" else max(1, _PIECE_ELEMENTS // (x.shape[1] * x.shape[2]))
    for start in range(0, len(x), size):
        yield slice(start, start + size)
