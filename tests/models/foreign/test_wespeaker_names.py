"""WeSpeaker's ECAPA-TDNN beside what its own code computed from the same weights (see the golden README)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import Tensor

from voxanchor.errors import ModelError
from voxanchor.models import registry
from voxanchor.models.ecapa import Ecapa
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.foreign.checkpoint import read_checkpoint
from voxanchor.models.foreign.wespeaker import convert

Expected = Callable[[str], dict[str, Tensor]]

NAMES = ("wespeaker-ecapa_tdnn", "wespeaker-ecapa_tdnn_glob")
CASES = ("1.3s", "3.0s")
SMALL: dict[str, Any] = {"channels": 16, "feat_dim": 40, "embed_dim": 12, "pooling_func": "ASTP", "emb_bn": True}

both = pytest.mark.parametrize("name", NAMES)


def small_state(
    channels: int = 16, feat_dim: int = 40, embed_dim: int = 12, glob: bool = False, emb_bn: bool = True
) -> dict[str, Tensor]:
    """The weights of a network by the names that WeSpeaker gives them."""
    state: dict[str, Tensor] = {}

    def layer(name: str, *shape: int) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = 0.1 * torch.randn(*shape), torch.randn(shape[0])

    def norm(name: str, width: int) -> None:
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.{leaf}"] = torch.rand(width) + 0.1
        state[f"{name}.num_batches_tracked"] = torch.tensor(7.0)

    layer("layer1.conv", channels, feat_dim, 5)
    norm("layer1.bn", channels)
    for i in (2, 3, 4):
        for j in (0, 2):
            layer(f"layer{i}.se_res2block.{j}.conv", channels, channels, 1)
            norm(f"layer{i}.se_res2block.{j}.bn", channels)
        for j in range(7):
            layer(f"layer{i}.se_res2block.1.convs.{j}", channels // 8, channels // 8, 3)
            norm(f"layer{i}.se_res2block.1.bns.{j}", channels // 8)
        layer(f"layer{i}.se_res2block.3.linear1", 128, channels)
        layer(f"layer{i}.se_res2block.3.linear2", channels, 128)
    layer("conv", 1_536, 3 * channels, 1)
    layer("pool.linear1", 128, 1_536 * (3 if glob else 1), 1)
    layer("pool.linear2", 1_536, 128, 1)
    norm("bn", 3_072)
    layer("linear", embed_dim, 3_072)
    if emb_bn:
        norm("bn2", embed_dim)
    return state


def made(name: str, args: dict[str, Any], state: dict[str, Tensor]) -> SpeakerEncoder:
    config, ours = convert(name, args, state)
    encoder = SpeakerEncoder(config)
    encoder.network.load_state_dict(ours)
    return encoder.eval()


@pytest.fixture(scope="module")
def encoders(golden: Path) -> dict[str, SpeakerEncoder]:
    result = {}
    for name in NAMES:
        settings = yaml.safe_load((golden / name / "config.yaml").read_text())
        state = read_checkpoint(golden / name / "avg_model.pt")
        result[name] = made(settings["model"], settings["model_args"], state)
    return result


def network_of(encoder: SpeakerEncoder) -> Ecapa:
    assert isinstance(encoder.network, Ecapa)
    return encoder.network


@both
def test_features_are_those_of_wespeaker(
    encoders: dict[str, SpeakerEncoder], inputs: dict[str, Tensor], expected: Expected, name: str
) -> None:
    known = expected(name)
    for case in CASES:
        features, frames = network_of(encoders[name]).fbank(inputs[f"wav.{case}"][None])
        assert frames.tolist() == [int(known[f"num_frames.{case}"])]
        torch.testing.assert_close(features[0, :20], known[f"feat20.{case}"], atol=5e-3, rtol=0)


@both
def test_embeddings_are_those_of_wespeaker(
    encoders: dict[str, SpeakerEncoder], inputs: dict[str, Tensor], expected: Expected, name: str
) -> None:
    known, network = expected(name), network_of(encoders[name])
    with torch.no_grad():
        found = network.encode(inputs["feat.ref"][None])[0][0]
        torch.testing.assert_close(found, known["emb.feat_ref"], atol=5e-5, rtol=0)
        for case in CASES:
            found = network(inputs[f"wav.{case}"][None])[0]
            # closer than fbanks differ at worst: a biased variance in place of the unbiased one makes 2.8e-4
            torch.testing.assert_close(found, known[f"emb.{case}"], atol=1e-4, rtol=0)


@both
def test_what_no_output_depends_on_is_read_too(golden: Path, encoders: dict[str, SpeakerEncoder], name: str) -> None:
    theirs = read_checkpoint(golden / name / "avg_model.pt")
    ours = encoders[name].network.state_dict()
    assert torch.equal(ours["pooling.attention.bias"], theirs["pool.linear2.bias"])
    assert sum(value.numel() for value in ours.values()) == sum(value.numel() for value in theirs.values())
    counts = {int(value) for key, value in theirs.items() if key.endswith("num_batches_tracked")}
    assert {int(value) for key, value in ours.items() if key.endswith("num_batches_tracked")} == counts


@both
def test_a_padded_batch_changes_nothing(
    encoders: dict[str, SpeakerEncoder], inputs: dict[str, Tensor], name: str
) -> None:
    network = encoders[name].network
    waves, lengths = torch.full((3, 48_000), torch.nan), torch.tensor([48_000, 20_800, 4_801])
    for row, wave, length in zip(waves, (inputs["wav.3.0s"], *[inputs["wav.1.3s"]] * 2), lengths, strict=True):
        row[:length] = wave[:length]
    waves[2, 4_801:] = 1e3 * torch.randn(43_199)
    with torch.no_grad():
        together = network(waves, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = network(waves[row : row + 1, :length])[0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-5)


@both
def test_it_becomes_a_model_directory_like_any_other(
    encoders: dict[str, SpeakerEncoder], inputs: dict[str, Tensor], tmp_path: Path, name: str
) -> None:
    encoders[name].save(tmp_path)
    loaded = registry.load(tmp_path)
    assert loaded.fingerprint == encoders[name].fingerprint
    wave = inputs["wav.1.3s"][None]
    assert torch.equal(loaded(wave), encoders[name](wave))


@both
def test_it_can_be_trained(encoders: dict[str, SpeakerEncoder], name: str) -> None:
    tuned = encoders[name].copy().train()
    (tuned(0.1 * torch.randn(4, 16_000)) * torch.randn(4, 192)).sum().backward()
    missing = [key for key, weight in tuned.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A bias just before a normalisation that removes the mean has a gradient of 0 up to rounding.
    assert [key for key in missing if not key.endswith("bias")] == []
    assert all(torch.isfinite(weight.grad).all() for weight in tuned.parameters() if weight.grad is not None)


@pytest.mark.slow
@both
def test_it_can_be_exported(
    encoders: dict[str, SpeakerEncoder], tmp_path: Path, voice: Callable[..., np.ndarray], name: str
) -> None:
    from voxanchor.export.onnx import export
    from voxanchor.models.exported import ExportedEncoder

    assert export(encoders[name], tmp_path / "m.onnx", name).max_difference < 1e-5
    exported = ExportedEncoder.load(tmp_path / "m.onnx")
    waves = np.full((2, 48_100), np.nan, np.float32)
    waves[0, :48_000], waves[1, :20_800] = voice(1, 1, 3.0), voice(2, 1, 1.3)
    found = exported.embed(waves, np.array([48_000, 20_800]))
    with torch.no_grad():
        alone = [encoders[name](torch.from_numpy(waves[:1, :48_000]))[0].numpy()]
        alone.append(encoders[name](torch.from_numpy(waves[1:, :20_800]))[0].numpy())
    np.testing.assert_allclose(found, alone, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "channels", "glob"),
    [
        ("ECAPA_TDNN_c512", 512, False),
        ("ECAPA_TDNN_GLOB_c512", 512, True),
        ("ECAPA_TDNN_c1024", 1_024, False),
        ("ECAPA_TDNN_GLOB_c1024", 1_024, True),
    ],
)
def test_released_names_fix_width_and_context(name: str, channels: int, glob: bool) -> None:
    args = {"feat_dim": 80, "embed_dim": 192, "pooling_func": "ASTP"}
    config, ours = convert(name, args, small_state(channels, 80, 192, glob, emb_bn=False))
    assert config.options["channels"] == channels
    assert config.options.get("global_context", True) is glob
    assert config.options.get("unbiased_context", False) is glob
    assert ("pooling.context.weight" in ours) is glob
    with pytest.raises(ModelError, match=rf"{name}: sets channels itself"):
        convert(name, {**args, "channels": channels}, {})
    other = name.replace("GLOB_", "") if glob else name.replace("TDNN_", "TDNN_GLOB_")
    with pytest.raises(ModelError, match=rf"wespeaker {other}: .* of another shape pool\.linear1\.weight"):
        convert(other, args, small_state(channels, 80, 192, glob, emb_bn=False))


def test_a_released_name_gives_what_the_class_gives() -> None:
    state = small_state(512, 80, 192, glob=True, emb_bn=False)
    one = made("ECAPA_TDNN_GLOB_c512", {}, state)
    other = made("ECAPA_TDNN", {"channels": 512, "global_context_att": True}, state)
    assert one.fingerprint == other.fingerprint


def test_the_last_layer_may_be_a_normalisation() -> None:
    state = small_state()
    usual = made("ECAPA_TDNN", SMALL, state)
    features = torch.randn(1, 50, 40)
    embedding, _ = network_of(usual).encode(features)
    plain = made(
        "ECAPA_TDNN",
        {**SMALL, "emb_bn": False},
        {name: value for name, value in state.items() if not name.startswith("bn2.")},
    )
    before, _ = network_of(plain).encode(features)
    scale = state["bn2.weight"] / (state["bn2.running_var"] + 1e-5).sqrt()
    torch.testing.assert_close(embedding, (before - state["bn2.running_mean"]) * scale + state["bn2.bias"])


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("ECAPA_TDNN_c256", {}, r": no such model\. Did you mean 'ECAPA_TDNN_c\d+'"),
        ("ECAPA_TDNN", {"pooling_func": "TSTP"}, r"model_args\.pooling_func: str 'TSTP' is not a choice\. .*ASTP"),
        ("ECAPA_TDNN", {"emb_bm": True}, r"model_args: unknown key 'emb_bm'\. Did you mean 'emb_bn'"),
        ("ECAPA_TDNN", {"channels": "wide"}, r"model_args\.channels: expected int"),
        ("ECAPA_TDNN", {"channels": 20}, r"divide channels"),
        ("ECAPA_TDNN", {"embed_dim": 13}, r"of another shape linear\.weight \(12, 3072\) instead of \(13, 3072\)"),
        (
            "ECAPA_TDNN",
            {"feat_dim": 80},
            r"of another shape layer1\.conv\.weight \(16, 40, 5\) instead of \(16, 80, 5\)",
        ),
        ("ECAPA_TDNN", {"emb_bn": False}, r"unexpected bn2\.weight"),
        (
            "ECAPA_TDNN",
            {"global_context_att": True},
            r"pool\.linear1\.weight \(128, 1536, 1\) instead of \(128, 4608, 1\)",
        ),
    ],
)
def test_what_does_not_fit_is_refused(name: str, change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModelError, match=f"wespeaker {name}.*{complaint}"):
        convert(name, {**SMALL, **change}, small_state())


def test_weights_that_are_missing_or_too_many_are_named_as_wespeaker_does() -> None:
    state = small_state()
    del state["layer3.se_res2block.1.bns.4.running_var"]
    state["layer5.conv.weight"] = torch.zeros(3)
    complaint = r"missing layer3\.se_res2block\.1\.bns\.4\.running_var; unexpected layer5\.conv\.weight"
    with pytest.raises(ModelError, match=complaint):
        convert("ECAPA_TDNN", SMALL, state)


def test_the_state_that_was_given_stays_as_it_was() -> None:
    state = small_state()
    before = {name: value.clone() for name, value in state.items()}
    convert("ECAPA_TDNN", SMALL, state)
    assert state.keys() == before.keys()
    assert all(torch.equal(state[name], value) for name, value in before.items())
