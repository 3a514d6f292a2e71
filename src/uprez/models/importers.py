"""Reads networks from the formats they are published in: NumPy arrays out, nothing trusted on the way."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uprez.errors import ModelError

_NCNN_MAGIC = "7767517"
_F16_TAG = 0x01306B47
_F32_TAG = 0
_CONVOLUTION = {"1": "3", "4": "1", "5": "1"}
"""ncnn's parameters of a 3x3 convolution with one pixel of padding and a bias; stride and dilation stay 1."""
_CONVOLUTION_DEFAULTS = {"2": "1", "3": "1", "9": "0"}
"""Dilation, stride, activation: the network has none of them changed."""


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A 3x3 convolution with one pixel of zero padding."""

    weight: NDArray[np.float32]
    """(output channels, input channels, 3, 3)."""
    bias: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SrvggWeights:
    """SRVGGNetCompact: convolutions with a PReLU between each two; the last one feeds a pixel shuffle."""

    scale: int
    convolutions: tuple[Convolution, ...]
    slopes: tuple[NDArray[np.float32], ...]
    """One slope a channel; one array less than there are convolutions."""


@dataclass(frozen=True, kw_only=True)
class _Layer:
    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: dict[str, str]

    def number(self, key: str) -> int:
        text = self.params.get(key, "0")
        if not text.isdecimal():
            raise ModelError(f"layer {self.name}: parameter {key} is {text!r}, not a whole number")
        return int(text)


class _Values:
    """Takes arrays from an ncnn .bin, front to back."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def raw(self, count: int, kind: str, layer: str) -> NDArray[np.float32]:
        """Take `count` numbers, padded to 4 bytes; refuse what is cut off or not finite."""
        length = count * np.dtype(kind).itemsize
        if self._at + length > len(self._data):
            raise ModelError(f"weights end at byte {len(self._data)}, inside layer {layer}: the file is truncated")
        values = np.frombuffer(self._data, kind, count, self._at).astype(np.float32)
        self._at += (length + 3) // 4 * 4
        if not np.isfinite(values).all():
            raise ModelError(f"layer {layer} holds a weight that is not a finite number")
        return values

    def tagged(self, count: int, layer: str) -> NDArray[np.float32]:
        """Take a weight blob: a 4-byte tag that says f16 or f32, then the numbers."""
        if self._at + 4 > len(self._data):
            raise ModelError(f"weights end at byte {len(self._data)}, before layer {layer}: the file is truncated")
        (tag,) = struct.unpack_from("<I", self._data, self._at)
        self._at += 4
        if tag not in (_F16_TAG, _F32_TAG):
            raise ModelError(f"layer {layer}: weight tag 0x{tag:08X} is neither f16 nor f32")
        return self.raw(count, "<f2" if tag == _F16_TAG else "<f4", layer)

    def finish(self) -> None:
        """Refuse a file that holds more than its layers."""
        if self._at != len(self._data):
            raise ModelError(f"weights have {len(self._data) - self._at} bytes after the last layer")


def read_srvgg(param: bytes, values: bytes) -> SrvggWeights:
    """Read an SRVGGNetCompact network from ncnn's .param text and .bin weights.

    Raises ModelError, naming the layer, for any other network and for truncated, excess or non-finite weights.
    """
    layers = _layers(param)
    body, scale = _srvgg_body(layers)
    _check_wiring(layers)
    reader = _Values(values)
    convolutions: list[Convolution] = []
    slopes: list[NDArray[np.float32]] = []
    channels = 3
    for layer in body:
        if layer.kind == "Convolution":
            convolutions.append(_convolution(reader, layer, channels))
            channels = layer.number("0")
        else:
            slopes.append(_slopes(reader, layer, channels))
    reader.finish()
    if channels != 3 * scale**2:
        raise ModelError(f"layer {body[-1].name} gives {channels} channels; x{scale} needs {3 * scale**2}")
    return SrvggWeights(scale=scale, convolutions=tuple(convolutions), slopes=tuple(slopes))


def _layers(param: bytes) -> tuple[_Layer, ...]:
    try:
        lines = param.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise ModelError("the .param file is not ncnn's text form") from error
    lines = [line for line in lines if line.strip()]
    if len(lines) < 2 or lines[0].strip() != _NCNN_MAGIC:
        raise ModelError(f"the .param file does not begin with ncnn's number {_NCNN_MAGIC}")
    counts = lines[1].split()
    if not counts[0].isdecimal() or int(counts[0]) != len(lines) - 2:
        raise ModelError(f"the .param file promises {counts[0]} layers and has {len(lines) - 2}: it is truncated")
    return tuple(_layer(line) for line in lines[2:])


def _layer(line: str) -> _Layer:
    fields = line.split()
    if len(fields) < 4 or not (fields[2].isdecimal() and fields[3].isdecimal()):
        raise ModelError(f"the .param file has a line that is no layer: {line.strip()[:60]!r}")
    first_output = 4 + int(fields[2])
    end = first_output + int(fields[3])
    if len(fields) < end:
        raise ModelError(f"the .param file has a line that is no layer: {line.strip()[:60]!r}")
    return _Layer(
        kind=fields[0],
        name=fields[1],
        inputs=tuple(fields[4:first_output]),
        outputs=tuple(fields[first_output:end]),
        params=dict(_pair(text, line) for text in fields[end:]),
    )


def _pair(text: str, line: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ModelError(f"the .param file has a line that is no layer: {line.strip()[:60]!r}")
    return key, value


def _srvgg_body(layers: tuple[_Layer, ...]) -> tuple[tuple[_Layer, ...], int]:
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


def _check_wiring(layers: tuple[_Layer, ...]) -> None:
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


def _convolution(reader: _Values, layer: _Layer, channels: int) -> Convolution:
    plain = _CONVOLUTION.items() <= layer.params.items()
    if not plain or any(layer.params.get(key, value) != value for key, value in _CONVOLUTION_DEFAULTS.items()):
        raise ModelError(f"layer {layer.name} is not a plain 3x3 convolution with a bias")
    outputs = layer.number("0")
    count = outputs * channels * 9
    if outputs < 1 or layer.number("6") != count:
        raise ModelError(f"layer {layer.name} has {layer.number('6')} weights; {channels} channels in need {count}")
    weight = reader.tagged(count, layer.name).reshape(outputs, channels, 3, 3)
    return Convolution(weight=weight, bias=reader.raw(outputs, "<f4", layer.name))


def _slopes(reader: _Values, layer: _Layer, channels: int) -> NDArray[np.float32]:
    if layer.number("0") != channels:
        raise ModelError(f"layer {layer.name} has {layer.number('0')} slopes for {channels} channels")
    return reader.raw(channels, "<f4", layer.name)
