"""Networks in 8 bits, where that makes them faster."""

import tempfile
from pathlib import Path
from typing import Any

from voxanchor.errors import RecipeError


def in_int8(model: Any) -> Any:
    """Return an ONNX model whose recurrent layers after the first multiply in 8 bits.

    Weights are rounded once, a scale for every row; what flows is rounded by its range in each call. The first layer
    stays in float32: its input is the front-end's powers without logarithm, a range that 8 bits do not span (the cosine
    to the float32 embedding would fall to 0.75). So do convolutions, which take twice as long when rounded this way.

    Raises:
        RecipeError: a network without recurrent layers.
    """
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    if not any(node.op_type == "LSTM" for node in model.graph.node):
        raise RecipeError(
            "export: int8 makes recurrent networks (ge2e) faster and convolutions slower: this model has none of the "
            "former. Leave --precision out."
        )
    with tempfile.TemporaryDirectory() as folder:
        folded, rounded = Path(folder) / "folded.onnx", Path(folder) / "rounded.onnx"
        # only weights that are constants are rounded, and the exporter leaves them as products of small operations
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        options.log_severity_level = 3
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        first = next(node.name for node in onnx.load(folded).graph.node if node.op_type == "LSTM")
        quantize_dynamic(
            folded,
            rounded,
            op_types_to_quantize=["LSTM"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=[first],
        )
        return onnx.load(rounded)
