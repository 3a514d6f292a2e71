"""RRDBNet, the network of realesrgan-x4plus and realesrgan-x4plus-anime, from ncnn's files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from uprez.errors import ModelError
from uprez.models.importers.ncnn import Convolution, Layer, Values, read_layers

DENSE = 5
"""Convolutions of a dense block."""
DENSE_BLOCKS = 3
"""Of each residual block."""
_AROUND = 10
"""Layers outside the residual blocks, copies not counted."""
_PER_BLOCK = DENSE_BLOCKS * 2 * DENSE + 1
"""Layers of a residual block: of each dense block five convolutions, four joints and a sum; then one more sum."""

_RESIDUAL = {"0": "1", "-23301": "2,2.000000e-01,1.000000e+00"}
"""A sum of 0.2 of the first input and all of the second."""
_TWICE = {"0": "1", "1": "2.000000e+00", "2": "2.000000e+00"}
"""The nearest sample, twice as large."""

Dense = tuple[Convolution, ...]


@dataclass(frozen=True, kw_only=True)
class RrdbWeights:
    """RRDBNet, x4: residual blocks of dense blocks at the input's size, then two enlargements by 2.

    All but `first`, `body` and `last`, and the last of each dense block, end in a leaky ReLU of slope 0.2.
    """

    first: Convolution
    blocks: tuple[tuple[Dense, ...], ...]
    """Each of DENSE_BLOCKS times DENSE convolutions; the n-th sees the block's input and what those before it gave."""
    body: Convolution
    """Added to what `first` gave."""
    larger: tuple[Convolution, Convolution]
    """One after each enlargement."""
    fine: Convolution
    last: Convolution


def read_rrdb(param: bytes, values: bytes) -> RrdbWeights:
    """Read an RRDBNet x4 network of any number of blocks from ncnn's .param text and .bin weights.

    Raises ModelError, naming the layer, for any other network and for truncated, excess or non-finite weights.
    """
    layers = _without_copies(read_layers(param))
    count, rest = divmod(len(layers) - _AROUND, _PER_BLOCK)
    if count < 1 or rest:
        raise ModelError(f"{len(layers)} layers, copies not counted: this is not an RRDBNet network")
    walk = _Walk(layers, Values(values))
    entry = walk.take("Input", (), {})
    first, start = walk.convolution(entry, 3)
    features, tensor = first.channels, start
    blocks = []
    for _ in range(count):
        block, tensor = _block(walk, tensor, features)
        blocks.append(block)
    body, tensor = walk.convolution(tensor, features, outputs=features)
    tensor = walk.take("BinaryOp", (start, tensor), {})
    tensor = walk.take("Interp", (tensor,), _TWICE)
    larger, tensor = walk.convolution(tensor, features, outputs=features, leaky=True)
    tensor = walk.take("Interp", (tensor,), _TWICE)
    largest, tensor = walk.convolution(tensor, features, outputs=features, leaky=True)
    fine, tensor = walk.convolution(tensor, features, outputs=features, leaky=True)
    last, _ = walk.convolution(tensor, features, outputs=3)
    walk.values.finish()
    return RrdbWeights(first=first, blocks=tuple(blocks), body=body, larger=(larger, largest), fine=fine, last=last)


def _block(walk: _Walk, entry: str, features: int) -> tuple[tuple[Dense, ...], str]:
    """Read a residual block that begins at the tensor `entry`; gives the tensor that it ends in, too."""
    tensor, dense = entry, []
    for _ in range(DENSE_BLOCKS):
        made, tensor = _dense(walk, tensor, features)
        dense.append(made)
    return tuple(dense), walk.take("Eltwise", (tensor, entry), _RESIDUAL)


def _dense(walk: _Walk, entry: str, features: int) -> tuple[Dense, str]:
    convolutions: list[Convolution] = []
    parts, channels = [entry], features
    for number in range(DENSE):
        joined = walk.take("Concat", tuple(parts), {}) if number else entry
        last = number == DENSE - 1
        outputs = features if last else convolutions[0].channels if number else None
        made, tensor = walk.convolution(joined, channels, outputs=outputs, leaky=not last)
        convolutions.append(made)
        parts.append(tensor)
        channels += made.channels
    return tuple(convolutions), walk.take("Eltwise", (parts[-1], entry), _RESIDUAL)


class _Walk:
    """Goes along the layers, which must be the ones that are asked for, and takes their weights."""

    def __init__(self, layers: tuple[Layer, ...], values: Values) -> None:
        self._layers = iter(layers)
        self.values = values

    def take(self, kind: str, inputs: tuple[str, ...], params: Mapping[str, str]) -> str:
        """Check that the next layer is this one; gives its output."""
        layer = self._next(kind, inputs)
        if {key: value for key, value in layer.params.items() if (key, value) != ("0", "0")} != params:
            raise ModelError(f"layer {layer.name}: {_shown(layer.params)} is not what an RRDBNet network has there")
        return layer.outputs[0]

    def convolution(
        self, tensor: str, channels: int, *, outputs: int | None = None, leaky: bool = False
    ) -> tuple[Convolution, str]:
        """Take the next layer, a convolution of `channels` to `outputs`; gives its output, too."""
        layer = self._next("Convolution", (tensor,))
        made = self.values.convolution(layer, channels, leaky=leaky)
        if outputs not in (None, made.channels):
            raise ModelError(f"layer {layer.name} gives {made.channels} channels; {outputs} are due")
        return made, layer.outputs[0]

    def _next(self, kind: str, inputs: tuple[str, ...]) -> Layer:
        layer = next(self._layers)
        if layer.kind != kind or len(layer.outputs) != 1:
            raise ModelError(f"layer {layer.name}: this is not an RRDBNet network, which has {kind} there")
        if layer.inputs != inputs:
            raise ModelError(f"layer {layer.name} is not fed by the layers that it is in an RRDBNet network")
        return layer


def _shown(params: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in params.items())[:60] or "no parameter"


def _without_copies(layers: tuple[Layer, ...]) -> tuple[Layer, ...]:
    """Leave out the Split layers, and name each of their outputs as what it is a copy of.

    Each tensor must be made once, before it is used, and each copy be used once.
    """
    names: dict[str, str] = {}
    unused: set[str] = set()
    found: list[Layer] = []
    for layer in layers:
        for tensor in layer.inputs:
            if tensor not in unused:
                raise ModelError(f"layer {layer.name} is fed by {tensor[:40]!r}, which no layer before it gives it")
            unused.discard(tensor)
        inputs = tuple(names[tensor] for tensor in layer.inputs)
        for tensor in layer.outputs:
            if tensor in names:
                raise ModelError(f"layer {layer.name} makes {tensor[:40]!r}, which was made before")
            names[tensor] = inputs[0] if layer.kind == "Split" and len(inputs) == 1 else tensor
            unused.add(tensor)
        if layer.kind != "Split":
            found.append(replace(layer, inputs=inputs))
        elif len(inputs) != 1 or layer.params:
            raise ModelError(f"layer {layer.name} is not a plain copy of one tensor")
    if len(unused) != 1:
        raise ModelError(f"{len(unused)} tensors are made and not used: an RRDBNet network has one result")
    return tuple(found)
