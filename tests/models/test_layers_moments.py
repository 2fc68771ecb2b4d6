"""The pieces and their gradients beside the same moments written out."""

from typing import Any

import pytest
import torch

from voxanchor.models import layers
from voxanchor.models.layers import attended_moments, frame_mask, frame_mean, plain_moments

FRAMES = torch.tensor([20, 1, 7])


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def mask_of(masked: bool) -> torch.Tensor | None:
    return frame_mask(FRAMES, 20) if masked else None


@pytest.fixture(params=[1, 60, 10**6], ids=["row by row", "some rows", "at once"])
def pieces(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_PIECE_ELEMENTS", request.param * 2)


def written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_written_out", lambda: True)


@pytest.mark.usefixtures("pieces")
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_agree_with_the_same_written_out(masked: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    # bfloat16 rounds the gradients, which are returned in the precision of the inputs
    tolerance: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5} if dtype is torch.float32 else {"rtol": 2e-2, "atol": 2e-3}
    x, scores = (noise(3, 20, 6, seed=seed).to(dtype).requires_grad_() for seed in (1, 2))
    results = []
    for slow in (False, True):
        if slow:
            written_out(monkeypatch)
        values = (*plain_moments(x, mask_of(masked)), *attended_moments(x, scores, mask_of(masked)))
        weights = noise(len(values), 3, 1, 6, seed=3)
        total = sum(((value * weight).sum() for value, weight in zip(values, weights, strict=True)), torch.zeros(()))
        results.append((values, torch.autograd.grad(total, [x, scores])))
    for fast, slow_value in zip(results[0][0], results[1][0], strict=True):
        assert fast.dtype == torch.float32
        torch.testing.assert_close(fast, slow_value, rtol=1e-5, atol=1e-6)
    for fast, slow_value in zip(results[0][1], results[1][1], strict=True):
        assert fast.dtype == dtype
        torch.testing.assert_close(fast, slow_value, **tolerance)


@pytest.mark.parametrize("slow", [False, True])
def test_what_lies_outside_the_mask_does_not_count(slow: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if slow:
        written_out(monkeypatch)
    mask = frame_mask(FRAMES, 20)
    x, scores = noise(3, 20, 6, seed=6), noise(3, 20, 6, seed=7)
    expected = (*plain_moments(x, mask), *attended_moments(x, scores, mask))
    x, scores = (part.masked_fill(~mask, 1e6) for part in (x, scores))
    for value, other in zip((*plain_moments(x, mask), *attended_moments(x, scores, mask)), expected, strict=True):
        assert torch.equal(value, other)
    for row, count in enumerate(FRAMES.tolist()):
        torch.testing.assert_close(frame_mean(x, mask)[row, 0], x[row, :count].mean(dim=0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_mean_of_many_frames(dtype: torch.dtype) -> None:
    x = (noise(2, 1_001, 6) + 1).to(dtype)
    assert frame_mean(x, None).dtype == dtype
    torch.testing.assert_close(frame_mean(x, None), x.float().mean(dim=1, keepdim=True).to(dtype))


def test_scores_far_from_zero_do_not_overflow() -> None:
    x, scores = noise(2, 30, 4, seed=8), noise(2, 30, 4, seed=9)
    for one, other in zip(attended_moments(x, scores + 500.0, None), attended_moments(x, scores, None), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)
