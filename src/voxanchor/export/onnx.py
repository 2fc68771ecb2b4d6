"""A model as one ONNX file that takes waveforms, checked against the model before it is there."""

import contextlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import voxanchor
from voxanchor.errors import ModelError, OutputError, RecipeError
from voxanchor.export.parity import embeddings_of_both
from voxanchor.export.quantised import constants_folded, in_int8
from voxanchor.export.stored import stored
from voxanchor.extras import require
from voxanchor.files import replacing
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.exported import (
    FORMAT,
    INPUTS,
    OUTPUT,
    SUFFIX,
    ExportedEncoder,
    is_sealed,
    seal,
    unsealed,
)
from voxanchor.progress import say
from voxanchor.types import SAMPLE_RATE, Waveform

TOLERANCE = 1e-4
"""Largest difference of any component of an embedding between the file and the model."""

SMALLEST_COSINE = {"float16": 0.9999, "int8": 0.99}
"""Between an embedding by a file in another precision and by the model."""

MOST_COMPARED = 16
"""Recordings that a file and its model are compared on, besides the generated ones."""

Precision = Literal["float32", "float16", "int8"]


@dataclass(frozen=True)
class Export:
    """A file that was written.

    Attributes:
        path: of the file.
        precision: of the file.
        size_bytes: of the file.
        compared_on: how many recordings that it was given it was compared with the model on; 0 for generated ones.
        max_difference: largest absolute difference between its embeddings and the model's.
        min_cosine: smallest cosine between the two embeddings of one recording.
    """

    path: Path
    precision: Precision
    size_bytes: int
    compared_on: int
    max_difference: float
    min_cosine: float


def export(
    encoder: SpeakerEncoder,
    out: str | Path,
    name: str,
    precision: Precision = "float32",
    *,
    extra: Mapping[str, str] | None = None,
    recordings: Sequence[Waveform] = (),
) -> Export:
    """Write an encoder as an ONNX file, and return what was written and how near it is to the encoder.

    The file takes `waves` (B, T) float32 and `lengths` (B,) int64, of any B and T, and gives `embeddings` (B, D). It
    stands under its name only after its embeddings were compared with the encoder's.

    Args:
        encoder: on the processor; left as it was found.
        out: file ending in ``.onnx``; an older one that this function wrote is replaced.
        name: stored in the file, for people.
        precision: ``float16`` stores the weights in half the size; ``int8`` in a fourth, and multiplies in 8 bits where
            that is faster. The embeddings of either are others, under a fingerprint of their own.
        extra: further metadata, such as ``calibration``.
        recordings: speech that sets the ranges of convolutions in ``int8``, and that the file is compared on; without
            any the convolutions compute in float32, and what is compared is generated.

    Raises:
        MissingExtraError: a package of the extra ``onnx`` is not installed.
        RecipeError: another ending.
        OutputError: `out` is something else than an exported model, or cannot be written.
        ModelError: the encoder cannot be exported, or the file embeds otherwise than it; no file is left.
    """
    out = Path(out)
    check_target(out)
    _check_extra()
    encoder = encoder.copy().eval()
    long_enough = [wave for wave in recordings if len(wave) >= encoder.min_samples]
    say(f"exporting {name}: 15 seconds, or up to a minute for a large network")
    model = _rounded(_graph(encoder, name), precision, long_enough)
    _tidy(model)
    content = seal(_described(model, {**_description(encoder, name, precision), **(extra or {})}))
    with replacing(out) as temporary:
        temporary.write_bytes(content)
        exported = ExportedEncoder.load(temporary, torch.get_num_threads())
        expected, found = embeddings_of_both(encoder, exported, compared := long_enough[:MOST_COMPARED])
        difference = float(np.abs(expected - found).max())
        cosine = float((expected * found).sum(axis=1).min())
        smallest = SMALLEST_COSINE.get(precision)
        if not (difference <= TOLERANCE if smallest is None else cosine >= smallest):
            allowed = f"at most {TOLERANCE:g} is" if smallest is None else f"cosines from {smallest:g} are"
            raise ModelError(
                f"{name}: the exported file differs from the model by {difference:.2g}, cosine {cosine:.5f} ({allowed} "
                f"allowed), so it was not kept. {_ADVICE[precision]}"
            )
    return Export(out, precision, len(content), len(compared), difference, cosine)


_ADVICE: dict[Precision, str] = {
    "float32": "Try other versions of torch and onnxruntime.",
    "float16": "Its weights do not fit half precision: export it in float32.",
    "int8": "Its weights, or what flows between its layers, do not fit 8 bits: export it in float16 or float32.",
}


def describe(path: Path, entries: Mapping[str, str]) -> int:
    """Add metadata to a file that `export` wrote, and return its size in bytes.

    Raises:
        ModelError: the file is damaged, or no such file.
        OutputError: it cannot be replaced.
    """
    import onnx

    model = onnx.load_from_string(unsealed(path))
    content = seal(_described(model, entries))
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return len(content)


class _Batch(nn.Module):
    """Waveforms and lengths to unit vectors, without the checks that look at values."""

    def __init__(self, encoder: SpeakerEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, waves: Tensor, lengths: Tensor) -> Tensor:
        return F.normalize(self.encoder.network(self.encoder.normalised(waves, lengths), lengths), dim=1)


def _graph(encoder: SpeakerEncoder, name: str) -> Any:
    """Return the encoder as an ONNX model in float32, as the exporter leaves it."""
    # odd sizes that nothing in a network has: no dimension is mistaken for a constant
    shortest = encoder.min_samples
    lengths = torch.tensor([shortest + 30_007, shortest, shortest + 9_001])
    waves = 0.1 * torch.randn(3, shortest + 30_007, generator=torch.Generator().manual_seed(0))
    any_size = torch.export.Dim.DYNAMIC
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                _Batch(encoder).eval(),
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
    return program.model_proto


def _rounded(model: Any, precision: Precision, recordings: Sequence[Waveform]) -> Any:
    """Return a model in another precision."""
    if precision == "float32":
        return model
    with _quiet():
        if precision == "int8":
            return in_int8(model, recordings)
        return stored(constants_folded(model), "float16")


def _described(model: Any, entries: Mapping[str, str]) -> bytes:
    """Return the bytes of a model whose metadata say what it is, besides what they said before."""
    known = {entry.key: entry for entry in model.metadata_props}
    for key, value in entries.items():
        entry = known.get(f"voxanchor.{key}") or model.metadata_props.add()
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
        "hears_level": str(encoder.hears_level),
    }


def _tidy(model: Any) -> None:
    """Remove the exporter's notes, which name places on this disk, and call the dimensions what they are.

    Sets of operations that are named but not used go too: another runtime may not know them.
    """
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
    used = {node.domain for node in graph.node}
    for unused in [entry for entry in model.opset_import if entry.domain not in used]:
        model.opset_import.remove(unused)
    model.producer_name, model.producer_version = "voxanchor", voxanchor.__version__


def check_target(out: Path) -> None:
    """Do nothing where an exported file may be written.

    Raises:
        RecipeError: another ending.
        OutputError: something stands there that `export` did not write.
    """
    if out.suffix != SUFFIX:
        raise RecipeError(f"export: {out}: the name of the file must end in {SUFFIX}; models are told apart by it")
    if out.exists() and not (out.is_file() and is_sealed(out)):
        what = "an ONNX file that this command did not write, or something else" if out.is_file() else "not a file"
        raise OutputError(f"{out}: is {what}. Choose another name, or remove it first.")


def _check_extra() -> None:
    require(("onnx", "onnxscript", "onnxruntime"), "export")


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
