"""A model as one ONNX file that takes waveforms, in float32, float16 or int8, checked against the model."""

import contextlib
import logging
import math
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import voxanchor
from voxanchor import rng
from voxanchor.errors import ModelError, OutputError, RecipeError
from voxanchor.extras import require
from voxanchor.files import replacing, temporary_folder
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.exported import FORMAT, INPUTS, OUTPUT, SUFFIX, ExportedEncoder, is_sealed, seal, unsealed
from voxanchor.runtime import log_line
from voxanchor.types import SAMPLE_RATE, Embeddings, FloatArray, Waveform

DURATIONS_S = (0.5, 3.0, 20.0)


def embeddings_of_both(
    encoder: SpeakerEncoder, exported: ExportedEncoder, recordings: Sequence[Waveform] = ()
) -> tuple[Embeddings, Embeddings]:
    """Return (2 N, D) by torch and (2 N, D) by the file: N recordings alone, then the same in one batch.

    Args:
        encoder: in evaluation mode, on the processor. By it each recording is embedded alone, both times.
        exported: the batch is padded with loud noise, which must not be heard.
        recordings: what stands in for the three generated ones, of 0.5, 3 and 20 s.
    """
    waves = list(recordings) or [
        generated(max(round(seconds * SAMPLE_RATE), encoder.min_samples)) for seconds in DURATIONS_S
    ]
    with torch.no_grad():
        expected = np.concatenate([encoder(torch.from_numpy(wave)[None]).numpy() for wave in waves])
    lengths = np.array([len(wave) for wave in waves])
    alone = [exported.embed(wave[None], lengths[i : i + 1]) for i, wave in enumerate(waves)]
    padded = rng.generator(0, 0, 0, "export/padding").standard_normal((len(waves), lengths.max()), dtype=np.float32)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = wave
    return np.tile(expected, (2, 1)), np.concatenate([*alone, exported.embed(padded, lengths)])


def generated(samples: int) -> Waveform:
    """Return (samples,) float32: a buzz with syllables over faint noise, as loud as speech is."""
    time_s = np.arange(samples) / SAMPLE_RATE
    harmonics = sum(np.sin(2 * np.pi * 140 * k * time_s) / k for k in range(1, 40))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_s)
    noise = rng.generator(0, 0, samples, "export/noise").standard_normal(samples)
    return np.asarray(0.1 * syllables * harmonics + 0.002 * noise, dtype=np.float32)


# Weights in fewer bits than they are computed in: a smaller file, the same arithmetic, as fast as before.

LEAST_WEIGHTS = 1024
"""A smaller array is kept: there is nothing to gain."""

PRODUCTS = ("Conv", "MatMul", "Gemm", "LSTM")
"""Operations whose second input is a matrix of weights; the third too for the last."""

LARGEST_INT8 = 127


def front_end(model: Any) -> set[str]:
    """Return the names of the operations that make the features: all the way to the first logarithm.

    Their numbers span more than half precision or 8 bits hold: the matrices that take a spectrum are nearly blind to
    what is faint once they are rounded, and the powers reach 1e14. Where there is no logarithm it is all the way to the
    first square, and the product with it.
    """
    nodes = model.graph.node
    ends = [node for node in nodes if node.op_type == "Log"][:1]
    if not ends:
        ends = [node for node in nodes if node.op_type == "Pow"][:1]
        ends += [node for node in nodes if node.op_type == "MatMul" and ends and ends[0].output[0] in node.input]
    makers = {output: node for node in nodes for output in node.output}
    found: set[str] = set()
    waiting = list(ends)
    while waiting:
        node = waiting.pop()
        if node.name not in found:
            found.add(node.name)
            waiting += [makers[name] for name in node.input if name in makers]
    return found


