"""A model in one ONNX file: waveforms in, unit vectors out, by onnxruntime, without torch.

`voxanchor.export` writes such files. The last bytes of one are an ordinary entry of its metadata, the SHA-256 of all
before them, so that a file cut short or changed on its way is known without the libraries that wrote it.
"""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from voxanchor.errors import AudioError, ModelError, RecipeError
from voxanchor.extras import missing
from voxanchor.types import SAMPLE_RATE, Embeddings

SUFFIX = ".onnx"
FORMAT = "voxanchor-onnx-1"

INPUTS = ("waves", "lengths")
OUTPUT = "embeddings"

_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

_KEY = b"voxanchor.sha256"
_ENTRY = b"\x0a" + bytes([len(_KEY)]) + _KEY + b"\x12\x40"
_SEAL = b"\x72" + bytes([len(_ENTRY) + 64]) + _ENTRY
"""What stands before the 64 digits: field 14 of an ONNX model, an entry of its metadata, as protobuf writes it."""

_SEAL_BYTES = len(_SEAL) + 64


def seal(model: bytes) -> bytes:
    """Return a serialised ONNX model with the SHA-256 of its bytes as a last entry of its metadata."""
    return model + _SEAL + hashlib.sha256(model).hexdigest().encode()


def unsealed(path: Path) -> bytes:
    """Return the ONNX model in an exported file, without its last entry.

    Raises:
        ModelError: it cannot be read, is no such file, or is not as it was written.
    """
    return _whole(path)[0]


def is_sealed(path: Path) -> bool:
    """Return whether a file ends as the files of `seal` do; whether it is whole is not looked at."""
    with path.open("rb") as file:
        file.seek(-min(_SEAL_BYTES, path.stat().st_size), 2)
        return file.read(len(_SEAL)) == _SEAL


class ExportedEncoder:
    """The encoder in an exported file. Several threads may use one at once.

    Attributes:
        name: what the model was called where it was exported.
        fingerprint: of the model it was made from, so that embeddings of the two may be compared; in ``float16`` and
            ``int8`` with that behind it.
        precision: ``float32``; ``float16``, in which only the weights are stored; or ``int8``, in which the large
            products are computed, too. In ``int8`` an embedding depends a little on the recordings it is computed with.
        embedding_dim: D.
        min_samples: length of the shortest recording that can be embedded.
        hears_level: whether gain changes an embedding.
        described: all that the file says of itself, such as ``architecture``, ``sha256``, and where they are known
            ``calibration``, ``cohort``, ``compatible``, ``enrolment_map`` and ``loss``, without the ``voxanchor.``
            before each name.
    """

    def __init__(self, session: Any, described: Mapping[str, str]) -> None:
        self._session = session
        self.described: Mapping[str, str] = MappingProxyType(dict(described))
        self.name = described["name"]
        self.fingerprint = described["fingerprint"]
        self.precision = described["precision"]
        self.embedding_dim = int(described["embedding_dim"])
        self.min_samples = int(described["min_samples"])
        # files of before do not say; among their networks only this one does
        self.hears_level = described.get("hears_level", str(described.get("architecture") == "ge2e")) == "True"

    @classmethod
    def load(cls, path: str | Path, threads: int = 0, device: str = "cpu") -> Self:
        """Return the encoder in a file.

        Args:
            path: of a file that `voxanchor export` wrote.
            threads: that share every operation; 0 leaves the number to onnxruntime.
            device: where it computes: ``auto`` and ``cpu`` are the processor; ``cuda``, or one of several as in
                ``cuda:1``, where the onnxruntime that is installed can.

        Raises:
            RecipeError: no such device, or this onnxruntime computes on the processor alone.
            MissingExtraError: onnxruntime is not installed.
            ModelError: the file is missing, damaged, or one that another program wrote.
        """
        try:
            import onnxruntime
        except ImportError:
            raise missing("onnxruntime", f"the model '{path}'") from None
        providers = _providers(onnxruntime, device, path)
        content, digest = _whole(Path(path))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = 3
        # threads that wait in a loop take the processor from those that read recordings
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # a plan of the memory is kept per shape, and every batch has another
        options.enable_mem_pattern = False
        try:
            session = onnxruntime.InferenceSession(content, options, providers=providers)
            made = cls(session, {**_described(session), "sha256": digest})
        except Exception as error:  # the library raises classes of its own that share no base
            reason = f"onnxruntime {onnxruntime.__version__} cannot use it ({error})"
            raise ModelError(f"{path}: {reason}. Export the model again, or install another onnxruntime.") from error
        # it goes on with the processor, and says so in its log alone, where the libraries of CUDA cannot be loaded
        if device.startswith("cuda") and _CUDA not in session.get_providers():
            raise RecipeError(f"{path}: onnxruntime cannot use the device '{device}' here; use --device cpu")
        return made

    def embed(self, waves: NDArray[np.float32], lengths: NDArray[np.int64]) -> Embeddings:
        """Return embeddings, (B, D) float32 unit vectors; each recording gets the one it gets alone.

        Args:
            waves: (B, T) float32, full scale 1.0, 16 kHz; what lies behind a recording's end does not matter.
            lengths: (B,) int64 samples of each recording, at most T.

        Raises:
            AudioError: a recording shorter than `min_samples`.
            ModelError: shapes that do not fit.
        """
        if waves.ndim != 2 or lengths.shape != waves.shape[:1] or not len(waves):
            raise ModelError(f"expected waveforms (B, T) and lengths (B,), got {waves.shape} and {lengths.shape}")
        if lengths.max() > waves.shape[1]:
            raise ModelError(f"a length of {lengths.max()} samples in a batch of {waves.shape[1]}")
        if lengths.min() < self.min_samples:
            found, needed = (f"{samples / SAMPLE_RATE:.2f} s" for samples in (lengths.min(), self.min_samples))
            raise AudioError(f"a recording of {found} is too short: the model needs {needed}")
        inputs = dict(zip(INPUTS, (waves.astype(np.float32, copy=False), lengths), strict=True))
        (embeddings,) = self._session.run([OUTPUT], inputs)
        return np.asarray(embeddings, dtype=np.float32)


