"""Tiny x-vector models of transformers with random weights, saved by the package and read here."""

import json
import socket
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from voxanchor.errors import AudioError, ModelError
from voxanchor.models import registry
from voxanchor.models.backbone import AS_IT_COMES
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.xvector import MODEL_TYPES, XVector

transformers = pytest.importorskip("transformers")

TINY: dict[str, Any] = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": (8,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "conv_pos_kernel_size": 5,
    "tdnn_dim": (16, 16, 16, 16, 24),
    "xvector_output_dim": 12,
    "initializer_range": 0.3,
}


def save(folder: Path, model_type: str = "wavlm", do_normalize: bool = True, **options: Any) -> Any:
    """Write a model as the package does, its norms and biases drawn too, and return it."""
    config = transformers.AutoConfig.for_model(model_type, **{**TINY, **options})
    model = transformers.AutoModelForAudioXVector.from_config(config).eval()
    draw = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.1 * torch.randn(weight.shape, generator=draw))
    model.save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=do_normalize).save_pretrained(folder)
    return model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wavlm")
    save(path)
    return path


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1 + 0.01


@pytest.mark.parametrize("model_type", MODEL_TYPES)
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"do_normalize": False, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
        {"use_weighted_layer_sum": True, "add_adapter": True, "num_adapter_layers": 1},
    ],
    ids=["base", "large", "weighted"],
)
def test_embeds_as_the_package_does(tmp_path: Path, model_type: str, options: dict[str, Any]) -> None:
    save(tmp_path, model_type, **options)
    theirs = transformers.AutoModelForAudioXVector.from_pretrained(tmp_path).eval()
    extractor = transformers.AutoFeatureExtractor.from_pretrained(tmp_path)
    encoder = registry.load(f"transformers:{tmp_path}")
    assert encoder.embedding_dim == 12
    # the package leaves the level of a recording as it comes
    alike = SpeakerEncoder(replace(encoder.config, input=AS_IT_COMES)).eval()
    alike.load_state_dict(encoder.state_dict())
    for samples in (16_000, 30_011):
        wave = noise(samples)
        inputs = extractor(wave.numpy().astype(np.float64), sampling_rate=16_000, return_tensors="pt")
        with torch.no_grad():
            expected = F.normalize(theirs(inputs.input_values.float()).embeddings, dim=1)
            torch.testing.assert_close(alike(wave[None]), expected, atol=2e-5, rtol=0)


def test_embeddings_differ_between_recordings(folder: Path) -> None:
    encoder = registry.load(f"transformers:{folder}")
    one, two = encoder(torch.stack([noise(16_000), noise(16_000, seed=1).cumsum(0) * 0.1]))
    assert (one - two).abs().max() > 0.01


def test_a_padded_batch_gives_what_each_recording_gets_alone(folder: Path) -> None:
    encoder = registry.load(f"transformers:{folder}")
    waves, lengths = noise(4, 23_000), torch.tensor([16_000, 22_000, 16_000, 5_300])
    with torch.no_grad():
        together = encoder(waves, lengths)
        for row, length in enumerate(lengths.tolist()):
            torch.testing.assert_close(together[row], encoder(waves[row : row + 1, :length])[0], atol=1e-5, rtol=0)