def stored(model: Any, kind: Literal["float16", "int8"], halves: Collection[str] = ()) -> Any:
    """Return an ONNX model that holds the weights of its products in 16 or 8 bits and widens them when it is loaded.

    The widening is a cast, and in ``int8`` a product with a scale for every channel of the output: a runtime folds
    either as it loads the file, so that all that follows computes in float32. The front-end keeps its own.

    Args:
        model: whose weights are constants; left as it was.
        kind: ``float16`` for every weight, ``int8`` for those that multiply.
        halves: names of constants that have 16 bits in any case.
    """
    from onnx import ModelProto, TensorProto, helper, numpy_helper

    made = ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    kept = _of_front_end(made)
    places = {name: (node, i) for node in graph.node for i, name in enumerate(node.input)}
    constants, widened = [], []
    for tensor in graph.initializer:
        if tensor.data_type != TensorProto.FLOAT or math.prod(tensor.dims) < LEAST_WEIGHTS or tensor.name in kept:
            constants.append(tensor)
            continue
        weights = numpy_helper.to_array(tensor)
        axes = _rounded_over(*places[tensor.name], weights.ndim) if tensor.name in places else ()
        in_half = kind == "float16" or tensor.name in halves
        if in_half and np.abs(weights).max() <= np.finfo(np.float16).max:
            name = f"{tensor.name}.float16"
            constants.append(numpy_helper.from_array(weights.astype(np.float16), name))
            widened.append(helper.make_node("Cast", [name], [tensor.name], f"{name}.widened", to=TensorProto.FLOAT))
        elif not in_half and axes:
            digits, scales, wide = (f"{tensor.name}.{part}" for part in ("int8", "scales", "digits"))
            rounded, scale = _rounded(weights, axes)
            constants += [numpy_helper.from_array(rounded, digits), numpy_helper.from_array(scale, scales)]
            widened.append(helper.make_node("Cast", [digits], [wide], f"{digits}.widened", to=TensorProto.FLOAT))
            widened.append(helper.make_node("Mul", [wide, scales], [tensor.name], f"{digits}.scaled"))
        else:
            constants.append(tensor)
    _replace(graph.initializer, constants)
    _replace(graph.node, [*widened, *graph.node])
    return made


def _of_front_end(model: Any) -> set[str]:
    """Return the names of the constants that the front-end uses."""
    names = front_end(model)
    return {name for node in model.graph.node if node.name in names for name in node.input}


def _rounded_over(node: Any, place: int, dimensions: int) -> tuple[int, ...]:
    """Return the axes of a matrix of weights that share a scale: all but the channels of the output.

    Nothing where an input is no such matrix.
    """
    if node.op_type not in PRODUCTS or place not in ((1, 2) if node.op_type == "LSTM" else (1,)):
        return ()
    if node.op_type == "LSTM":  # (directions, 4 H, inputs)
        return (2,)
    transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
    channels = 0 if node.op_type == "Conv" or transposed else dimensions - 1
    return tuple(axis for axis in range(dimensions) if axis != channels)


def _rounded(weights: FloatArray, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """Return int8 digits shaped as the weights are, and float32 scales that they are multiples of."""
    scales = np.abs(weights).max(axis=axes, keepdims=True).astype(np.float32) / np.float32(LARGEST_INT8)
    scales[scales == 0] = 1
    return np.rint(weights / scales).astype(np.int8), scales


def _replace(field: Any, items: Iterable[Any]) -> None:
    items = list(items)
    del field[:]
    field.extend(items)


# Networks in 8 bits: a fourth of the size, and faster where that is measured to be so.

SILENCED_S = 1.0
"""What is replaced by zeros at the start of every fourth recording: ranges must hold what a pause without noise is."""

LEAST_CHANNELS = 16
"""Convolutions of fewer channels are no faster in 8 bits, and the first one, of features, would lose the most."""


def in_int8(model: Any, recordings: Sequence[Waveform] = ()) -> Any:
    """Return an ONNX model whose weights are in 8 bits, and whose large products are computed so where it is faster.

    Weights are rounded once, a scale for every channel. What flows into a product of matrices, or into a recurrent
    layer, is rounded by its range in each call. Convolutions would take five times as long in that way. In a network
    that is made of them they are rounded by the ranges that `recordings` have, which is fast; without recordings, and
    in other networks, their weights are merely stored in 8 bits. The front-end stays in float32. So does what the first
    recurrent layer computes, with weights in 16 bits: its input is powers without logarithm, a range that 8 bits do not
    span (the cosine to the float32 embedding would fall to 0.75, and to 0.53 with weights in 8 bits).

    Args:
        model: in float32.
        recordings: speech as the model will hear it, each long enough for it; a few dozen.
    """
    folded = constants_folded(model)
    kept = front_end(folded)
    first = [node for node in folded.graph.node if node.op_type == "LSTM"][:1]
    with_weights = _products_with_weights(folded)
    if recordings and _mostly_convolutions(folded):
        folded = _by_ranges(folded, recordings, kept)
    others = [node.name for node in folded.graph.node if node.op_type == "MatMul" and node.name not in with_weights]
    excluded = [*kept, *others, *(node.name for node in first)]
    return stored(_by_call(folded, excluded), "int8", [name for node in first for name in node.input[1:3]])


def constants_folded(model: Any) -> Any:
    """Return a model that computes the same, with weights that are constants.

    The exporter leaves them as products of small operations on constants; only constants can be rounded.
    """
    import onnxruntime

    def fold(_source: Path, target: Path) -> None:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])

    return _through_files(model, fold)


