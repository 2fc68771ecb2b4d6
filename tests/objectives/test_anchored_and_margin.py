import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from voxanchor.objectives.anchored import anchor_loss, cosine_distance, frame_loss
from voxanchor.objectives.margin import AAMSoftmax


def unit(rows: int, dim: int, seed: int) -> torch.Tensor:
    return F.normalize(torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, dim))), dim=1)


def head(classes: int = 5, dim: int = 8, scale: float = 30.0) -> AAMSoftmax:
    module = AAMSoftmax(dim, classes, scale).double()
    module.start_at(unit(classes, dim, 3))
    return module


@given(st.integers(0, 10_000), st.floats(0.0, 0.5))
@settings(max_examples=25, deadline=None)
def test_aam_is_cross_entropy_of_the_enlarged_angle(seed: int, margin: float) -> None:
    module, rows = head(), 6
    embeddings, labels = unit(rows, 8, seed), torch.arange(rows) % 5
    angles = torch.arccos((embeddings @ F.normalize(module.centres.detach(), dim=1).T).clamp(-1, 1)).numpy()
    expected = []
    for row, label in enumerate(labels.tolist()):
        logits = 30.0 * np.cos(angles[row])
        angle = angles[row, label]
        shifted = math.cos(angle + margin) if angle + margin < math.pi else math.cos(angle) - margin * math.sin(margin)
        logits[label] = 30.0 * shifted
        expected.append(np.logaddexp.reduce(logits) - logits[label])
    loss, _ = module(embeddings, labels, margin)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-5, abs=1e-6)


def test_aam_gradient_is_finite_at_the_centre_itself() -> None:
    module = head()
    embeddings = F.normalize(module.centres.detach().clone(), dim=1).requires_grad_()
    torch.autograd.backward(module(embeddings, torch.arange(5), 0.2)[0])
    assert embeddings.grad is not None
    assert torch.isfinite(embeddings.grad).all()


def test_margin_makes_the_task_harder() -> None:
    embeddings, labels = unit(6, 8, 0), torch.arange(6) % 5
    assert head()(embeddings, labels, 0.3)[0] > head()(embeddings, labels, 0.0)[0]


def test_a_hit_is_an_embedding_closest_to_its_own_centre() -> None:
    module = head()
    centres = F.normalize(module.centres.detach(), dim=1)
    _, hits = module(centres[[0, 1, 2]], torch.tensor([0, 1, 3]))
    assert hits.tolist() == [True, True, False]


def test_sampling_all_centres_changes_nothing() -> None:
    embeddings, labels = unit(6, 8, 0), torch.arange(6) % 5
    whole, every = head(), head()
    every.sampled = 5
    assert every(embeddings, labels)[0] == whole(embeddings, labels)[0]


