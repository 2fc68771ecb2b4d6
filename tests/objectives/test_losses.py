"""Losses of the user's own: what they may be, what they are given, and what is refused."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from voxanchor.errors import RecipeError
from voxanchor.objectives.losses import LOSSES, register_loss
from voxanchor.training.stage import Classification, Train


@pytest.fixture(autouse=True)
def _own() -> Iterator[None]:
    """What a test registers is forgotten after it."""
    kept = dict(LOSSES._entries), dict(LOSSES._sources)
    yield
    LOSSES._entries, LOSSES._sources = kept


def pull(embeddings: Tensor, targets: Tensor, power: int, scale: float = 1.0) -> Tensor:
    distances: Tensor = torch.linalg.vector_norm(embeddings - targets, dim=1)
    return scale * distances.pow(power).mean()


class Proxies(nn.Module):
    """As many rows as speakers, learnt with the network."""

    def __init__(self, embedding_dim: int, classes: int, scale: float = 2.0) -> None:
        super().__init__()
        self.rows, self.scale = nn.Parameter(torch.ones(classes, embedding_dim)), scale

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        return self.scale * (embeddings - self.rows[labels]).square().mean()


def stage(losses: dict[str, Any], **changes: Any) -> Train:
    return Train(start="ge2e", steps=1, losses=losses, **changes)


def test_a_function_gets_what_it_names_and_its_options_in_their_types() -> None:
    register_loss("pull")(pull)
    train = stage({"pull": {"weight": "5e-1", "power": "2", "scale": 3}}, anchors="anchors")
    weight, options = train.loss_options("pull")
    assert (weight, options) == (0.5, {"power": 2, "scale": 3.0})
    term = LOSSES.require("pull").make(options, {"embedding_dim": 4, "classes": 3})
    embeddings, targets = torch.randn(5, 4), torch.randn(5, 4)
    expected = 3.0 * (embeddings - targets).square().sum(dim=1).mean()
    torch.testing.assert_close(term(embeddings, targets, torch.zeros(5, dtype=torch.int64)), expected)
    assert not list(term.parameters())


def test_a_module_is_made_of_its_sizes_and_its_parameters_are_trained() -> None:
    register_loss("proxies")(Proxies)
    term = LOSSES.require("proxies").make({"scale": 4.0}, {"embedding_dim": 4, "classes": 3})
    assert [tuple(parameter.shape) for parameter in term.parameters()] == [(3, 4)]
    torch.autograd.backward(term(torch.zeros(2, 4), None, torch.tensor([0, 2])))
    found = next(term.parameters()).grad
    assert found is not None
    assert found.any(dim=1).tolist() == [True, False, True]


def test_a_loss_of_labels_needs_labels_and_one_alone_is_enough_to_train_by() -> None:
    register_loss("proxies")(Proxies)
    register_loss("pull")(pull)
    nothing = Classification(weight=0)
    assert stage({"proxies": {}}, classification=nothing).labelled
    assert not stage({"pull": {"power": 1}}, classification=nothing, anchors="a").labelled
    with pytest.raises(RecipeError, match="nothing to learn"):
        stage({"proxies": {"weight": 0}}, classification=nothing)


@pytest.mark.parametrize(
    ("losses", "message"),
    [
        ({"pul": {}}, "loss 'pul' is not known here. Did you mean 'pull'"),
        ({"pull": {"powr": 1}}, "losses.pull: unknown key 'powr'. Did you mean 'power'"),
        ({"pull": {"targets": 1, "power": 1}}, "losses.pull: unknown key 'targets'"),
        ({"pull": {"scale": 1}}, "losses.pull: missing key power"),
        ({"pull": {"power": "two"}}, "losses.pull.power: expected int"),
        ({"pull": {"power": 2, "weight": -1}}, "losses.pull.weight must not be negative"),
        ({"pull": {"power": 2, "weight": "much"}}, "losses.pull.weight: expected float"),
    ],
)
def test_recipes_that_misname_or_misuse_one_are_refused(losses: dict[str, Any], message: str) -> None:
    register_loss("pull")(pull)
    with pytest.raises(RecipeError, match=message):
        stage(losses, anchors="anchors")


def test_a_loss_of_anchors_needs_a_stage_of_anchors() -> None:
    register_loss("pull")(pull)
    with pytest.raises(RecipeError, match=r"losses.pull takes the anchors as targets"):
        stage({"pull": {"power": 2}})


@pytest.mark.parametrize(
    ("name", "source", "message"),
    [
        ("aam", pull, "voxanchor's own"),
        ("My loss", pull, "lower-case"),
        ("1st", pull, "lower-case"),
        ("blind", lambda labels: labels.sum(), "parameter called 'embeddings'"),
        ("plain", object, "must be a torch.nn.Module"),
    ],
)
def test_what_cannot_be_registered(name: str, source: Callable[..., Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        register_loss(name)(source)


def test_a_name_is_taken_once_but_the_same_may_be_defined_anew() -> None:
    register_loss("pull")(pull)
    register_loss("pull")(pull)
    with pytest.raises(ValueError, match=r"pull registered it already"):
        register_loss("pull")(lambda embeddings: embeddings.sum())


@pytest.mark.parametrize(("given", "message"), [(torch.ones(3), r"shape \(3,\)"), (1.0, "gave float")])
def test_a_loss_that_is_no_number_is_refused(given: Any, message: str) -> None:
    register_loss("wrong")(lambda embeddings: given)
    term = LOSSES.require("wrong").make({}, {})
    with pytest.raises(RecipeError, match=message):
        term(torch.ones(2, 2), None, torch.zeros(2, dtype=torch.int64))
