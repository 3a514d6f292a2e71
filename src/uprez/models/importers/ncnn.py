"""ncnn's two files: the layers as text (.param), and their weights one after the other (.bin).

What a network must look like is said by its own module; here is how the files are read and what a convolution is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from uprez.errors import ModelError

_MAGIC = "7767517"
_F16_TAG = 0x01306B47
_F32_TAG = 0
_DIGITS = 9
"""More than any whole number of a network has."""

_CONVOLUTION = {"1": "3", "4": "1", "5": "1"}
"""A 3x3 convolution with one pixel of padding and a bias."""
_UNCHANGED = {"2": "1", "3": "1", "9": "0"}
"""Dilation, stride and activation, where they are named though they are what they are anyhow."""
_LEAKY = {"9": "2", "-23310": "1,2.000000e-01"}
"""An activation inside the layer: a leaky ReLU of slope 0.2."""


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """A 3x3 convolution with one pixel of zero padding."""

    weight: NDArray[np.float32]
    """(output channels, input channels, 3, 3)."""
    bias: NDArray[np.float32]

    @property
    def channels(self) -> int:
        """Of its output."""
        return self.bias.size


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One line of a .param file."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    params: dict[str, str]

    def number(self, key: str) -> int:
        """Give a parameter that is a whole number; 0 where it is not named, as ncnn does."""
        text = self.params.get(key, "0")
        if not _is_number(text):
            raise ModelError(f"layer {self.name}: parameter {key} is {text[:40]!r}, not a whole number")
        return int(text)


class Values:
    """Takes arrays from a .bin file, front to back."""

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

    def convolution(self, layer: Layer, channels: int, *, leaky: bool = False) -> Convolution:
        """Take the weights of a 3x3 convolution of `channels`, with or without an activation in the layer."""
        expected = _CONVOLUTION | (_LEAKY if leaky else {})
        found = {key: value for key, value in layer.params.items() if _UNCHANGED.get(key) != value}
        if found != {**expected, "0": found.get("0"), "6": found.get("6")}:
            what = "a 3x3 convolution with a bias and a leaky ReLU of 0.2" if leaky else "a plain 3x3 convolution"
            raise ModelError(f"layer {layer.name} is not {what}{'' if leaky else ' with a bias'}")
        outputs = layer.number("0")
        count = outputs * channels * 9
        if outputs < 1 or layer.number("6") != count:
            raise ModelError(f"layer {layer.name} has {layer.number('6')} weights; {channels} channels in need {count}")
        weight = self.tagged(count, layer.name).reshape(outputs, channels, 3, 3)
        return Convolution(weight=weight, bias=self.raw(outputs, "<f4", layer.name))

    def finish(self) -> None:
        """Refuse a file that holds more than its layers."""
        if self._at != len(self._data):
            raise ModelError(f"weights have {len(self._data) - self._at} bytes after the last layer")


def read_layers(param: bytes) -> tuple[Layer, ...]:
    """Read the lines of a .param file. Raises ModelError for what is not one, or is cut off."""
    try:
        lines = param.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise ModelError("the .param file is not ncnn's text form") from error
    lines = [line for line in lines if line.strip()]
    if len(lines) < 2 or lines[0].strip() != _MAGIC:
        raise ModelError(f"the .param file does not begin with ncnn's number {_MAGIC}")
    promised = lines[1].split()[0]
    if not _is_number(promised) or int(promised) != len(lines) - 2:
        raise ModelError(f"the .param file promises {promised[:40]} layers and has {len(lines) - 2}: it is truncated")
    return tuple(_layer(line) for line in lines[2:])


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= _DIGITS


def _layer(line: str) -> Layer:
    fields = line.split()
    if len(fields) < 4 or not (_is_number(fields[2]) and _is_number(fields[3])):
        raise ModelError(f"the .param file has a line that is no layer: {line.strip()[:60]!r}")
    first_output = 4 + int(fields[2])
    end = first_output + int(fields[3])
    if len(fields) < end:
        raise ModelError(f"the .param file has a line that is no layer: {line.strip()[:60]!r}")
    return Layer(
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