@given(st.integers(0, 10_000), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_sampled_centres_are_those_of_the_batch_and_some_others(seed: int, sampled: int) -> None:
    torch.manual_seed(seed)
    module = head(classes=12)
    module.sampled = sampled
    embeddings, labels = unit(4, 8, seed), torch.tensor([3, 11, 3, 0])
    loss, _ = module(embeddings, labels, 0.2)
    torch.autograd.backward(loss)
    assert module.centres.grad is not None
    taken = module.centres.grad.abs().sum(dim=1).nonzero().flatten()
    assert len(taken) == max(sampled, len(labels))
    assert {0, 3, 11} <= set(taken.tolist())
    # the same loss as that of a head that has these centres alone
    small = head(classes=len(taken))
    small.centres.data = module.centres.data[taken]
    expected, _ = small(embeddings, torch.searchsorted(taken, labels), 0.2)
    torch.testing.assert_close(loss, expected)


def test_out_of_training_all_centres_count() -> None:
    embeddings, labels = unit(6, 8, 0), torch.arange(6) % 5
    few, whole = head().eval(), head().eval()
    few.sampled = 2
    assert few(embeddings, labels)[0] == whole(embeddings, labels)[0]


@given(st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_classes_left_out_are_not_compared_with_but_the_own_is(seed: int) -> None:
    embeddings, labels = unit(6, 8, seed), torch.arange(6) % 5
    out = torch.from_numpy(np.random.default_rng(seed).random((6, 5)) < 0.5)
    loss, hits = head()(embeddings, labels, 0.2, lambda chosen: out)
    for row, own in enumerate(labels.tolist()):
        kept = sorted({own} | {k for k in range(5) if not out[row, k]})
        small = head(classes=len(kept))
        small.centres.data = head().centres.data[kept]
        expected, hit = small(embeddings[row : row + 1], torch.tensor([kept.index(own)]), 0.2)
        alone, alone_hit = head()(
            embeddings[row : row + 1], labels[row : row + 1], 0.2, lambda chosen, r=row: out[r : r + 1]
        )
        torch.testing.assert_close(alone, expected)
        assert alone_hit.item() == hit.item() == hits[row].item()
        loss = loss - expected / 6
    assert abs(loss.item()) < 1e-5


def test_labels_of_a_part_of_a_batch_are_sampled_without_a_warning() -> None:
    torch.set_warn_always(True)  # else torch says it once per process, and a test before this one may have heard it
    try:
        module = head(classes=12)
        module.sampled = 6
        labels = torch.tensor([3, 11, 3, 0])
        loss, _ = module(unit(2, 8, 0), labels[::2], 0.2)
        assert torch.isfinite(loss)
    finally:
        torch.set_warn_always(False)


def test_what_is_left_out_is_asked_for_the_classes_that_were_sampled() -> None:
    module, asked = head(classes=12), []
    module.sampled = 6

    def nobody(chosen: torch.Tensor | None) -> torch.Tensor:
        asked.append(chosen)
        return torch.zeros(2, 12 if chosen is None else len(chosen), dtype=torch.bool)

    module(unit(2, 8, 0), torch.tensor([3, 11]), 0.2, nobody)
    module.eval()(unit(2, 8, 0), torch.tensor([3, 11]), 0.2, nobody)
    sampled, every = asked
    assert sampled is not None
    assert len(sampled) == 6
    assert {3, 11} <= set(sampled.tolist())
    assert every is None


def test_centres_can_be_placed_and_are_checked() -> None:
    module = head()
    centres = 7.0 * unit(5, 8, 9)
    module.start_at(centres)
    torch.testing.assert_close(module.centres.detach(), F.normalize(centres, dim=1))
    with pytest.raises(ValueError, match="shape"):
        module.start_at(unit(4, 8, 0))
    with pytest.raises(ValueError, match="finite"):
        module.start_at(torch.full((5, 8), float("nan")))


def test_the_loss_is_the_mean_cosine_distance() -> None:
    embeddings, anchors = unit(7, 16, 1), unit(7, 16, 2)
    cosine = anchor_loss(embeddings, anchors, "cosine")
    assert cosine.item() == pytest.approx(np.mean(1 - np.sum(embeddings.numpy() * anchors.numpy(), axis=1)), rel=1e-9)


def test_anchors_do_not_move() -> None:
    embeddings, anchors = unit(3, 4, 1).requires_grad_(), unit(3, 4, 2).requires_grad_()
    torch.autograd.backward(anchor_loss(embeddings, anchors))
    assert embeddings.grad is not None
    assert anchors.grad is None


def test_one_step_against_the_gradient_comes_closer_to_the_anchor() -> None:
    embeddings, anchors = unit(3, 4, 1).requires_grad_(), unit(3, 4, 2)
    before = anchor_loss(embeddings, anchors)
    torch.autograd.backward(before)
    assert embeddings.grad is not None
    after = anchor_loss(F.normalize(embeddings.detach() - 0.1 * embeddings.grad, dim=1), anchors)
    assert after < before


def test_shapes_must_match() -> None:
    with pytest.raises(ValueError, match="match"):
        anchor_loss(unit(3, 4, 1), unit(2, 4, 1))


@pytest.mark.parametrize("known", [True, False])
def test_info_nce_picks_the_own_anchor_among_those_of_other_speakers(known: bool) -> None:
    embeddings, anchors = unit(6, 8, 1), unit(6, 8, 2)
    labels = [0, 1, 0, 2, 1, 0]
    found = anchor_loss(embeddings, anchors, "info_nce", torch.tensor(labels) if known else None, temperature=0.3)
    cosines = embeddings.numpy() @ anchors.numpy().T / 0.3
    expected = []
    for row in range(6):
        others = [k for k in range(6) if k == row or not known or labels[k] != labels[row]]
        expected.append(np.log(np.exp(cosines[row, others]).sum()) - cosines[row, row])
    assert found.item() == pytest.approx(np.mean(expected), rel=1e-5)


def test_info_nce_leaves_the_anchors_where_they_are() -> None:
    embeddings, anchors = unit(4, 8, 1).requires_grad_(), unit(4, 8, 2).requires_grad_()
    torch.autograd.backward(anchor_loss(embeddings, anchors, "info_nce", torch.tensor([0, 0, 0, 0])))
    assert embeddings.grad is not None
    assert anchors.grad is None


def test_both_sides_of_a_distance_move() -> None:
    one, other = unit(4, 8, 1).requires_grad_(), unit(4, 8, 2).requires_grad_()
    torch.autograd.backward(cosine_distance(one, other))
    assert one.grad is not None
    assert other.grad is not None
    assert cosine_distance(one.detach(), one.detach()).item() == pytest.approx(0, abs=1e-6)


@given(st.integers(0, 1_000), st.floats(0.1, 10.0))
@settings(max_examples=20, deadline=None)
def test_frame_loss_is_a_share_of_the_anchors_energy(seed: int, level: float) -> None:
    draw = np.random.default_rng(seed)
    frames, anchors = (torch.from_numpy(draw.standard_normal((2, 5, 3)) * level) for _ in range(2))
    anchors.requires_grad_()
    frames.requires_grad_()
    loss = frame_loss(frames, anchors)
    with torch.no_grad():
        expected = ((frames - anchors) ** 2).sum() / (anchors**2).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    torch.autograd.backward(loss)
    assert frames.grad is not None
    assert anchors.grad is None
    assert frame_loss(anchors, anchors).item() == 0.0
    assert frame_loss(torch.zeros_like(anchors), anchors).item() == pytest.approx(1.0, rel=1e-5)


def test_frames_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match="must match"):
        frame_loss(torch.zeros(2, 5, 3), torch.zeros(2, 4, 3))
