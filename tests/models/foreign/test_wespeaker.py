"""WeSpeaker's models, beside what WeSpeaker itself computes from them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from voxanchor.errors import ModelError
from voxanchor.models import registry
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.foreign import wespeaker
from voxanchor.models.foreign.checkpoint import read_checkpoint

Expected = Callable[[str], dict[str, Tensor]]

MODELS = [
    # folder, front-end, the toolkit's keys, tolerance from features, tolerance from waveforms
    ("wespeaker-resnet34", "", "", 5e-5, 5e-4),
    ("wespeaker-campplus", "", "", 2e-4, 5e-3),
    ("wespeaker-campplus", "::hub", "hub.", 2e-4, 5e-3),
]


def changed(folder: Path, to: Path, change: Callable[[dict[str, Any]], object]) -> str:
    """Copy a model with another configuration, and return the reference."""
    shutil.copytree(folder, to, copy_function=shutil.copyfile)
    path = to / "config.yaml"
    path.parent.chmod(0o755)
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config))
    return f"wespeaker:{to}"


@pytest.mark.parametrize(("name", "front_end", "prefix", "from_features", "from_waves"), MODELS)
def test_embeds_as_wespeaker_does(
    golden: Path,
    inputs: dict[str, Tensor],
    expected: Expected,
    name: str,
    front_end: str,
    prefix: str,
    from_features: float,
    from_waves: float,
) -> None:
    encoder, theirs = registry.load(f"wespeaker:{golden / name}{front_end}"), expected(name)
    network: Any = encoder.network
    with torch.no_grad():
        embedding, _ = network.encode(inputs["feat.ref"][None])
        torch.testing.assert_close(embedding[0], theirs["emb.feat_ref"].view(-1), atol=from_features, rtol=0)
        for case in ("1.3s", "3.0s"):
            features, frames = network.fbank(inputs[f"wav.{case}"][None])
            assert frames.item() == theirs[f"{prefix}num_frames.{case}"].item()
            torch.testing.assert_close(features[0, :20], theirs[f"{prefix}feat20.{case}"], atol=5e-3, rtol=0)
            embedding = network(inputs[f"wav.{case}"][None])
            torch.testing.assert_close(embedding[0], theirs[f"{prefix}emb.{case}"].view(-1), atol=from_waves, rtol=0)


def test_both_recordings_in_one_batch_are_what_they_are_alone(
    golden: Path, inputs: dict[str, Tensor], expected: Expected
) -> None:
    encoder, theirs = registry.load(f"wespeaker:{golden / 'wespeaker-resnet34'}"), expected("wespeaker-resnet34")
    waves = [inputs["wav.1.3s"], inputs["wav.3.0s"]]
    padded = torch.nn.utils.rnn.pad_sequence(waves, batch_first=True, padding_value=0.7)
    with torch.no_grad():
        found = encoder.network(padded, torch.tensor([len(wave) for wave in waves]))
    for row, case in zip(found, ("1.3s", "3.0s"), strict=True):
        torch.testing.assert_close(row, theirs[f"emb.{case}"].view(-1), atol=5e-4, rtol=0)


def test_the_hubs_front_end_makes_another_embedding(golden: Path, inputs: dict[str, Tensor]) -> None:
    folder = golden / "wespeaker-campplus"
    usual, hub = (registry.load(f"wespeaker:{folder}{variant}") for variant in ("", "::hub"))
    wave = inputs["wav.3.0s"][None]
    assert (usual.network(wave) - hub.network(wave)).abs().max() > 0.01
    with pytest.raises(ModelError, match=r"no such front-end 'hup'\. Did you mean 'hub'"):
        registry.load(f"wespeaker:{folder}::hup")


def test_it_becomes_a_model_directory_like_any_other(golden: Path, tmp_path: Path) -> None:
    encoder = registry.load(f"wespeaker:{golden / 'wespeaker-campplus'}::hub")
    encoder.save(tmp_path)
    assert registry.load(tmp_path).fingerprint == encoder.fingerprint


def released(config: EncoderConfig, model: str, args: dict[str, Any], folder: Path) -> str:
    """Write random weights of our network as WeSpeaker releases its own, and return the reference."""
    state = SpeakerEncoder(config).network.state_dict()
    floats = {name: value.float() for name, value in state.items()}  # its averaging makes counts of batches floats too
    folder.mkdir()
    torch.save({**floats, "projection.weight": torch.zeros(7, 4)}, folder / "avg_model.pt")
    dataset = {"resample_rate": 16_000, "fbank_args": {"num_mel_bins": 80, "frame_shift": 10, "frame_length": 25}}
    described = {"model": model, "model_args": args, "dataset_args": dataset, "model_init": None, "gpus": "[0,1]"}
    (folder / "config.yaml").write_text(yaml.safe_dump(described))
    return f"wespeaker:{folder}"


@pytest.mark.parametrize(
    ("config", "model", "args"),
    [
        (EncoderConfig("resnet"), "ResNet34", {"feat_dim": 80, "embed_dim": 256, "two_emb_layer": False}),
        (EncoderConfig("resnet"), "ResNet34", {"feat_dim": 80, "embed_dim": 256}),
        (
            EncoderConfig("resnet", {"blocks": [2, 2, 2, 2], "embedding_dim": 128, "two_emb_layer": True}),
            "ResNet18",
            {"feat_dim": 80, "embed_dim": 128, "pooling_func": "TSTP", "two_emb_layer": True},
        ),
        (
            EncoderConfig("resnet", {"block": "bottleneck", "blocks": [3, 4, 6, 3]}),
            "ResNet50",
            {"feat_dim": 80, "embed_dim": 256, "pooling_func": "TSTP"},
        ),
        (EncoderConfig("campplus"), "CAMPPlus", {"feat_dim": 80, "embed_dim": 512, "pooling_func": "TSTP"}),
        (EncoderConfig("campplus"), "CAMPPlus", {}),
    ],
)
def test_releases_say_less_than_the_golden_models(
    tmp_path: Path, config: EncoderConfig, model: str, args: dict[str, Any]
) -> None:
    made = SpeakerEncoder(config).eval()
    loaded = registry.load(released(config, model, args, tmp_path / "m"))
    assert loaded.config == made.config
    waves = torch.randn(1, 8_000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(loaded(waves), made(waves))


def test_every_resnet_of_wespeaker_has_a_layout() -> None:
    layers = {
        name: 2 + (2 if block == "basic" else 3) * sum(blocks) for name, (block, blocks) in wespeaker.RESNETS.items()
    }
    assert layers == {name: int(name.removeprefix("ResNet")) for name in layers}


def test_a_folder_without_a_release_says_what_is_missing(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such folder\. Unpack the release"):
        registry.load(f"wespeaker:{tmp_path / 'no'}")
    with pytest.raises(ModelError, match=r"no config\.yaml and no avg_model\.pt in it"):
        registry.load(f"wespeaker:{tmp_path}")
    with pytest.raises(ModelError, match=r"no avg_model\.pt in it"):
        registry.load(f"wespeaker:{golden / '3dspeaker-campplus'}")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda c: c["dataset_args"].update(resample_rate=8000), r"resample_rate is 8000: .*Take one of 16000 Hz"),
        (lambda c: c["dataset_args"].update(frontend="s3prl"), r"dataset_args\.frontend is 's3prl': only 'fbank'"),
        (lambda c: c["dataset_args"]["fbank_args"].update(frame_shift=5), r"fbank_args\.frame_shift is 5: only 10"),
        (lambda c: c["dataset_args"]["fbank_args"].update(frame_length=32), r"fbank_args\.frame_length is 32: only 25"),
        (lambda c: c["dataset_args"]["fbank_args"].update(num_mel_bins=40), r"feat_dim is 80, .*num_mel_bins 40"),
        (lambda c: c["dataset_args"]["fbank_args"].update(num_mel_bins="x"), r"num_mel_bins: expected a number"),
        (lambda c: c["dataset_args"].update(cmvn_args={"norm_var": True}), r"cmvn_args\.norm_var is True: only False"),
        (lambda c: c["dataset_args"].update(cmvn=False), r"dataset_args\.cmvn is False"),
        (lambda c: c.update(dataset_args=[1]), r"dataset_args: expected keys and values"),
        (lambda c: c.update(model="XVEC"), r"model 'XVEC' is not one that is computed here\. Known: ResNet18"),
        (lambda c: c.update(model="ResNet35"), r"model 'ResNet35' is not"),
        (lambda c: c.pop("model"), r"model 'None' is not"),
        (lambda c: c["model_args"].update(pooling_func="ASTP"), r"pooling_func: str 'ASTP' is not a choice.*TSTP"),
        (
            lambda c: c["model_args"].update(channels=3),
            r"model_args: unknown key 'channels'. Did you mean 'm_channels'",
        ),
        (lambda c: c["model_args"].pop("embed_dim"), r"model_args: missing key embed_dim"),
        (lambda c: c["model_args"].update(m_channels=16), r"not the weights of this network: of another shape conv1"),
        (lambda c: c.update(model="ResNet18"), r"not the weights of this network: unexpected layer1\.2"),
        (lambda c: c.update(model="CAMPPlus", model_args={}), r"not the weights of this network: missing head\.conv1"),
    ],
)
def test_what_is_not_computed_here_is_refused(
    golden: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    reference = changed(golden / "wespeaker-resnet34", tmp_path / "m", change)
    with pytest.raises(ModelError, match=rf"m(/config\.yaml)?: .*{reason}"):
        registry.load(reference)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("a: [", "not valid YAML"), ("- 1", "expected keys and values"), ("a: !!python/object:os.x {}", "not valid YAML")],
)
def test_a_configuration_that_is_none(golden: Path, tmp_path: Path, text: str, reason: str) -> None:
    reference = changed(golden / "wespeaker-resnet34", tmp_path / "m", lambda config: None)
    (tmp_path / "m" / "config.yaml").write_text(text)
    with pytest.raises(ModelError, match=rf"config\.yaml: {reason}"):
        registry.load(reference)


def test_a_file_cut_short_says_so(golden: Path, tmp_path: Path) -> None:
    reference = changed(golden / "wespeaker-resnet34", tmp_path / "m", lambda config: None)
    path = tmp_path / "m" / "avg_model.pt"
    path.write_bytes(path.read_bytes()[:100_000])
    with pytest.raises(ModelError, match=r"avg_model\.pt: damaged, or no PyTorch file"):
        registry.load(reference)


def test_every_tensor_of_the_file_is_in_the_network(golden: Path) -> None:
    for name in ("wespeaker-resnet34", "wespeaker-campplus"):
        state = read_checkpoint(golden / name / "avg_model.pt")
        network = registry.load(f"wespeaker:{golden / name}").network.state_dict()
        assert network.keys() == state.keys()
        assert all(torch.equal(network[key].float(), state[key]) for key in state)


def lightning(state: dict[str, Tensor]) -> dict[str, Any]:
    own = {f"model.{name}": value for name, value in state.items()}
    kept = {"epoch": 3, "pytorch-lightning_version": "2.5.0", "hyper_parameters": {"data": Path("data")}}
    return {**kept, "state_dict": own | {"loss_fn.weight": torch.ones(3, 8)}}


@pytest.mark.parametrize(
    "change",
    [
        lightning,
        lambda state: {f"_orig_mod.{name}": value for name, value in state.items()},
        lambda state: {f"speaker_net.{name}": value for name, value in state.items()},
        lambda state: {f"tower.{name}": value for name, value in state.items()},
        lambda state: {f"module.{name}" if "layer1" in name else name: value for name, value in state.items()},
        lambda state: {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")},
    ],
)
def test_checkpoints_of_other_trainings_load(
    tmp_path: Path, change: Callable[[dict[str, Tensor]], dict[str, Any]]
) -> None:
    args = {"feat_dim": 80, "embed_dim": 8, "m_channels": 4}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": "ResNet18", "model_args": args}))
    options = {"m_channels": 4, "blocks": [2, 2, 2, 2], "embedding_dim": 8}
    network = registry.build(EncoderConfig("resnet", options), seed=3).network
    torch.save(change(network.state_dict()), tmp_path / "avg_model.pt")
    found = registry.load(f"wespeaker:{tmp_path}").network.state_dict()
    assert all(torch.equal(found[name], value) for name, value in network.state_dict().items())
    torch.save(
        change({"stem" + name: value for name, value in network.state_dict().items()}), tmp_path / "avg_model.pt"
    )
    with pytest.raises(ModelError, match=r"not the weights of this network: missing conv1\.weight, .*unexpected"):
        registry.load(f"wespeaker:{tmp_path}")


def test_weights_that_are_a_link_to_nothing_are_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("model: ResNet18")
    (tmp_path / "avg_model.pt").symlink_to("../../blobs/ab12")
    with pytest.raises(ModelError, match=r"avg_model\.pt: is a link to \.\./\.\./blobs/ab12, where there is nothing"):
        registry.load(f"wespeaker:{tmp_path}")
