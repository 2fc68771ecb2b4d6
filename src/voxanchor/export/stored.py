"""Weights in fewer bits than they are computed in: a smaller file, the same arithmetic, as fast as before."""

import math
from collections.abc import Collection, Iterable
from typing import Any, Literal

import numpy as np

from voxanchor.types import FloatArray

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
