"""A compiled network trains as the plain one does, and a machine without a compiler trains all the same."""

import shutil
from collections.abc import Callable

import pytest
import torch

from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.training.loop import compile_network, uncompiled


def encoder() -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1)


def test_without_a_compiler_the_network_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_function: object) -> object:
        raise RuntimeError("no C++ compiler found")

    monkeypatch.setattr("torch.compile", fail)
    plain, other = encoder().eval(), encoder().eval()
    assert not compile_network(other.network)
    assert "no C++ compiler found" in capsys.readouterr().err
    waves = torch.randn(2, 8_000)
    assert torch.equal(other(waves), plain(waves))


def test_compiling_is_tried_on_the_device_that_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[torch.device] = []

    def same(_function: object) -> Callable[[torch.Tensor], None]:
        return lambda given: tried.append(given.device)

    monkeypatch.setattr("torch.compile", same)
    # a device that every machine has, and that is not the processor
    monkeypatch.setattr("voxanchor.training.loop.best_device", lambda: torch.device("meta"))
    network = torch.nn.Identity()
    monkeypatch.setattr(network, "compile", lambda **_settings: None)
    assert compile_network(network)
    assert tried == [torch.device("meta")]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="no compiler on this machine")
@pytest.mark.filterwarnings("default")
def test_a_compiled_network_gives_the_same_losses_and_gradients() -> None:
    torch.manual_seed(0)
    waves = 0.1 * torch.randn(4, 8_000)
    plain, other = encoder().train(), encoder().train()
    assert compile_network(other.network)
    assert list(other.state_dict()) == list(plain.state_dict())
    target = torch.nn.functional.normalize(torch.randn(4, 16), dim=1)
    losses = []
    for model in (plain, other):
        loss = (1 - (model(waves) * target).sum(dim=1)).mean()
        loss.backward()
        losses.append(loss.detach())
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-4, atol=1e-5)
    for one, two in zip(plain.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-2, atol=1e-4)
    # a length it has not seen compiles nothing, and gives what the plain network gives
    longer = torch.randn(2, 12_345)
    with uncompiled():
        found = float(other.eval()(longer).detach().sum())
    copied = encoder().eval()
    copied.load_state_dict(other.state_dict())
    assert found == pytest.approx(float(copied(longer).detach().sum()), abs=1e-6)