def _providers(runtime: Any, device: str, path: str | Path) -> list[Any]:
    """Return what onnxruntime is to compute with, the best first.

    Raises:
        RecipeError: no such device, or one that this onnxruntime has no part for.
    """
    if device in ("auto", "cpu"):
        return [_CPU]
    if not re.fullmatch(r"cuda(:\d{1,3})?", device):
        raise RecipeError(f"device '{device}': an exported file ({path}) runs on auto, cpu, cuda or one as cuda:1")
    if _CUDA not in runtime.get_available_providers():
        raise RecipeError(
            f"{path}: the onnxruntime installed here computes on the processor alone; use --device cpu, or install "
            "onnxruntime-gpu in its place"
        )
    return [(_CUDA, {"device_id": int(device.partition(":")[2] or 0)}), _CPU]


def _whole(path: Path) -> tuple[bytes, str]:
    """Return the ONNX model in an exported file, and its SHA-256.

    Raises:
        ModelError: it cannot be read, is no such file, or is not as it was written.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
    body, tail = content[:-_SEAL_BYTES], content[-_SEAL_BYTES:]
    if not tail.startswith(_SEAL):
        reason = "not a file that 'voxanchor export' wrote, or one that was cut short"
        raise ModelError(f"{path}: {reason}. Copy it again, or export the model.")
    if seal(body) != content:
        raise ModelError(f"{path}: damaged: its SHA-256 is not the one it states. Copy it again, or export the model.")
    return body, tail[len(_SEAL) :].decode()


def _described(session: Any) -> dict[str, str]:
    described = {
        key.removeprefix("voxanchor."): value for key, value in session.get_modelmeta().custom_metadata_map.items()
    }
    expected = {"format": FORMAT, "sample_rate": str(SAMPLE_RATE)}
    found = {key: described.get(key) for key in expected}
    if found != expected:
        raise ValueError(f"its metadata say {found}, this program reads {expected}")
    return described
