"""SRVGGNetCompact, the network of realesr-animevideov3, from ncnn's files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uprez.errors import ModelError
from uprez.models.importers.ncnn import Convolution, Layer, Values, read_layers


@dataclass(frozen=True, kw_only=True)
class SrvggWeights:
    """SRVGGNetCompact: convolutions with a PReLU between each two; the last one feeds a pixel shuffle."""

    scale: int
    convolutions: tuple[Convolution, ...]
    slopes: tuple[NDArray[np.float32], ...]
    """One slope a channel; one array less than there are convolutions."""


def read_srvgg(param: bytes, values: bytes) -> SrvggWeights:
    """Read an SRVGGNetCompact network from ncnn's .param text and .bin weights.

    Raises ModelError, naming the layer, for any other network and for truncated, excess or non-finite weights.
    """
    layers = read_layers(param)
    body, scale = _body(layers)
    _check_wiring(layers)
    reader = Values(values)
    convolutions: list[Convolution] = []
    slopes: list[NDArray[np.float32]] = []
    channels = 3
    for layer in body:
        if layer.kind == "Convolution":
            convolutions.append(reader.convolution(layer, channels))
            channels = layer.number("0")
        else:
            slopes.append(_slopes(reader, layer, channels))
    reader.finish()
    if channels != 3 * scale**2:
        raise ModelError(f"layer {body[-1].name} gives {channels} channels; x{scale} needs {3 * scale**2}")
    return SrvggWeights(scale=scale, convolutions=tuple(convolutions), slopes=tuple(slopes))


def _body(layers: tuple[Layer, ...]) -> tuple[tuple[Layer, ...], int]:
    """Check that the layers are those of SRVGGNetCompact; give the ones with weights, and the scale."""
    kinds = [layer.kind for layer in layers]
    depth = (len(layers) - 4) // 2
    expected = ["Input", "Split", *["Convolution", "PReLU"] * (depth - 1), "Convolution"]
    expected += ["PixelShuffle", "Interp", "BinaryOp"]
    if depth < 1 or kinds != expected:
        wrong = next((k for k, (a, b) in enumerate(zip(kinds, expected, strict=False)) if a != b), len(kinds) - 1)
        raise ModelError(f"layer {layers[wrong].name if layers else '(none)'}: this is not an SRVGGNetCompact network")
    shuffle, resize, add = layers[-3:]
    scale = shuffle.number("0")
    factors = {resize.params.get(key, "0") for key in ("1", "2")}
    if resize.params.get("0") != "1" or factors != {f"{scale:e}"} or add.params.get("0", "0") != "0":
        raise ModelError(f"layer {resize.name}: the input is not added as a nearest-neighbour x{scale} picture")
    return layers[2:-3], scale


def _check_wiring(layers: tuple[Layer, ...]) -> None:
    """Follow the tensors: one chain from the input to the pixel shuffle, and the input's copy to the end."""
    chain, source = layers[2:-2], layers[1]
    tensor = chain[0].inputs[0] if chain[0].inputs else ""
    for layer in chain:
        if layer.inputs != (tensor,) or len(layer.outputs) != 1:
            raise ModelError(f"layer {layer.name} is not fed by the layer before it")
        tensor = layer.outputs[0]
    resize, add = layers[-2:]
    if {chain[0].inputs[0], *resize.inputs} != set(source.outputs) or set(add.inputs) != {tensor, *resize.outputs}:
        raise ModelError(f"layer {add.name} does not add the input to the network's output")


def _slopes(reader: Values, layer: Layer, channels: int) -> NDArray[np.float32]:
    if layer.number("0") != channels:
        raise ModelError(f"layer {layer.name} has {layer.number('0')} slopes for {channels} channels")
    return reader.raw(channels, "<f4", layer.name)
