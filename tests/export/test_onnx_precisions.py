"""Files in half precision and in 8 bits: how large, how near to the model, and what stays as it was."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto

from voxanchor.export.onnx import LEAST_CHANNELS, constants_folded, describe, export, front_end, in_int8, stored
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.exported import ExportedEncoder, unsealed

Voice = Callable[..., np.ndarray]


def content(path: Path) -> onnx.ModelProto:
    return onnx.load_from_string(unsealed(path))


def by_file(model: onnx.ModelProto, waves: list[np.ndarray]) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found = [session.run(None, {"waves": wave[None], "lengths": np.array([len(wave)])})[0] for wave in waves]
    return np.concatenate(found)


def types_by_name(model: onnx.ModelProto) -> dict[str, int]:
    return {tensor.name: tensor.data_type for tensor in model.graph.initializer}


@pytest.fixture(scope="module")
def folded(exported_path: Path) -> onnx.ModelProto:
    model: onnx.ModelProto = constants_folded(content(exported_path))
    return model


@pytest.fixture(scope="module")
def waves(voice: Voice) -> list[np.ndarray]:
    return [voice(speaker, 0, 2.0) for speaker in range(4)]


def test_the_front_end_ends_with_the_logarithm(folded: onnx.ModelProto) -> None:
    names = front_end(folded)
    kinds = [node.op_type for node in folded.graph.node if node.name in names]
    assert (kinds.count("MatMul"), kinds.count("Log"), kinds.count("Conv")) == (2, 1, 0)


def test_weights_in_half_precision_compute_in_float32(folded: onnx.ModelProto, waves: list[np.ndarray]) -> None:
    before = folded.SerializeToString()
    made = stored(folded, "float16")
    assert folded.SerializeToString() == before
    onnx.checker.check_model(made, full_check=True)
    expected, found = by_file(folded, waves), by_file(made, waves)
    assert (expected * found).sum(axis=1).min() > 0.99999
    assert np.abs(expected - found).max() > 0
    kinds = types_by_name(made)
    used = {name for node in made.graph.node if node.name in front_end(folded) for name in node.input if name in kinds}
    assert TensorProto.FLOAT16 in kinds.values()
    assert TensorProto.FLOAT16 not in {kinds[name] for name in used}


def test_a_weight_that_half_precision_cannot_hold_is_kept(folded: onnx.ModelProto) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(folded)
    name = next(node.input[1] for node in model.graph.node if node.op_type == "Conv")
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == name)
    tensor.CopyFrom(onnx.numpy_helper.from_array(1e9 * onnx.numpy_helper.to_array(tensor), name))
    assert types_by_name(stored(model, "float16"))[name] == TensorProto.FLOAT


def test_products_in_int8_and_convolutions_stored(folded: onnx.ModelProto, waves: list[np.ndarray]) -> None:
    made = in_int8(folded)
    onnx.checker.check_model(made, full_check=True)
    kinds = [node.op_type for node in made.graph.node]
    assert kinds.count("MatMulInteger") > 5
    assert kinds.count("Conv") == [node.op_type for node in folded.graph.node].count("Conv")
    assert "ConvInteger" not in kinds
    expected, found = by_file(folded, waves), by_file(made, waves)
    assert 0.99 < (expected * found).sum(axis=1).min() < 1 - 1e-7


@pytest.mark.usefixtures("at_once")
def test_a_file_says_in_which_precision_it_is(encoder: SpeakerEncoder, tmp_path: Path) -> None:
    made = export(encoder, tmp_path / "h.onnx", "small", "float16", extra={"calibration": '{"a": 1}'})
    assert (made.precision, made.compared_on) == ("float16", 0)
    assert made.min_cosine > 0.9999
    exported = ExportedEncoder.load(made.path)
    assert (exported.precision, exported.fingerprint) == ("float16", f"{encoder.fingerprint}-float16")
    assert exported.described["calibration"] == '{"a": 1}'
    assert exported.described["architecture"] == "ecapa"
    assert [entry.domain for entry in content(made.path).opset_import] == [""]
    with pytest.raises(TypeError):
        exported.described["calibration"] = ""  # type: ignore[index]

    size = describe(made.path, {"loss": "x" * 300, "calibration": "{}"})
    again = ExportedEncoder.load(made.path)
    assert size == made.path.stat().st_size
    assert again.described["loss"] == "x" * 300
    assert again.described["calibration"] == "{}"
    assert again.described["sha256"] != exported.described["sha256"]
    wave = np.ones((1, 8_000), np.float32)
    np.testing.assert_array_equal(
        again.embed(wave, np.array([8_000])), ExportedEncoder.load(made.path).embed(wave, np.array([8_000]))
    )


@pytest.mark.slow
def test_recordings_set_the_ranges_of_convolutions(tmp_path: Path, voice: Voice) -> None:
    options = {"m_channels": 8, "blocks": [1, 1, 1, 1], "embedding_dim": 32}
    encoder = SpeakerEncoder(EncoderConfig("resnet", options), seed=1)
    with torch.no_grad():
        for take in range(3):
            encoder(torch.from_numpy(np.stack([voice(speaker, take) for speaker in range(6)])))
    encoder.eval()
    recordings = [voice(speaker, take) for speaker in range(6) for take in range(2)]
    made = export(encoder, tmp_path / "r.onnx", "r", "int8", recordings=[*recordings, np.zeros(100, np.float32)])
    assert made.compared_on == 12
    assert made.min_cosine > 0.99
    nodes = content(made.path).graph.node
    shapes = {tensor.name: tensor.dims for tensor in content(made.path).graph.initializer}
    dequantised = [node.input[0] for node in nodes if node.op_type == "DequantizeLinear" and node.input[0] in shapes]
    kernels = [shapes[name] for name in dequantised if len(shapes[name]) == 4]
    assert kernels
    assert min(min(shape[:2]) for shape in kernels) >= LEAST_CHANNELS
    stored_only = export(encoder, tmp_path / "s.onnx", "r", "int8")
    assert "QuantizeLinear" not in {node.op_type for node in content(stored_only.path).graph.node}
    # processors without instructions for products of 8 bits are a little further off
    assert stored_only.min_cosine > 0.99
