"""Reading SRVGGNetCompact: what is right is read exactly, and anything else is refused with the layer's name."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.errors import ModelError
from uprez.models.importers import SrvggWeights, read_srvgg

F16_TAG = 0x01306B47

PARAM = b"""7767517
8 9
Input        input  0 1 data
Split        split  1 2 data a b
Convolution  Conv_0 1 1 b c 0=5 1=3 4=1 5=1 6=135
PReLU        PRelu_1 1 1 c d 0=5
Convolution  Conv_2 1 1 d e 0=12 1=3 4=1 5=1 6=540
PixelShuffle shuffle 1 1 e f 0=2
Interp       resize 1 1 a g 0=1 1=2.000000e+00 2=2.000000e+00
BinaryOp     add 2 1 f g output
"""


def tiny(tag: int = F16_TAG) -> bytes:
    """The weights of PARAM: 135 f16 numbers need padding, 540 do not."""
    kind = "<f2" if tag == F16_TAG else "<f4"
    rng = np.random.default_rng(7)
    data = b""
    for inputs, outputs in ((3, 5), (5, 12)):
        values = rng.normal(size=outputs * inputs * 9).astype(kind).tobytes()
        data += struct.pack("<I", tag) + values + b"\0" * (-len(values) % 4)
        data += rng.normal(size=outputs).astype("<f4").tobytes()
        data += rng.normal(size=outputs).astype("<f4").tobytes() if outputs == 5 else b""
    return data


def test_the_published_network_is_read_in_full(real_weights: SrvggWeights) -> None:
    """realesr-animevideov3 has 18 convolutions, 17 PReLUs, scale 4 and 621,424 parameters."""
    parameters = sum(layer.weight.size + layer.bias.size for layer in real_weights.convolutions)
    parameters += sum(slopes.size for slopes in real_weights.slopes)
    assert (len(real_weights.convolutions), len(real_weights.slopes), real_weights.scale) == (18, 17, 4)
    assert parameters == 621_424


@pytest.mark.parametrize("tag", [F16_TAG, 0])
def test_half_and_full_precision_weights_are_read(tag: int) -> None:
    """Weights tagged f16 (padded to 4 bytes) and f32 give the numbers that were written."""
    weights = read_srvgg(PARAM, tiny(tag))
    first = np.random.default_rng(7).normal(size=135).astype("<f2" if tag else "<f4").astype(np.float32)
    assert np.array_equal(weights.convolutions[0].weight.ravel(), first)
    assert weights.convolutions[1].weight.shape == (12, 5, 3, 3)
    assert [slopes.size for slopes in weights.slopes] == [5]


@given(st.integers(0, len(tiny()) - 1))
@settings(max_examples=60, deadline=None)
def test_truncated_weights_are_refused_wherever_they_end(end: int) -> None:
    """A .bin cut anywhere raises ModelError."""
    with pytest.raises(ModelError, match="truncated"):
        read_srvgg(PARAM, tiny()[:end])


@given(st.integers(0, len(PARAM) - 2), st.integers(0, 255))
@settings(max_examples=100, deadline=None)
def test_a_damaged_param_file_never_raises_anything_else(place: int, value: int) -> None:
    """A .param with one byte changed, or cut there, is read or refused with ModelError, never another exception."""
    for text in (PARAM[:place], PARAM[:place] + bytes([value]) + PARAM[place + 1 :]):
        try:
            read_srvgg(text, tiny())
        except ModelError:
            continue


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [4, 4 + 272], ids=["weight", "bias"])
def test_weights_that_are_not_finite_are_refused(bad: float, place: int) -> None:
    """NaN or an infinity among weights or biases raises ModelError that names the layer."""
    data = bytearray(tiny())
    number = np.array([bad], "<f2" if place == 4 else "<f4").tobytes()
    data[place : place + len(number)] = number
    with pytest.raises(ModelError, match="Conv_0"):
        read_srvgg(PARAM, bytes(data))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"7767517", b"7767518", "7767517"),
        (b"8 9\n", b"9 9\n", "truncated"),
        (b"PReLU ", b"ReLU  ", "not an SRVGGNetCompact"),
        (b"6=135", b"6=134", "Conv_0"),
        (b"0=5 1=3", b"0=6 1=3", "Conv_0"),
        (b"d 0=5", b"d 0=4", "PRelu_1"),
        (b"e f 0=2", b"e f 0=3", "resize"),
        (b"1=2.000000e+00", b"1=1.000000e+00", "resize"),
        (b"1 1 d e", b"1 1 c e", "Conv_2"),
        (b"2 1 f g", b"2 1 f f", "add"),
        (b"4=1 5=1 6=540", b"3=2 4=1 5=1 6=540", "Conv_2"),
    ],
)
def test_another_network_is_refused_by_layer(old: bytes, new: bytes, message: str) -> None:
    """A .param that is not the network uprez builds raises ModelError naming what differs."""
    assert old in PARAM
    with pytest.raises(ModelError, match=message):
        read_srvgg(PARAM.replace(old, new, 1), tiny())


def test_bytes_after_the_last_layer_are_refused() -> None:
    """A .bin longer than its layers raises ModelError."""
    with pytest.raises(ModelError, match="4 bytes after"):
        read_srvgg(PARAM, tiny() + b"\0\0\0\0")


def test_an_unknown_weight_tag_is_refused() -> None:
    """A weight tag that is neither f16 nor f32 (ncnn's int8, say) raises ModelError."""
    with pytest.raises(ModelError, match="0x000D4B38"):
        read_srvgg(PARAM, struct.pack("<I", 0x000D4B38) + tiny()[4:])
