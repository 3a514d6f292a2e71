"""A graph while it grows: what every graph here is written with."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

OPSET = 18
"""The newest whose operators all providers know: WebGPU's AveragePool ends at 18 and its GridSample at 19, and
TensorRT's parser takes the "linear" of opset 20's GridSample for the nearest sample (onnx-tensorrt, pull request 1060).
"""
IR_VERSION = 8
"""What opset 18 came with; older than what the newest onnx writes, so that older runtimes read it."""


class Builder:
    """Holds a graph while it grows: nodes are named, and each gives one tensor of the same name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []

    def const(self, name: str, values: NDArray[np.generic]) -> str:
        """Add a constant tensor; gives its name."""
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def ints(self, name: str, *values: int) -> str:
        """Add a constant list of int64."""
        return self.const(name, np.array(values, np.int64))

    def scalar(self, name: str, value: float) -> str:
        """Add a constant float32 without dimensions."""
        return self.const(name, np.array(value, np.float32))

    def node(self, kind: str, name: str, *inputs: str, **attributes: float | str | Sequence[int]) -> str:
        """Add a node of ONNX operator `kind` with one output; gives its name."""
        made = helper.make_node(kind, list(inputs), [name], name=name)
        made.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(made)
        return name

    def part(self, name: str, tensor: str, axis: int, start: int, stop: int) -> str:
        """Add a slice of a tensor along one axis; gives its name."""
        ends = [self.ints(f"{name}_{key}", value) for key, value in (("start", start), ("stop", stop), ("axis", axis))]
        return self.node("Slice", name, tensor, *ends)

    def model(
        self, name: str, inputs: list[onnx.ValueInfoProto], outputs: list[onnx.ValueInfoProto]
    ) -> onnx.ModelProto:
        """Close the graph. Raises onnx.checker.ValidationError for one that ONNX does not allow."""
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="uprez")
        onnx.checker.check_model(model, full_check=True)
        return model
