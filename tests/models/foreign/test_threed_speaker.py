"""3D-Speaker's models, beside what 3D-Speaker itself computes from them."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from voxanchor.errors import ModelError
from voxanchor.models import registry
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.foreign.checkpoint import read_checkpoint

Expected = Callable[[str], dict[str, Tensor]]

CAMPPLUS, ERES2NET = "3dspeaker-campplus/campplus_cn_common.bin", "3dspeaker-eres2net/pretrained_eres2net.ckpt"

FRONT_END = {"window": "povey", "scale": 1.0}


@pytest.mark.parametrize("path", [CAMPPLUS, ERES2NET])
def test_embeds_as_3d_speaker_does(golden: Path, inputs: dict[str, Tensor], expected: Expected, path: str) -> None:
    theirs = expected(Path(path).parent.name)
    encoder = registry.load(f"3dspeaker:{golden / path}")
    network: Any = encoder.network
    with torch.no_grad():
        embedding, _ = network.encode(inputs["feat.ref"][None])
        torch.testing.assert_close(embedding[0], theirs["emb.feat_ref"].view(-1), atol=2e-4, rtol=0)
        for case in ("1.3s", "3.0s"):
            features, frames = network.fbank(inputs[f"wav.{case}"][None])
            assert frames.item() == theirs[f"num_frames.{case}"].item()
            torch.testing.assert_close(features[0, :20], theirs[f"feat20.{case}"], atol=5e-3, rtol=0)
            embedding = network(inputs[f"wav.{case}"][None])
            torch.testing.assert_close(embedding[0], theirs[f"emb.{case}"].view(-1), atol=5e-3, rtol=0)


def test_every_tensor_of_the_file_is_in_the_network(golden: Path) -> None:
    for path in (CAMPPLUS, ERES2NET):
        state = read_checkpoint(golden / path)
        network = registry.load(f"3dspeaker:{golden / path}").network.state_dict()
        assert network.keys() == state.keys()
        assert all(torch.equal(network[key], state[key]) for key in state)


def test_a_folder_is_as_good_as_the_only_file_in_it(golden: Path, tmp_path: Path) -> None:
    path = golden / CAMPPLUS
    fingerprint = registry.load(f"3dspeaker:{path}").fingerprint
    assert registry.load(f"3dspeaker:{path.parent}").fingerprint == fingerprint
    shutil.copyfile(path, tmp_path / "mine.pt")
    assert registry.load(f"3dspeaker:{tmp_path}").fingerprint == fingerprint
    (tmp_path / "other.bin").write_bytes(b"")
    with pytest.raises(ModelError, match=r"several files of weights \(mine\.pt, other\.bin\)"):
        registry.load(f"3dspeaker:{tmp_path}")
    (tmp_path / "mine.pt").rename(tmp_path / "campplus_voxceleb.bin")  # a published name goes before others
    assert registry.load(f"3dspeaker:{tmp_path}").fingerprint == fingerprint


def test_the_two_toolkits_deviations_make_two_embeddings(
    golden: Path, inputs: dict[str, Tensor], tmp_path: Path
) -> None:
    encoder = registry.load(f"3dspeaker:{golden / CAMPPLUS}")
    assert encoder.config.options["added_variance"] == 0.0
    others = {**encoder.config.options, "added_variance": 1e-7}
    assert registry.load(f"wespeaker:{golden / 'wespeaker-campplus'}").config.options["added_variance"] == 1e-7
    state = encoder.state_dict()
    # as they are the golden weights leave no channel still, where the two would differ by more than rounding
    state["network.xvector.out_nonlinear.batchnorm.bias"][:40] = -1e6
    features = inputs["feat.ref"][None]
    embeddings = []
    for options in (encoder.config.options, others):
        other: Any = SpeakerEncoder(EncoderConfig("campplus", options)).eval()
        other.load_state_dict(state)
        embeddings.append(other.network.encode(features)[0])
    assert (embeddings[0] - embeddings[1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    "config",
    [
        EncoderConfig("campplus", {"embedding_dim": 192}),
        EncoderConfig("campplus"),
        EncoderConfig("campplus", {"growth_rate": 8, "bn_size": 3, "init_channels": 24, "m_channels": 16}),
        EncoderConfig("eres2net"),
        EncoderConfig("eres2net", {"m_channels": 64, "embedding_dim": 512}),
        EncoderConfig("eres2net", {"m_channels": 16, "base_width": 24, "scale": 3, "expansion": 4}),
        EncoderConfig("eres2net", {"m_channels": 8, "blocks": [1, 2, 1, 3], "fbank": {"n_mels": 40}}),
    ],
)
def test_every_width_is_read_from_the_shapes(tmp_path: Path, config: EncoderConfig) -> None:
    options = {**config.options, "fbank": {**FRONT_END, **config.options.get("fbank", {})}}
    if config.architecture == "campplus":
        options["added_variance"] = 0.0
    made = SpeakerEncoder(EncoderConfig(config.architecture, options)).eval()
    torch.save(made.network.state_dict(), tmp_path / "m.ckpt")
    loaded = registry.load(f"3dspeaker:{tmp_path / 'm.ckpt'}")
    assert loaded.config == made.config
    assert loaded.fingerprint == made.fingerprint


@pytest.mark.parametrize(
    ("path", "change", "reason"),
    [
        (ERES2NET, lambda state: {"fuse34.local_att.0.weight": torch.zeros(1)}, "holds ERes2NetV2"),
        (ERES2NET, lambda state: {"blocks.0.conv.conv.weight": torch.zeros(1)}, "holds ECAPA-TDNN"),
        (ERES2NET, lambda state: {"a": torch.zeros(1)}, "holds no network of 3D-Speaker.*Known: CAM"),
        (ERES2NET, lambda state: state.pop("seg_1.weight"), r"missing or of another shape \(KeyError\('seg_1\.weight"),
        (ERES2NET, lambda state: state.pop("layer3.2.bn1.bias"), r"not the weights.*missing layer3\.2\.bn1\.bias"),
        (ERES2NET, lambda state: state.update({"seg_1.weight": torch.zeros(7)}), r"of another shape \(ValueError"),
        (ERES2NET, lambda state: state.update({"conv1.weight": torch.zeros(0, 1)}), r"of another shape \(ZeroDivision"),
        (ERES2NET, lambda state: state.update({"seg_2.weight": torch.zeros(7)}), r"unexpected seg_2\.weight"),
        (CAMPPLUS, lambda state: state.pop("head.conv1.weight"), r"missing or of another shape \(KeyError"),
        (CAMPPLUS, lambda state: state.update({"head.conv1.weight": torch.zeros(())}), r"another shape \(IndexError"),
        (CAMPPLUS, lambda state: state.pop("xvector.block3.tdnnd16.linear1.weight"), r"missing xvector\.block3"),
    ],
)
def test_what_does_not_fit_is_refused(
    golden: Path, tmp_path: Path, path: str, change: Callable[[dict[str, Tensor]], object], reason: str
) -> None:
    state = read_checkpoint(golden / path)
    made = change(state)
    torch.save(made if isinstance(made, dict) else state, tmp_path / "m.ckpt")
    with pytest.raises(ModelError, match=rf"m\.ckpt: .*{reason}"):
        registry.load(f"3dspeaker:{tmp_path / 'm.ckpt'}")


def test_other_toolkits_files_say_what_they_are_not(golden: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds ResNet or Res2Net, which is not loaded.*Known: CAM\+\+ and ERes2Net"):
        registry.load(f"3dspeaker:{golden / 'wespeaker-resnet34' / 'avg_model.pt'}")
    with pytest.raises(ModelError, match="no file of weights in it"):
        registry.load(f"3dspeaker:{tmp_path}")
    with pytest.raises(ModelError, match="no such file"):
        registry.load(f"3dspeaker:{tmp_path / 'no.bin'}")


def test_a_file_cut_short_says_so(golden: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.bin"
    path.write_bytes((golden / CAMPPLUS).read_bytes()[:-1000])
    with pytest.raises(ModelError, match=r"cut\.bin: damaged, or no PyTorch file"):
        registry.load(f"3dspeaker:{path}")
