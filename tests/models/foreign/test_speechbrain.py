"""SpeechBrain's ECAPA-TDNN beside what its own code computed from the same weights (see the golden README)."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from voxanchor.errors import ModelError
from voxanchor.models import registry
from voxanchor.models.ecapa import Ecapa
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.frontend import DecibelFbank, DecibelFbankConfig

Expected = Callable[[str], dict[str, Tensor]]

NAME = "speechbrain-ecapa_tdnn"
CASES = ("1.3s", "3.0s")

HYPERPARAMS = """
n_mels: 60
width: 16
compute_features: !new:speechbrain.lobes.features.Fbank
    n_mels: !ref <n_mels>
    left_frames: 0
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
embedding_model: !new:speechbrain.lobes.models.ECAPA_TDNN.ECAPA_TDNN
    input_size: !ref <n_mels>
    activation: !name:torch.nn.ReLU
    channels: [!ref <width>, !ref <width>, 16, 16, 24]
    kernel_sizes: [5, 3, 3, 3, 1]
    dilations: [1, 2, 3, 4, 1]
    attention_channels: 6
    res2net_scale: 4
    se_channels: 5
    lin_neurons: 12
"""
"""Of a model whose every width is another than the default."""


def small_state() -> dict[str, Tensor]:
    """Its weights by the names that SpeechBrain gives them."""
    state: dict[str, Tensor] = {}

    def layer(name: str, outputs: int, inputs: int, kernel: int = 1) -> None:
        state[f"{name}.weight"], state[f"{name}.bias"] = torch.randn(outputs, inputs, kernel), torch.randn(outputs)

    def norm(name: str, width: int) -> None:
        for leaf in ("weight", "bias", "running_mean", "running_var"):
            state[f"{name}.norm.{leaf}"] = torch.rand(width) + 0.1
        state[f"{name}.norm.num_batches_tracked"] = torch.tensor(7)

    def block(name: str, outputs: int, inputs: int, kernel: int = 1) -> None:
        layer(f"{name}.conv.conv", outputs, inputs, kernel)
        norm(f"{name}.norm", outputs)

    block("blocks.0", 16, 60, 5)
    for i in (1, 2, 3):
        block(f"blocks.{i}.tdnn1", 16, 16)
        for j in range(3):
            block(f"blocks.{i}.res2net_block.blocks.{j}", 4, 4, 3)
        block(f"blocks.{i}.tdnn2", 16, 16)
        layer(f"blocks.{i}.se_block.conv1.conv", 5, 16)
        layer(f"blocks.{i}.se_block.conv2.conv", 16, 5)
    block("mfa", 24, 48)
    block("asp.tdnn", 6, 72)
    layer("asp.conv.conv", 24, 6)
    norm("asp_bn", 48)
    layer("fc.conv", 12, 48)
    return state


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A folder of the small model."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "hyperparams.yaml").write_text(HYPERPARAMS)
    torch.save(small_state(), folder / "embedding_model.ckpt")
    return folder


@pytest.fixture(scope="module")
def encoder(golden: Path) -> SpeakerEncoder:
    return registry.load(f"speechbrain:{golden / NAME}")


def network_of(encoder: SpeakerEncoder) -> Ecapa:
    assert isinstance(encoder.network, Ecapa)
    return encoder.network


@pytest.mark.parametrize("case", CASES)
def test_features_are_those_of_speechbrain(
    encoder: SpeakerEncoder, inputs: dict[str, Tensor], expected: Expected, case: str
) -> None:
    known = expected(NAME)
    features, frames = network_of(encoder).fbank(inputs[f"wav.{case}"][None])
    assert frames.tolist() == [int(known[f"num_frames.{case}"])]
    torch.testing.assert_close(features[0, :20], known[f"feat20.{case}"], atol=1e-3, rtol=0)
    # theirs are off by up to 1.1e-3 here: they come from filters in float32
    raw, _ = DecibelFbank(DecibelFbankConfig(mean_normalise=False))(inputs[f"wav.{case}"][None])
    torch.testing.assert_close(raw[0, :20], known[f"feat_raw20.{case}"], atol=2e-3, rtol=0)


def test_embeddings_are_those_of_speechbrain(
    encoder: SpeakerEncoder, inputs: dict[str, Tensor], expected: Expected
) -> None:
    known, network = expected(NAME), network_of(encoder)
    with torch.no_grad():
        found = network.encode(inputs["feat.ref"][None])[0][0]
        torch.testing.assert_close(found, known["emb.feat_ref"], atol=5e-5, rtol=0)
        for case in CASES:
            found = network(inputs[f"wav.{case}"][None])[0]
            torch.testing.assert_close(found, known[f"emb.{case}"], atol=5e-4, rtol=0)


def test_what_no_output_depends_on_is_read_too(golden: Path, encoder: SpeakerEncoder) -> None:
    theirs = torch.load(golden / NAME / "embedding_model.ckpt", weights_only=True)
    ours = encoder.network.state_dict()
    assert torch.equal(ours["pooling.attention.bias"], theirs["asp.conv.conv.bias"])
    assert sum(value.numel() for value in ours.values()) == sum(value.numel() for value in theirs.values())
    counts = {int(value) for name, value in theirs.items() if name.endswith("num_batches_tracked")}
    assert {int(value) for name, value in ours.items() if name.endswith("num_batches_tracked")} == counts


def test_a_padded_batch_changes_nothing(encoder: SpeakerEncoder, inputs: dict[str, Tensor]) -> None:
    waves, lengths = torch.full((3, 48_000), torch.nan), torch.tensor([48_000, 20_800, 4_801])
    for row, wave, length in zip(waves, (inputs["wav.3.0s"], *[inputs["wav.1.3s"]] * 2), lengths, strict=True):
        row[:length] = wave[:length]
    waves[2, 4_801:] = 1e3 * torch.randn(43_199)
    with torch.no_grad():
        together = encoder.network(waves, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = encoder.network(waves[row : row + 1, :length])[0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-5)


def test_it_becomes_a_model_directory_like_any_other(
    encoder: SpeakerEncoder, inputs: dict[str, Tensor], tmp_path: Path
) -> None:
    encoder.save(tmp_path)
    loaded = registry.load(tmp_path)
    assert loaded.fingerprint == encoder.fingerprint
    wave = inputs["wav.1.3s"][None]
    assert torch.equal(loaded(wave), encoder(wave))


def test_it_can_be_trained(encoder: SpeakerEncoder) -> None:
    tuned = encoder.copy().train()
    (tuned(0.1 * torch.randn(4, 16_000)) * torch.randn(4, 192)).sum().backward()
    missing = [name for name, weight in tuned.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A bias just before a normalisation that removes the mean has a gradient of 0 up to rounding.
    assert [name for name in missing if not name.endswith("bias")] == []
    assert all(torch.isfinite(weight.grad).all() for weight in tuned.parameters() if weight.grad is not None)


@pytest.mark.slow
def test_it_can_be_exported(encoder: SpeakerEncoder, inputs: dict[str, Tensor], tmp_path: Path) -> None:
    from voxanchor.export.onnx import export
    from voxanchor.models.exported import ExportedEncoder

    assert export(encoder, tmp_path / "m.onnx", NAME).max_difference < 1e-5
    exported = ExportedEncoder.load(tmp_path / "m.onnx")
    waves = np.full((2, 48_100), np.nan, np.float32)
    waves[0, :48_000], waves[1, :20_800] = inputs["wav.3.0s"], inputs["wav.1.3s"]
    found = exported.embed(waves, np.array([48_000, 20_800]))
    with torch.no_grad():
        alone = [encoder(inputs[f"wav.{case}"][None])[0].numpy() for case in reversed(CASES)]
    np.testing.assert_allclose(found, alone, atol=1e-4)


def test_every_width_is_read(small: Path) -> None:
    encoder = registry.load(f"speechbrain:{small}")
    assert encoder.embedding_dim == 12
    options = {name: value for name, value in encoder.config.options.items() if isinstance(value, int)}
    assert options == {
        "channels": 16,
        "embedding_dim": 12,
        "mfa_channels": 24,
        "res2_scale": 4,
        "se_bottleneck": 5,
        "attention_bottleneck": 6,
        "summed_inputs": False,
        "mfa_norm": True,
        "attention_norm": True,
        "embedding_norm": False,
    }
    assert encoder.config.options["fbank"] == {"n_mels": 60, "top_db": 80.0, "mean_normalise": True}
    assert encoder(0.1 * torch.randn(2, 8_000)).shape == (2, 12)


def test_parts_may_be_named_under_modules_only(small: Path) -> None:
    text = (small / "hyperparams.yaml").read_text()
    text = text.replace("embedding_model:", "network:")
    text += "modules: {embedding_model: !ref <network>, compute_features: !ref <compute_features>, "
    (small / "hyperparams.yaml").write_text(text + "mean_var_norm: !ref <mean_var_norm>}\n")
    assert registry.load(f"speechbrain:{small}").embedding_dim == 12


def test_attention_without_global_context(small: Path) -> None:
    edit(small, "    lin_neurons: 12", "    lin_neurons: 12\n    global_context: False")
    state = small_state()
    with pytest.raises(
        ModelError, match=r"of another shape asp\.tdnn\.conv\.conv\.weight \(6, 72, 1\) instead of \(6, 24, 1\)"
    ):
        registry.load(f"speechbrain:{small}")
    state["asp.tdnn.conv.conv.weight"] = state["asp.tdnn.conv.conv.weight"][:, :24]
    torch.save(state, small / "embedding_model.ckpt")
    assert "pooling.context.weight" not in registry.load(f"speechbrain:{small}").network.state_dict()


def edit(folder: Path, old: str, new: str) -> None:
    path = folder / "hyperparams.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        (
            "ECAPA_TDNN.ECAPA_TDNN",
            "Xvector.Xvector",
            r"is speechbrain\.lobes\.models\.Xvector\.Xvector; computed here: .*ECAPA",
        ),
        (
            "features.Fbank",
            "features.MFCC",
            r"compute_features is .*MFCC; computed here: speechbrain\.lobes\.features\.Fbank",
        ),
        (
            "left_frames: 0",
            "sample_rate: 8000",
            r"compute_features\.sample_rate: int '8000' is not a choice",
        ),
        ("left_frames: 0", "n_fft: 512", r"compute_features\.n_fft"),
        ("left_frames: 0", "win_length: 32", r"compute_features\.win_length"),
        ("left_frames: 0", "deltas: True", r"compute_features\.deltas"),
        ("left_frames: 0", "f_max: 7600", r"compute_features\.f_max"),
        ("left_frames: 0", "pcen: True", r"compute_features: unknown key 'pcen'"),
        ("n_mels: !ref <n_mels>", "n_mels: 40", r"compute_features gives 40 features, embedding_model takes 60"),
        ("std_norm: False", "mean_norm: True", r"mean_var_norm: missing key std_norm"),
        ("std_norm: False", "std_norm: True", r"mean_var_norm\.std_norm"),
        ("norm_type: sentence", "norm_type: global", r"mean_var_norm\.norm_type"),
        ("torch.nn.ReLU", "torch.nn.LeakyReLU", r"embedding_model\.activation: str 'torch\.nn\.LeakyReLU'"),
        ("[5, 3, 3, 3, 1]", "[5, 3, 5, 3, 1]", r"embedding_model\.kernel_sizes\.2: int '5' is not a choice. Known: 3"),
        ("[1, 2, 3, 4, 1]", "[1, 2, 3, 4]", r"embedding_model\.dilations: expected 5 values, found 4"),
        ("16, 16, 24]", "16, 32, 24]", r"channels is \[16, 16, 16, 32, 24\]; computed here: one width"),
        ("se_channels: 5", "se_channel: 5", r"unknown key 'se_channel'\. Did you mean 'se_channels'"),
        ("se_channels: 5", "se_channels: five", r"embedding_model\.se_channels: expected int, found str 'five'"),
        ("res2net_scale: 4", "res2net_scale: 3", r"res2_scale 3.* divide channels"),
        (
            "lin_neurons: 12",
            "lin_neurons: 13",
            r"of another shape fc\.conv\.weight \(12, 48, 1\) instead of \(13, 48, 1\)",
        ),
        ("n_mels: 60", "n_mels: !ref <bands>", r"there is no 'bands'"),
        ("n_mels: 60", "n_mels: !ref <n_mels>", r"'n_mels' refers to itself"),
        ("n_mels: 60", "sample_rate: 8000\nn_mels: 60", r"a model of 8000 Hz; every waveform here has 16000 Hz"),
        ("mean_var_norm:", "normaliser:", r"there is no 'mean_var_norm'"),
        ("embedding_model: !new:", "embedding_model: !kind:", r"embedding_model is no class but"),
    ],
)
def test_what_is_not_computed_here_is_refused(small: Path, old: str, new: str, complaint: str) -> None:
    edit(small, old, new)
    with pytest.raises(ModelError, match=complaint):
        registry.load(f"speechbrain:{small}")


@pytest.mark.parametrize("missing", ["hyperparams.yaml", "embedding_model.ckpt"])
def test_another_folder_is_told_what_is_missing(small: Path, missing: str) -> None:
    (small / missing).unlink()
    with pytest.raises(
        ModelError, match=rf"{missing}: no such file.*with hyperparams\.yaml and embedding_model\.ckpt in it"
    ):
        registry.load(f"speechbrain:{small}")
    with pytest.raises(ModelError, match=r"hyperparams\.yaml: no such file"):
        registry.load(f"speechbrain:{small / 'nowhere'}")


@pytest.mark.parametrize("content", ["", "- a list", "{not: closed", "a: !ref [", "\x00", "[" * 20_000])
def test_settings_that_are_none(small: Path, content: str) -> None:
    (small / "hyperparams.yaml").write_text(content)
    with pytest.raises(ModelError, match=r"hyperparams\.yaml: (not valid YAML|expected keys and values)"):
        registry.load(f"speechbrain:{small}")


@pytest.mark.parametrize(
    "line",
    [
        "{key}: !new:os.system ['touch {mark}']",
        "{key}: !new:pathlib.Path.touch {{self: !new:pathlib.Path ['{mark}']}}",
        "{key}: !apply:os.system ['touch {mark}']",
        "{key}: !name:os.system ['touch {mark}']",
        "{key}: !!python/object/apply:os.system ['touch {mark}']",
        "{key}: !!python/object/new:os.system ['touch {mark}']",
    ],
)
@pytest.mark.parametrize("key", ["extra", "embedding_model"])
def test_nothing_that_settings_ask_for_is_run(small: Path, tmp_path: Path, line: str, key: str) -> None:
    mark = tmp_path / "mark"
    edit(small, "embedding_model:", "hidden:" if key == "embedding_model" else "embedding_model:")
    path = small / "hyperparams.yaml"
    path.write_text(path.read_text() + line.format(key=key, mark=mark) + "\n")
    if key == "extra":
        registry.load(f"speechbrain:{small}")
    else:
        with pytest.raises(ModelError, match=r"embedding_model is .*computed here"):
            registry.load(f"speechbrain:{small}")
    assert not mark.exists()


def test_weights_that_are_missing_or_too_many_are_named_as_speechbrain_does(small: Path) -> None:
    state = small_state()
    del state["blocks.2.res2net_block.blocks.1.norm.norm.running_var"]
    state["blocks.2.shortcut.conv.weight"] = torch.zeros(3)
    torch.save(state, small / "embedding_model.ckpt")
    complaint = (
        r"embedding_model\.ckpt: not the weights of this network: "
        r"missing blocks\.2\.res2net_block\.blocks\.1\.norm\.norm\.running_var; "
        r"unexpected blocks\.2\.shortcut\.conv\.weight"
    )
    with pytest.raises(ModelError, match=complaint):
        registry.load(f"speechbrain:{small}")


class Code:
    """What runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.mark,)


def test_weights_with_code_in_them_are_not_run(small: Path, tmp_path: Path) -> None:
    torch.save({**small_state(), "extra": Code(tmp_path / "mark")}, small / "embedding_model.ckpt")
    with pytest.raises(ModelError, match="holds more than data, and nothing of it was run"):
        registry.load(f"speechbrain:{small}")
    assert not (tmp_path / "mark").exists()


def test_weights_that_are_cut_off(small: Path) -> None:
    path = small / "embedding_model.ckpt"
    content = path.read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ModelError, match=r"embedding_model\.ckpt: damaged"):
            registry.load(f"speechbrain:{small}")


def test_weights_of_another_network(small: Path, golden: Path) -> None:
    shutil.copy(golden / "wespeaker-ecapa_tdnn" / "avg_model.pt", small / "embedding_model.ckpt")
    with pytest.raises(ModelError, match=r"missing blocks\.0\.conv\.conv\.weight.*unexpected layer1\.conv\.weight"):
        registry.load(f"speechbrain:{small}")
