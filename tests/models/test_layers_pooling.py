import numpy as np
import pytest
import torch

from voxanchor.models.layers import AttentiveStatisticsPooling, apply_mask, frame_mask, masked_mean, mean_and_deviation


def test_frame_mask_and_mean() -> None:
    mask = frame_mask(torch.tensor([1, 3]), 3)
    assert mask.tolist() == [[[True], [False], [False]], [[True], [True], [True]]]
    x = torch.tensor([[[2.0], [torch.nan], [7.0]], [[1.0], [2.0], [6.0]]])
    assert masked_mean(x, mask).flatten().tolist() == [2.0, 3.0]
    assert apply_mask(x, mask)[0].flatten().tolist() == [2.0, 0.0, 0.0]
    assert apply_mask(x, None) is x


def test_no_attention_gives_plain_mean_and_deviation() -> None:
    pooling = AttentiveStatisticsPooling(5, bottleneck=3)
    torch.nn.init.zeros_(pooling.attention.weight)
    x = torch.randn(2, 40, 5, generator=torch.Generator().manual_seed(0))
    pooled = pooling(x).detach().numpy()
    np.testing.assert_allclose(pooled[:, :5], x.numpy().mean(axis=1), atol=1e-6)
    np.testing.assert_allclose(pooled[:, 5:], x.numpy().std(axis=1), atol=1e-5)


def test_agrees_with_the_equations_written_out() -> None:
    pooling = AttentiveStatisticsPooling(4, bottleneck=3)
    x = torch.randn(1, 9, 4, generator=torch.Generator().manual_seed(1))
    state = {name: value.numpy().squeeze() for name, value in pooling.state_dict().items()}
    h = x[0].T.double().numpy()
    mean, deviation = h.mean(axis=1), h.std(axis=1)
    joined = np.concatenate([h, np.tile(np.concatenate([mean, deviation])[:, None], 9)])
    weight = np.concatenate([state["frame.weight"], state["context.weight"]], axis=1)
    hidden = np.tanh(weight @ joined + state["frame.bias"][:, None])
    scores = np.exp(state["attention.weight"] @ hidden + state["attention.bias"][:, None])
    alpha = scores / scores.sum(axis=1, keepdims=True)
    pooled_mean = (alpha * h).sum(axis=1)
    pooled_deviation = np.sqrt((alpha * h**2).sum(axis=1) - pooled_mean**2)
    expected = np.concatenate([pooled_mean, pooled_deviation])
    np.testing.assert_allclose(pooling(x)[0].detach().numpy(), expected, atol=1e-5)


def test_frames_outside_the_mask_do_not_count() -> None:
    pooling = AttentiveStatisticsPooling(6)
    x = torch.randn(3, 20, 6, generator=torch.Generator().manual_seed(2))
    frames = torch.tensor([20, 1, 7])
    pooled = pooling(x, frame_mask(frames, 20))
    for row, count in enumerate(frames.tolist()):
        torch.testing.assert_close(pooled[row], pooling(x[row : row + 1, :count])[0], atol=1e-6, rtol=0)


def test_gradient_is_finite_where_a_channel_never_moves() -> None:
    x = torch.zeros(2, 10, 3, requires_grad=True)
    AttentiveStatisticsPooling(3)(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("global_context", [True, False])
@pytest.mark.parametrize("unbiased_context", [True, False])
@pytest.mark.parametrize("norm", [True, False])
def test_agrees_with_other_toolkits_equations_written_out(
    global_context: bool, unbiased_context: bool, norm: bool
) -> None:
    floor = 1e-7
    pooling = AttentiveStatisticsPooling(4, 3, global_context, norm, floor, unbiased_context).eval()
    draw = torch.Generator().manual_seed(1)
    if pooling.norm is not None:
        for value in (*pooling.norm.parameters(), pooling.norm.running_mean, pooling.norm.running_var):
            assert value is not None
            value.data.copy_(torch.rand(3, generator=draw) + 0.1)
    x = 0.01 * torch.randn(1, 9, 4, generator=draw) + 3.0  # where a difference of squares in float32 loses four digits
    state = {name: value.numpy().squeeze() for name, value in pooling.state_dict().items()}
    h = x[0].T.double().numpy()
    variance = h.var(axis=1, ddof=1) + floor if unbiased_context else h.var(axis=1)
    weight, joined = state["frame.weight"], h
    if global_context:
        weight = np.concatenate([weight, state["context.weight"]], axis=1)
        joined = np.concatenate([h, np.tile(np.concatenate([h.mean(axis=1), np.sqrt(variance)])[:, None], 9)])
    hidden = weight @ joined + state["frame.bias"][:, None]
    if norm:
        scale = state["norm.weight"] / np.sqrt(state["norm.running_var"] + 1e-5)
        hidden = (np.maximum(hidden, 0) - state["norm.running_mean"][:, None]) * scale[:, None]
        hidden += state["norm.bias"][:, None]
    scores = np.exp(state["attention.weight"] @ np.tanh(hidden) + state["attention.bias"][:, None])
    alpha = scores / scores.sum(axis=1, keepdims=True)
    mean = (alpha * h).sum(axis=1)
    expected = np.concatenate([mean, np.sqrt((alpha * (h - mean[:, None]) ** 2).sum(axis=1))])
    np.testing.assert_allclose(pooling(x)[0].detach().numpy(), expected, rtol=1e-5)


def test_a_channel_that_never_moves_has_the_floor_for_its_deviation() -> None:
    x = torch.tensor([0.1, 7.7, 1_000.3]).expand(2, 301, 3)
    for unbiased in (False, True):
        pooling = AttentiveStatisticsPooling(3, 2, variance_floor=1e-12, unbiased_context=unbiased)
        torch.testing.assert_close(pooling(x)[:, 3:], torch.full((2, 3), 1e-6), rtol=0.1, atol=0)
        assert pooling(x)[0, :3].tolist() == pytest.approx([0.1, 7.7, 1_000.3], rel=1e-6)


def test_mean_and_unbiased_deviation_are_those_of_the_frames_that_count() -> None:
    x = 0.01 * torch.randn(3, 20, 5, generator=torch.Generator().manual_seed(0)) + 3.0
    frames = [20, 2, 7]
    mask = frame_mask(torch.tensor(frames), 20)
    wild = torch.where(mask, x, 1e4)
    pooled = mean_and_deviation(wild, mask, 1e-7).numpy()
    for row, count in enumerate(frames):
        own = x[row, :count].double().numpy()
        expected = np.concatenate([own.mean(axis=0), np.sqrt(own.var(axis=0, ddof=1) + 1e-7)])
        np.testing.assert_allclose(pooled[row], expected, rtol=1e-5)
    torch.testing.assert_close(mean_and_deviation(x, None), torch.cat([x.mean(dim=1), x.std(dim=1)], dim=1))


def test_the_gradient_of_a_deviation_is_finite_where_a_channel_never_moves() -> None:
    x = torch.full((2, 10, 3), 0.3, requires_grad=True)
    pooled = mean_and_deviation(x, None)
    assert pooled[:, 3:].max() <= 1e-6
    (gradient,) = torch.autograd.grad(pooled.sum(), x)
    assert torch.isfinite(gradient).all()


def test_deviations_are_taken_in_float32() -> None:
    x = (5.0 + 0.05 * torch.randn(2, 200, 4, generator=torch.Generator().manual_seed(0))).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        pooled = mean_and_deviation(x, None)
    torch.testing.assert_close(pooled[:, 4:], x.float().std(dim=1), rtol=1e-4, atol=1e-6)
