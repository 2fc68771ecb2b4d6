"""Networks in 8 bits: a fourth of the size, and faster where that is measured to be so."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from voxanchor.export.stored import front_end, stored
from voxanchor.files import temporary_folder
from voxanchor.types import SAMPLE_RATE, Waveform

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