def _mostly_convolutions(model: Any) -> bool:
    """Return whether most of the weights are those of convolutions."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    weights = dict.fromkeys(("Conv", "MatMul", "Gemm", "LSTM"), 0)
    kept = front_end(model)
    for node in model.graph.node:
        if node.op_type in weights and node.name not in kept:
            weights[node.op_type] += sum(sizes.get(name, 0) for name in node.input[1:3])
    return 2 * weights["Conv"] > sum(weights.values())


def _narrow(model: Any) -> list[str]:
    """Return the names of the convolutions that are not rounded."""
    shapes = {tensor.name: tensor.dims for tensor in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    return [node.name for node in convolutions if min(shapes.get(node.input[1], (0, 0))[:2]) < LEAST_CHANNELS]


def _products_with_weights(model: Any) -> set[str]:
    constants = {tensor.name for tensor in model.graph.initializer}
    return {node.name for node in model.graph.node if node.op_type == "MatMul" and node.input[1] in constants}


def _by_call(model: Any, kept: Sequence[str]) -> Any:
    """Return the model with products that round what flows into them by its range in each call."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    def quantise(source: Path, target: Path) -> None:
        quantize_dynamic(
            source,
            target,
            op_types_to_quantize=["LSTM", "MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(kept),
        )

    return _through_files(model, quantise)


def _by_ranges(model: Any, recordings: Sequence[Waveform], kept: set[str]) -> Any:
    """Return the model with convolutions that round what flows into them by its range over recordings."""
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Recordings(CalibrationDataReader):  # type: ignore[misc]  # the library has no types
        def __init__(self) -> None:
            self.left = iter([_with_pause(wave, i) for i, wave in enumerate(recordings)])

        def get_next(self) -> dict[str, Any] | None:
            wave = next(self.left, None)
            return None if wave is None else {"waves": wave[None], "lengths": np.array([len(wave)], np.int64)}

    def quantise(source: Path, target: Path) -> None:
        quantize_static(
            source,
            target,
            Recordings(),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=["Conv"],
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[*kept, *_narrow(model)],
        )

    return _through_files(model, quantise)


def _with_pause(wave: Waveform, index: int) -> Waveform:
    if index % 4 or len(wave) < 2 * SILENCED_S * SAMPLE_RATE:
        return wave
    paused = wave.copy()
    paused[: int(SILENCED_S * SAMPLE_RATE)] = 0.0
    return paused


def _through_files(model: Any, change: Callable[[Path, Path], None]) -> Any:
    import onnx

    with temporary_folder("voxanchor-export-") as folder:
        before, after = folder / "before.onnx", folder / "after.onnx"
        onnx.save(model, before)
        change(before, after)
        return onnx.load(after)


# A model as one ONNX file that takes waveforms, checked against the model before it is there.

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
    log_line(f"exporting {name}: 15 seconds, or up to a minute for a large network")
    model = _in_precision(_graph(encoder, name), precision, long_enough)
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


def _in_precision(model: Any, precision: Precision, recordings: Sequence[Waveform]) -> Any:
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
    """Check that an exported file may be written there.

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
