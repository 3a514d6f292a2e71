"""Counts what a graph multiplies."""

from __future__ import annotations

import math

import onnx


def macs(graph: onnx.ModelProto) -> int:
    """Give the multiply-accumulates of a graph's convolutions, whose input sizes must be known.

    Each weight is used once a sample of a convolution's output, or of a transposed convolution's input.
    """
    inferred = onnx.shape_inference.infer_shapes(graph, data_prop=True).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.input, *inferred.value_info, *inferred.output)
    }
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in inferred.initializer}
    total = 0
    for node in inferred.node:
        if node.op_type in ("Conv", "ConvTranspose"):
            batch, _, height, width = shapes[node.output[0] if node.op_type == "Conv" else node.input[0]]
            assert batch * height * width > 0, node.name
            total += sizes[node.input[1]] * batch * height * width
    return total
