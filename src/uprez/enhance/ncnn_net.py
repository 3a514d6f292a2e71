"""Runs a planes graph with its network on ncnn, which computes 3x3 convolutions by Winograd's method.

Fewer multiplications than there are in the convolutions: on CPUs it is faster than a matrix product could be, at f32.
Only what upscaling networks are made of is translated. What lies around a network stays with ONNX Runtime:

    planes -> [ONNX Runtime] -> RGB -> [ncnn: up to the last convolution] -> [ONNX Runtime] -> planes
"""

from __future__ import annotations

import importlib
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper, shape_inference
from onnx.utils import Extractor

Array = NDArray[np.generic]
NETWORK = "network/"
"""What the names of a network's nodes begin with."""
_MAGIC = "7767517"
_F32_TAG = 0


class NotTranslatedError(Exception):
    """A graph has something that ncnn is not asked to do here."""


class NoNetworkError(NotTranslatedError):
    """A graph has no network of the kinds that are translated."""


class Cut:
    """A planes graph in three parts: what comes before the network's convolutions, these, and what comes after."""

    def __init__(self, model: onnx.ModelProto) -> None:
        """Raises NotTranslatedError for a graph without a network of the known kinds."""
        graph = model.graph
        inside = [number for number, node in enumerate(graph.node) if node.name.startswith(NETWORK)]
        last = max((at for at in inside if graph.node[at].op_type == "Conv"), default=None)
        if last is None:
            raise NoNetworkError("it runs networks of convolutions alone")
        self.body = [graph.node[at] for at in inside if at <= last]
        self.constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        made = {name for node in self.body for name in node.output}
        taken = {name for node in self.body for name in node.input if name} - made - self.constants.keys()
        if len(taken) != 1:
            raise NotTranslatedError(f"its network takes {len(taken)} tensors")
        (self.start,) = taken
        self.end = self.body[-1].output[0]
        rest = [node for node in graph.node if node.output[0] not in made]
        after = {self.end}
        for node in rest:
            if not after.isdisjoint(node.input):
                after |= set(node.output)
        before = {name for node in rest if node.output[0] not in after for name in node.output}
        wanted = {name for node in rest if node.output[0] in after for name in node.input}
        self.between = sorted((before & wanted) | {self.start})
        names = [item.name for item in graph.input]
        self.planes = [name for name in names if name not in wanted]
        extractor = Extractor(shape_inference.infer_shapes(model))
        outputs = [item.name for item in graph.output]
        given = [name for name in names if name in wanted]
        self.before = extractor.extract_model(self.planes, self.between)
        kept = [name for name in self.between if name in wanted]
        self.after = extractor.extract_model([*kept, self.end, *given], outputs)


def translated(cut: Cut) -> tuple[str, bytes]:
    """Give a network's .param and .bin; raises NotTranslatedError, naming the operator that has no layer."""
    uses = Counter(name for node in cut.body for name in node.input if name and name not in cut.constants)
    writer = _Writer(cut.constants, uses)
    writer.layer("Input", [], cut.start)
    for node in cut.body:
        write = _LAYERS.get(node.op_type)
        if write is None:
            raise NotTranslatedError(f"it has no {node.op_type} here")
        write(writer, node)
    return writer.text(), bytes(writer.values)


class _Writer:
    """ncnn's text of layers and their values, while they grow. A tensor that several layers take is split for them."""

    def __init__(self, constants: Mapping[str, Array], uses: Counter[str]) -> None:
        self.constants = constants
        self.values = bytearray()
        self._uses = uses
        self._lines: list[str] = []
        self._copies: dict[str, list[str]] = {}
        self._names: dict[str, str] = {}
        self._blobs = 0

    def layer(self, kind: str, inputs: Sequence[str], output: str, *params: str) -> None:
        """Add a layer with one output."""
        taken = [self._copies[name].pop() if self._copies.get(name) else self._blob(name) for name in inputs]
        blob = self._blob(output)
        self._line(kind, taken, [blob], params)
        if self._uses[output] > 1:
            self._copies[output] = [f"{blob}_{number}" for number in range(self._uses[output])]
            self._line("Split", [blob], self._copies[output])

    def floats(self, values: Array, *, tagged: bool) -> None:
        """Add values; weights have a tag before them that says what they are."""
        self.values += struct.pack("<I", _F32_TAG) if tagged else b""
        self.values += np.ascontiguousarray(values, np.float32).tobytes()

    def text(self) -> str:
        """Give the text."""
        return "\n".join([_MAGIC, f"{len(self._lines)} {self._blobs}", *self._lines, ""])

    def _blob(self, tensor: str) -> str:
        return self._names.setdefault(tensor, f"b{len(self._names)}")

    def _line(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], params: Sequence[str] = ()) -> None:
        self._blobs += len(outputs)
        counts = f"{len(inputs)} {len(outputs)}"
        self._lines.append(" ".join([kind, f"l{len(self._lines)}", counts, *inputs, *outputs, *params]))


