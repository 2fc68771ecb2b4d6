"""Files of exported models as they are met: whole, damaged, foreign; and what they are asked to embed."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from voxanchor.errors import AudioError, MissingExtraError, ModelError, RecipeError
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.exported import ExportedEncoder, seal


def foreign(metadata: dict[str, str]) -> bytes:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    helper.set_model_props(model, metadata)
    content: bytes = model.SerializeToString()
    return content


def test_an_exported_file_is_the_model(encoder: SpeakerEncoder, exported_path: Path) -> None:
    exported = ExportedEncoder.load(exported_path)
    assert exported.fingerprint == encoder.fingerprint
    assert (exported.name, exported.precision) == ("small", "float32")
    assert (exported.embedding_dim, exported.min_samples) == (16, 4_800)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: b"", "cut short"),
        (lambda content: b"nonsense" * 100, "cut short"),
        (lambda content: content[:-1], "cut short"),
        (lambda content: content[: len(content) // 2], "cut short"),
        (lambda content: content[:1000] + b"\xff" + content[1001:], "damaged"),
        (lambda content: content[:5000] + content[6000:], "damaged"),
        (lambda content: foreign({}), "not a file that 'voxanchor export' wrote"),
        (lambda content: seal(foreign({})), "its metadata say"),
        (lambda content: seal(foreign({"voxanchor.format": "voxanchor-onnx-99"})), "voxanchor-onnx-99"),
        (lambda content: seal(b"not a model"), "cannot use it"),
    ],
)
def test_what_is_no_whole_export_says_so(exported_path: Path, tmp_path: Path, change: object, reason: str) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(change(exported_path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(ModelError, match=rf"m\.onnx: .*{reason}"):
        ExportedEncoder.load(path)


def test_a_missing_file_and_a_missing_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"no\.onnx: cannot be read"):
        ExportedEncoder.load(tmp_path / "no.onnx")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"voxanchor\[onnx\]"):
        ExportedEncoder.load(tmp_path / "no.onnx")


def test_what_does_not_fit_is_refused(exported_path: Path) -> None:
    exported = ExportedEncoder.load(exported_path)
    waves = np.zeros((2, 16_000), np.float32)
    with pytest.raises(AudioError, match=r"0\.20 s is too short: the model needs 0\.30 s"):
        exported.embed(waves, np.array([16_000, 3_200]))
    with pytest.raises(ModelError, match="a length of 16001"):
        exported.embed(waves, np.array([16_000, 16_001]))
    for wrong, lengths in ((waves[0], [16_000]), (waves, [16_000]), (waves[:0], [])):
        with pytest.raises(ModelError, match="expected waveforms"):
            exported.embed(wrong, np.array(lengths, np.int64))


def test_several_threads_may_use_one(exported_path: Path) -> None:
    exported = ExportedEncoder.load(exported_path, threads=1)
    waves = np.random.default_rng(0).standard_normal((12, 1, 20_000)).astype(np.float32)
    lengths = np.array([20_000])
    expected = [exported.embed(wave, lengths) for wave in waves]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda wave: exported.embed(wave, lengths), waves))
    np.testing.assert_array_equal(found, expected)


def test_it_embeds_without_torch(exported_path: Path) -> None:
    code = (
        "import sys, numpy as np; from voxanchor.models.exported import ExportedEncoder as E\n"
        f"e = E.load({str(exported_path)!r}).embed(np.ones((1, 8000), np.float32), np.array([8000]))\n"
        "sys.exit(e.shape != (1, 16) or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


class Providers:
    """Stands for an onnxruntime with CUDA: notes what it was to compute with, and computes on the processor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *used: str) -> None:
        self.asked: list[Any] = []
        session = onnxruntime.InferenceSession

        def make(content: bytes, options: Any, providers: list[Any]) -> Any:
            self.asked.append(providers)
            made = session(content, options, providers=["CPUExecutionProvider"])
            monkeypatch.setattr(made, "get_providers", lambda: [*used, "CPUExecutionProvider"])
            return made

        monkeypatch.setattr(onnxruntime, "InferenceSession", make)
        known = ["CUDAExecutionProvider", "CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: known)


def test_a_device_is_used_where_it_is_asked_for(exported_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runtime = Providers(monkeypatch, "CUDAExecutionProvider")
    for device in ("auto", "cpu", "cuda", "cuda:1"):
        ExportedEncoder.load(exported_path, device=device)
    cpu = "CPUExecutionProvider"
    cuda = [[("CUDAExecutionProvider", {"device_id": number}), cpu] for number in (0, 1)]
    assert runtime.asked == [[cpu], [cpu], *cuda]


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("cuda", "computes on the processor alone; use --device cpu, or install onnxruntime-gpu"),
        ("mps", r"an exported file \(.*small\.onnx\) runs on auto, cpu, cuda or one as cuda:1"),
        ("gpu", "runs on auto, cpu, cuda"),
    ],
)
def test_a_device_that_this_onnxruntime_has_no_part_for(
    device: str, words: str, exported_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    path = tmp_path / "small.onnx"
    path.write_bytes(exported_path.read_bytes())
    with pytest.raises(RecipeError, match=words):
        ExportedEncoder.load(path, device=device)


def test_a_device_that_onnxruntime_silently_leaves_is_an_error(
    exported_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Providers(monkeypatch)
    with pytest.raises(RecipeError, match="onnxruntime cannot use the device 'cuda' here; use --device cpu"):
        ExportedEncoder.load(exported_path, device="cuda")
