"""A model as one ONNX file that takes waveforms, checked against the model before it is there."""

import contextlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import voxanchor
from voxanchor.errors import MissingExtraError, ModelError, OutputError, RecipeError
from voxanchor.export.parity import embeddings_of_both
from voxanchor.export.quantised import in_int8
from voxanchor.files import replacing
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.exported import FORMAT, INPUTS, INSTALL_HINT, OUTPUT, SUFFIX, ExportedEncoder, is_sealed, seal
from voxanchor.progress import say
from voxanchor.types import SAMPLE_RATE

TOLERANCE = 1e-4
"""Largest difference of any component of an embedding between the file and the model."""

INT8_COSINE = 0.99
"""Smallest cosine between an embedding by a file in int8 and by the model."""

Precision = Literal["float32", "int8"]


@dataclass(frozen=True)
class Export:
    """A file that was written.

    Attributes:
        path: of the file.
        size_bytes: of the file.
        max_difference: largest absolute difference between its embeddings and the model's on generated recordings.
        min_cosine: smallest cosine between the two embeddings of one of them.
    """

    path: Path
    size_bytes: int
    max_difference: float
    min_cosine: float


def export(encoder: SpeakerEncoder, out: str | Path, name: str, precision: Precision = "float32") -> Export:
    """Write an encoder as an ONNX file, and return what was written and how near it is to the encoder.

    The file takes `waves` (B, T) float32 and `lengths` (B,) int64, of any B and T, and gives `embeddings` (B, D). It
    stands under its name only after its embeddings were compared with the encoder's.

    Args:
        encoder: on the processor; left as it was found.
        out: file ending in ``.onnx``; an older one that this function wrote is replaced.
        name: stored in the file, for people.
        precision: ``int8`` multiplies the recurrent layers after the first in 8 bits. Its embeddings are others, under
            a fingerprint of their own.

    Raises:
        MissingExtraError: a package of the extra ``onnx`` is not installed.
        RecipeError: another ending, or ``int8`` of a network without recurrent layers.
        OutputError: `out` is something else than an exported model, or cannot be written.
        ModelError: the encoder cannot be exported, or the file embeds otherwise than it; no file is left.
    """
    out = Path(out)
    _check_target(out)
    _check_extra()
    encoder = encoder.copy().eval()
    say(f"exporting {name}: 15 seconds, or up to a minute for a large network")
    content = seal(_described(_graph(encoder, name, precision), encoder, name, precision))
    with replacing(out) as temporary:
        temporary.write_bytes(content)
        expected, found = embeddings_of_both(encoder, ExportedEncoder.load(temporary, torch.get_num_threads()))
        difference = float(np.abs(expected - found).max())
        cosine = float((expected * found).sum(axis=1).min())
        if not (difference <= TOLERANCE if precision == "float32" else cosine >= INT8_COSINE):
            allowed = f"at most {TOLERANCE:g} is" if precision == "float32" else f"cosines from {INT8_COSINE:g} are"
            raise ModelError(
                f"{name}: the exported file differs from the model by {difference:.2g}, cosine {cosine:.5f} ({allowed} "
                "allowed), so it was not kept. Try other versions of torch and onnxruntime."
            )
    return Export(out, len(content), difference, cosine)


class _Batch(nn.Module):
    """Waveforms and lengths to unit vectors, without the checks that look at values."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        return F.normalize(self.network(waves, lengths), dim=1)


def _graph(encoder: SpeakerEncoder, name: str, precision: Precision) -> Any:
    """Return the encoder as an ONNX model, tidy, without any description."""
    # odd sizes that nothing in a network has: no dimension is mistaken for a constant
    shortest = encoder.min_samples
    lengths = torch.tensor([shortest + 30_007, shortest, shortest + 9_001])
    waves = 0.1 * torch.randn(3, shortest + 30_007, generator=torch.Generator().manual_seed(0))
    any_size = torch.export.Dim.DYNAMIC
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _Batch(encoder.network).eval(),
                (waves, lengths),
                dynamo=True,
                verbose=False,
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_shapes={"waves": {0: any_size, 1: any_size}, "lengths": {0: any_size}},
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise ModelError(
            f"{name}: this network cannot be exported with torch {torch.__version__}: {error.__cause__ or error}"
        ) from error
    assert program is not None
    model = program.model_proto
    if precision == "int8":
        with _quiet():
            model = in_int8(model)
    _tidy(model)
    return model


def _described(model: Any, encoder: SpeakerEncoder, name: str, precision: Precision) -> bytes:
    """Return the bytes of a model whose metadata say what it is."""
    for key, value in _description(encoder, name, precision).items():
        entry = model.metadata_props.add()
        entry.key, entry.value = f"voxanchor.{key}", value
    content: bytes = model.SerializeToString(deterministic=True)
    return content


def _description(encoder: SpeakerEncoder, name: str, precision: Precision) -> dict[str, str]:
    return {
        "format": FORMAT,
        "name": name,
        "architecture": encoder.config.architecture,
        "fingerprint": encoder.fingerprint + ("" if precision == "float32" else f"-{precision}"),
        "precision": precision,
        "sample_rate": str(SAMPLE_RATE),
        "embedding_dim": str(encoder.embedding_dim),
        "min_samples": str(encoder.min_samples),
    }


def _tidy(model: Any) -> None:
    """Remove the exporter's notes, which name places on this disk, and call the dimensions what they are."""
    graph = model.graph
    del model.metadata_props[:]
    for item in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        item.ClearField("doc_string")
        del item.metadata_props[:]
    del graph.value_info[:]
    waves, lengths = graph.input
    (embeddings,) = graph.output
    for value, names in ((waves, ("batch", "samples")), (lengths, ("batch",)), (embeddings, ("batch",))):
        for dimension, called in zip(value.type.tensor_type.shape.dim, names, strict=False):
            dimension.dim_param = called
    model.producer_name, model.producer_version = "voxanchor", voxanchor.__version__


def _check_target(out: Path) -> None:
    if out.suffix != SUFFIX:
        raise RecipeError(f"export: {out}: the name of the file must end in {SUFFIX}; models are told apart by it")
    if out.exists() and not (out.is_file() and is_sealed(out)):
        what = "an ONNX file that this command did not write, or something else" if out.is_file() else "not a file"
        raise OutputError(f"{out}: is {what}. Choose another name, or remove it first.")


def _check_extra() -> None:
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "export", INSTALL_HINT)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's remarks about packages it would also know, and about itself, from the user."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