def _conv(writer: _Writer, node: onnx.NodeProto) -> None:
    weight, bias = (writer.constants[name] for name in node.input[1:])
    attributes = {item.name: list(item.ints) for item in node.attribute}
    if attributes != {"pads": [1, 1, 1, 1]} or weight.shape[2:] != (3, 3):
        raise NotTranslatedError(f"the convolution {node.name} is not a plain 3x3 one")
    params = (f"0={weight.shape[0]}", "1=3", "4=1", "5=1", f"6={weight.size}")
    writer.layer("Convolution", [node.input[0]], node.output[0], *params)
    writer.floats(weight, tagged=True)
    writer.floats(bias, tagged=False)


def _prelu(writer: _Writer, node: onnx.NodeProto) -> None:
    slopes = writer.constants[node.input[1]]
    writer.layer("PReLU", [node.input[0]], node.output[0], f"0={slopes.size}")
    writer.floats(slopes, tagged=False)


def _leaky(writer: _Writer, node: onnx.NodeProto) -> None:
    writer.layer("ReLU", [node.input[0]], node.output[0], f"0={node.attribute[0].f:e}")


def _concat(writer: _Writer, node: onnx.NodeProto) -> None:
    writer.layer("Concat", node.input, node.output[0], "0=0")


def _add(writer: _Writer, node: onnx.NodeProto) -> None:
    writer.layer("BinaryOp", node.input, node.output[0], "0=0")


def _mul(writer: _Writer, node: onnx.NodeProto) -> None:
    factor = writer.constants.get(node.input[1])
    if factor is None or factor.size != 1:
        raise NotTranslatedError(f"{node.name} multiplies two pictures")
    writer.layer("BinaryOp", [node.input[0]], node.output[0], "0=2", "1=1", f"2={float(factor.reshape(-1)[0]):e}")


def _resize(writer: _Writer, node: onnx.NodeProto) -> None:
    mode = next(item.s for item in node.attribute if item.name == "mode")
    factors = writer.constants[node.input[2]].tolist()
    if mode != b"nearest" or factors != [1, 1, 2, 2]:
        raise NotTranslatedError(f"{node.name} does not double by the nearest sample")
    writer.layer("Interp", [node.input[0]], node.output[0], "0=1", "1=2.0", "2=2.0")


_LAYERS: dict[str, Callable[[_Writer, onnx.NodeProto], None]] = {
    "Conv": _conv,
    "PRelu": _prelu,
    "LeakyRelu": _leaky,
    "Concat": _concat,
    "Add": _add,
    "Mul": _mul,
    "Resize": _resize,
}


class Net:
    """A network that ncnn has loaded: [1, C, H, W] in and out, f32."""

    def __init__(self, cut: Cut, threads: int) -> None:
        """Raises ImportError where ncnn is not installed, NotTranslatedError and RuntimeError."""
        self._ncnn: Any = importlib.import_module("ncnn")  # optional
        text, values = translated(cut)
        self._net = self._ncnn.Net()
        option = self._net.opt
        option.num_threads = threads
        option.use_vulkan_compute = False
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(option, f"use_{name}", False)
        with tempfile.TemporaryDirectory(prefix="uprez-ncnn-") as folder:
            layers, weights = Path(folder, "net.param"), Path(folder, "net.bin")
            layers.write_text(text, encoding="ascii")
            weights.write_bytes(values)
            if self._net.load_param(str(layers)) or self._net.load_model(str(weights)):
                raise RuntimeError("ncnn does not load the network")
        self._ends = _ends(text)

    def __call__(self, picture: NDArray[np.float32]) -> NDArray[np.float32]:
        """Run the network; raises MemoryError where there is too little, RuntimeError for what else fails."""
        first, last = self._ends
        with self._net.create_extractor() as extractor:
            extractor.input(first, self._ncnn.Mat(np.ascontiguousarray(picture[0])))
            code, made = extractor.extract(last)
            if code:
                raise (
                    MemoryError("ncnn: not enough memory") if code == _NO_MEMORY else RuntimeError(f"ncnn: code {code}")
                )
            result: NDArray[np.float32] = np.array(made)[None]
        return result


_NO_MEMORY = -100


def _ends(text: str) -> tuple[str, str]:
    """Give the names of a network's first blob and its last."""
    lines = text.splitlines()
    return lines[2].split()[-1], next(field for field in reversed(lines[-1].split()) if "=" not in field)
