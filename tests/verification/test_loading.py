"""From a model reference to a verifier, without torch where the model needs none, and for many threads at once."""

import base64
import hashlib
import importlib.util
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import soundfile
from onnx import TensorProto, helper, numpy_helper
from safetensors.numpy import save, save_file
from tests.verification.by_hand import Said, line

import voxanchor
from voxanchor import extras
from voxanchor.errors import EnrolmentError, MissingExtraError, ModelError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.exported import FORMAT, seal, unsealed
from voxanchor.scoring.calibration import COHORT_FILE, FILE
from voxanchor.verification.people import COMPATIBILITY_FILE, MAP_FILE
from voxanchor.verification.verifier import Verifier


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1).eval()


@pytest.fixture(scope="module")
def plain(encoder: SpeakerEncoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported file as to its outside; inside, a product that is made at once."""
    matrix = np.random.default_rng(0).standard_normal((4000, 16)).astype(np.float32)
    constants = [numpy_helper.from_array(np.array([value]), str(value)) for value in (0, 1, 4000)]
    nodes = [
        helper.make_node("Slice", ["waves", "0", "4000", "1"], ["start"]),
        helper.make_node("MatMul", ["start", "matrix"], ["long"]),
        helper.make_node("LpNormalization", ["long"], ["embeddings"], axis=1, p=2),
    ]
    waves = helper.make_tensor_value_info("waves", TensorProto.FLOAT, ["B", "T"])
    lengths = helper.make_tensor_value_info("lengths", TensorProto.INT64, ["B"])
    out = helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["B", 16])
    constants.append(numpy_helper.from_array(matrix, "matrix"))
    graph = helper.make_graph(nodes, "g", [waves, lengths], [out], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    facts = {"format": FORMAT, "name": "small", "fingerprint": encoder.fingerprint, "precision": "float32"}
    facts |= {"sample_rate": "16000", "embedding_dim": "16", "min_samples": "4000"}
    helper.set_model_props(model, {f"voxanchor.{name}": value for name, value in facts.items()})
    path = tmp_path_factory.mktemp("exported") / "small.onnx"
    path.write_bytes(seal(model.SerializeToString()))
    return path


@pytest.fixture
def folder(encoder: SpeakerEncoder, tmp_path: Path) -> Path:
    record = line(encoder.fingerprint)
    encoder.save(tmp_path / "model", {FILE: record.text().encode()})
    return tmp_path / "model"


def described(path: Path, out: Path, **entries: str) -> Path:
    """The exported file with more that it says of itself."""
    model = onnx.load_from_string(unsealed(path))
    for name, value in entries.items():
        model.metadata_props.add(key=f"voxanchor.{name}", value=value)
    out.write_bytes(seal(model.SerializeToString()))
    return out


def without_torch(code: str, *arguments: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_loader_imports_no_torch() -> None:
    assert without_torch("import sys, voxanchor; voxanchor.load; print('torch' in sys.modules)") == "False\n"


def test_an_exported_file_decides_without_torch(
    plain: Path, encoder: SpeakerEncoder, said: Said, tmp_path: Path
) -> None:
    path = described(plain, tmp_path / "m.onnx", calibration=line(encoder.fingerprint).text())
    soundfile.write(tmp_path / "a.wav", said(0), 16_000)
    code = (
        "import sys, voxanchor\n"
        "with voxanchor.load(sys.argv[1], store=sys.argv[3]) as verifier:\n"
        "    print(verifier.verify(sys.argv[2], sys.argv[2]).decision)\n"
        "    verifier.enroll('Ada', sys.argv[2])\n"
        "    print(verifier.verify_as('Ada', sys.argv[2]).decision, verifier.identify(sys.argv[2]).person)\n"
        "print('torch' in sys.modules)\n"
    )
    said_so = without_torch(code, path, tmp_path / "a.wav", tmp_path / "people.db")
    assert said_so == "accepted\naccepted Ada\nFalse\n"


def test_an_exported_file_carries_all_that_a_directory_does(
    plain: Path, folder: Path, encoder: SpeakerEncoder, tmp_path: Path
) -> None:
    draw = np.random.default_rng(0).standard_normal((20, 16)).astype(np.float32)
    embeddings = draw / np.linalg.norm(draw, axis=1, keepdims=True)
    content = save({"embeddings": embeddings}, {"model": encoder.fingerprint})
    digest = hashlib.sha256(content).hexdigest()
    record = replace(line(encoder.fingerprint), cohort_top=10, cohort_sha256=digest)
    report = json.dumps({"old": {"fingerprint": "old"}, "verdict": {"decision": "upgrade"}})
    matrix = np.eye(16, dtype=np.float32)
    (folder / FILE).write_text(record.text())
    (folder / COHORT_FILE).write_bytes(content)
    (folder / COMPATIBILITY_FILE).write_text(report)
    save_file({"matrix": matrix}, folder / MAP_FILE)
    path = described(
        plain,
        tmp_path / "m.onnx",
        calibration=record.text(),
        cohort=base64.b64encode(content).decode(),
        compatible=report,
        enrolment_map=base64.b64encode(save({"matrix": matrix})).decode(),
    )
    one, other = voxanchor.load(folder), voxanchor.load(path)
    assert one.fingerprint == other.fingerprint
    assert one.backend.record == other.backend.record == record
    for verifier in (one, other):
        assert verifier.backend.cohort is not None
        assert verifier.backend.cohort.top == 10
        np.testing.assert_array_equal(verifier.backend.cohort.embeddings, embeddings)
        assert verifier.older is not None
        assert verifier.older.fingerprint == "old"
        np.testing.assert_array_equal(verifier.older.matrix, matrix)


@pytest.mark.parametrize(
    "entries",
    [{"calibration": "{}"}, {"calibration": line("another model").text()}, {"compatible": "{}"}],
    ids=["no calibration", "of another model", "no report"],
)
def test_what_a_file_says_wrongly_of_itself_is_an_error(plain: Path, tmp_path: Path, entries: dict[str, str]) -> None:
    with pytest.raises(ModelError, match=str(tmp_path)):
        voxanchor.load(described(plain, tmp_path / "m.onnx", **entries))


def test_damaged_metadata_are_an_error(plain: Path, encoder: SpeakerEncoder, tmp_path: Path) -> None:
    record = replace(line(encoder.fingerprint), cohort_top=10).text()
    for cohort in ("not base64!", base64.b64encode(b"not tensors").decode()):
        path = described(plain, tmp_path / "m.onnx", calibration=record, cohort=cohort)
        with pytest.raises(ModelError, match="damaged"):
            voxanchor.load(path)


def test_damaged_files_beside_a_model_are_errors(folder: Path) -> None:
    assert voxanchor.load(folder).calibrated
    report = json.dumps({"old": {"fingerprint": "old"}, "verdict": {"decision": "upgrade"}})
    (folder / COMPATIBILITY_FILE).write_text(report)
    (folder / MAP_FILE).write_bytes(b"nonsense")
    with pytest.raises(ModelError, match=f"{MAP_FILE} is damaged"):
        voxanchor.load(folder)
    (folder / COMPATIBILITY_FILE).write_bytes(b"\xff\xfe")
    (folder / MAP_FILE).unlink()
    with pytest.raises(ModelError, match="not a report"):
        voxanchor.load(folder)
    (folder / COMPATIBILITY_FILE).unlink()
    (folder / FILE).write_bytes(b"\xff\xfe{")
    with pytest.raises(ModelError, match="damaged"):
        voxanchor.load(folder)


def test_a_model_that_cannot_be_loaded_leaves_no_store_behind(folder: Path, tmp_path: Path) -> None:
    (folder / FILE).write_text(line("another model").text())
    for reference in (folder, tmp_path / "nothing", tmp_path / "nothing.onnx"):
        with pytest.raises(ModelError):
            voxanchor.load(reference, store=tmp_path / "people.db")
    assert not (tmp_path / "people.db").exists()
    (folder / FILE).unlink()
    with voxanchor.load(folder, store=tmp_path / "people.db"):
        assert (tmp_path / "people.db").exists()
    with pytest.raises(EnrolmentError):
        voxanchor.load(folder, store=tmp_path)


def in_threads(verifier: Verifier, said: Said) -> None:
    recordings = [said(0.0, seconds, speaker) for speaker in range(3) for seconds in (0.8, 1.5, 2.3)]
    expected = verifier.embed(recordings)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(verifier.embed, [recordings] * 16):
            np.testing.assert_array_equal(found, expected)


def test_threads_that_embed_at_once_get_what_one_gets(plain: Path, folder: Path, said: Said) -> None:
    in_threads(voxanchor.load(folder), said)
    in_threads(voxanchor.load(plain), said)


def test_threads_may_enrol_and_decide_at_once(folder: Path, said: Said, tmp_path: Path) -> None:
    with voxanchor.load(folder, store=tmp_path / "people.db") as verifier:

        def work(number: int) -> str:
            wave = said(0.0, 1.5, number)
            verifier.enroll(f"p{number}", wave)
            return verifier.verify_as(f"p{number}", wave).decision

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(work, range(8))) == {"accepted"}
        assert len(verifier.store.people()) == len(verifier.store.decisions()) == 8


def test_the_cohort_of_another_model_is_refused(folder: Path, encoder: SpeakerEncoder) -> None:
    record = replace(line(encoder.fingerprint), cohort_top=2)
    (folder / FILE).write_text(record.text())
    save_file({"embeddings": np.eye(16, dtype=np.float32)}, folder / COHORT_FILE, {"model": "another"})
    with pytest.raises(ModelError, match="embedded by the model another"):
        voxanchor.load(folder)
    save_file({"embeddings": np.eye(16, dtype=np.float32)}, folder / COHORT_FILE, {"model": record.model})
    with pytest.raises(ModelError, match="not the one that the calibration was fitted with"):
        voxanchor.load(folder)


def test_a_device_without_torch_is_told_to_give_an_exported_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == "torch" else importlib.util.find_spec(name))
    with pytest.raises(MissingExtraError, match=r"give an exported \.onnx file"):
        voxanchor.load(folder)