def test_nothing_is_asked_of_the_network(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    registry.load(f"transformers:{folder}")


def test_it_becomes_a_model_directory_like_any_other(folder: Path, tmp_path: Path) -> None:
    encoder = registry.load(f"transformers:{folder}")
    assert registry.load(f"transformers:{folder}").fingerprint == encoder.fingerprint
    encoder.save(tmp_path / "model")
    loaded = registry.load(tmp_path / "model")
    assert loaded.fingerprint == encoder.fingerprint
    assert torch.equal(loaded(noise(2, 8_000)), encoder(noise(2, 8_000)))
    names = list(encoder.state_dict())
    assert not [name for name in names if "classifier" in name or "objective" in name or "masked_spec" in name]


def test_the_names_of_older_files(folder: Path, tmp_path: Path) -> None:
    """Published models have ``pytorch_model.bin``, and weight normalisation as torch before 2.0 named it."""
    from safetensors.torch import load_file

    state = load_file(folder / "model.safetensors")
    old = {name.replace("parametrizations.weight.original", "weight_"): value for name, value in state.items()}
    old = {name.replace("weight_0", "weight_g").replace("weight_1", "weight_v"): old[name] for name in old}
    assert len([name for name in old if name.endswith(("weight_g", "weight_v"))]) == 2
    torch.save(old, tmp_path / "pytorch_model.bin")
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    assert registry.load(f"transformers:{tmp_path}").fingerprint == registry.load(f"transformers:{folder}").fingerprint


@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_training_is_the_network_that_embeds(tmp_path: Path, model_type: str) -> None:
    """Nothing masked, skipped or dropped, whatever the configuration asks for; and every weight learns."""
    dropping: dict[str, Any] = {
        "hidden_dropout": 0.5,
        "attention_dropout": 0.5,
        "activation_dropout": 0.5,
        "feat_proj_dropout": 0.5,
    }
    save(tmp_path, model_type, mask_time_prob=0.5, mask_feature_prob=0.5, layerdrop=0.9, **dropping)
    encoder = registry.load(f"transformers:{tmp_path}")
    waves = noise(3, 16_000)
    expected = encoder(waves)
    made = encoder.train()(waves, torch.tensor([16_000] * 3))
    torch.testing.assert_close(made, expected)
    made[:, 0].sum().backward()
    assert not [name for name, weight in encoder.named_parameters() if weight.grad is None]
    assert all(weight.grad.isfinite().all() for weight in encoder.parameters() if weight.grad is not None)
    with pytest.raises(ModelError, match="same length"):
        encoder(waves, torch.tensor([16_000, 16_000, 8_000]))


def test_frames_come_with_the_same_embeddings_and_lead_to_them(folder: Path) -> None:
    encoder, waves = registry.load(f"transformers:{folder}"), noise(2, 20_000)
    embeddings, frames = encoder.with_frames(waves)
    torch.testing.assert_close(embeddings, encoder(waves))
    assert frames.shape[::2] == (2, 24)
    assert isinstance(encoder.network, XVector)
    pooled = encoder.network.model.feature_extractor(torch.cat([frames.mean(dim=1), frames.std(dim=1)], dim=1))
    torch.testing.assert_close(F.normalize(pooled, dim=1), embeddings)


def test_half_precision_autocast_stays_close(folder: Path) -> None:
    encoder = registry.load(f"transformers:{folder}")
    with torch.no_grad():
        exact = encoder(noise(2, 16_000))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rounded = encoder(noise(2, 16_000))
    assert rounded.dtype == torch.float32
    assert ((exact * rounded).sum(dim=1) > 0.98).all()


@pytest.mark.parametrize("adapter", [{}, {"add_adapter": True, "num_adapter_layers": 2}])
def test_the_shortest_recording(tmp_path: Path, adapter: dict[str, Any]) -> None:
    save(tmp_path, "wav2vec2", **adapter)
    encoder = registry.load(f"transformers:{tmp_path}")
    assert encoder.min_samples >= 5_200
    assert encoder(noise(1, encoder.min_samples)).isfinite().all()
    _, frames = encoder.with_frames(noise(1, encoder.min_samples))
    assert frames.shape[1] == 2
    with pytest.raises(AudioError, match="too short"):
        encoder(noise(1, encoder.min_samples - 1))


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_folders_that_hold_no_speaker_model(folder: Path, tmp_path: Path) -> None:
    files = {path.name: path.read_bytes() for path in folder.iterdir()}

    def whole() -> None:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)

    def refused(message: str) -> None:
        with pytest.raises(ModelError, match=message):
            registry.load(f"transformers:{tmp_path}")
        whole()

    with pytest.raises(ModelError, match=r"no such directory\. Give a local one"):
        registry.load("transformers:microsoft/wavlm-base-plus-sv")
    refused(r"config\.json: cannot be read")
    (tmp_path / "model.safetensors").unlink()
    refused(r"neither model\.safetensors nor pytorch_model\.bin")
    (tmp_path / "preprocessor_config.json").unlink()
    refused(r"preprocessor_config\.json: cannot be read")
    edit(tmp_path / "preprocessor_config.json", sampling_rate=8_000)
    refused("sampling_rate 8000 and do_normalize True; expected 16000")
    edit(tmp_path / "config.json", architectures=["WavLMModel"])
    refused("architectures in config.json: WavLMModel. A speaker model of transformers ends in ForXVector")
    edit(tmp_path / "config.json", model_type="hubert")
    refused("model_type 'hubert' in config.json; read are wavlm, wav2vec2")
    edit(tmp_path / "config.json", hidden_size=32)
    refused("not the weights of this network: of another shape")
    edit(tmp_path / "config.json", num_hidden_layers=3)
    refused("not the weights of this network: missing")
    edit(tmp_path / "config.json", num_attention_heads=3)
    refused("transformers cannot make a 'wavlm' of this configuration")
    (tmp_path / "config.json").write_text("{")
    refused("not JSON")
    (tmp_path / "model.safetensors").write_bytes(files["model.safetensors"][:-9])
    refused("damaged")
    registry.load(f"transformers:{tmp_path}")
    with pytest.raises(ModelError, match=f"name it transformers:{tmp_path}"):
        registry.load(tmp_path)


def test_code_that_comes_with_a_model_is_not_run(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "modeling_own.py").write_text("raise SystemExit('run')")
    names = {"AutoConfig": "modeling_own.Config", "AutoModelForAudioXVector": "modeling_own.Model"}
    edit(tmp_path / "config.json", auto_map=names)
    assert registry.load(f"transformers:{tmp_path}").fingerprint == registry.load(f"transformers:{folder}").fingerprint


def test_a_configuration_names_no_code_to_fetch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a connection")

    config = registry.load(f"transformers:{folder}").config.options["config"]
    names = ("attn_implementation", "_attn_implementation", "_attn_implementation_internal")
    for kernel in ({name: "somebody/kernels"} for name in names):
        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        options = {"config": {**config, **kernel, "quantization_config": {"quant_method": "own"}}}
        network = SpeakerEncoder(EncoderConfig("transformers", options)).network
        assert isinstance(network, XVector)
        assert network.model.config._attn_implementation in ("sdpa", "eager")


def test_a_configuration_that_no_network_has(folder: Path, tmp_path: Path) -> None:
    encoder = registry.load(f"transformers:{folder}")
    config = {**encoder.config.options["config"], "model_type": "wavl"}
    with pytest.raises(ModelError, match="Did you mean 'wavlm'"):
        SpeakerEncoder(EncoderConfig("transformers", {"config": config}))
