"""Reading RRDBNet, and building it: what is right gives what ncnn gives, anything else is refused by its layer."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import ncnn
import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uprez.errors import ModelError
from uprez.models.importers import RrdbWeights, read_rrdb
from uprez.models.networks import rrdb

Array = NDArray[np.float32]

FEATURES, GROWTH = 4, 3
LEAKY = " 9=2 -23310=1,2.000000e-01"
RESIDUAL = "0=1 -23301=2,2.000000e-01,1.000000e+00"
TWICE = "0=1 1=2.000000e+00 2=2.000000e+00"


class Text:
    """A .param file while it is written: like the published ones, with copies where a tensor is used more than once."""

    def __init__(self) -> None:
        self.lines: list[list[str]] = []
        self.uses: dict[str, int] = {}

    def add(self, kind: str, inputs: list[str], params: str = "") -> str:
        """Write a layer; gives its output, named after its place."""
        name = f"t{len(self.lines)}"
        for tensor in inputs:
            self.uses[tensor] = self.uses.get(tensor, 0) + 1
        self.lines.append([kind, name, *inputs, params])
        return name

    def convolution(self, tensor: str, inputs: int, outputs: int, *, leaky: bool = False) -> str:
        """Write a convolution."""
        params = f"0={outputs} 1=3 4=1 5=1 6={9 * inputs * outputs}"
        return self.add("Convolution", [tensor], params + (LEAKY if leaky else ""))

    def param(self) -> bytes:
        """Give the file."""
        done: dict[str, int] = {}
        written: list[str] = []
        for kind, name, *inputs, params in self.lines:
            seen = []
            for tensor in inputs:
                number = done[tensor] = done.get(tensor, 0) + 1
                seen.append(f"{tensor}_{self.uses[tensor] - number}" if self.uses[tensor] > 1 else tensor)
            output = {"Input": "data"}.get(kind, name)
            output = output if name in self.uses else "output"
            written.append(f"{kind} {name} {len(seen)} 1 {' '.join([*seen, output, params])}".rstrip())
            if (copies := self.uses.get(name, 0)) > 1:
                names = " ".join(f"{name}_{number}" for number in range(copies))
                written.append(f"Split s{name} 1 {copies} {name} {names}")
        text = [line.replace(" t0", " data") if line.startswith("Convolution t1 ") else line for line in written]
        return "\n".join(["7767517", f"{len(text)} 999", *text, ""]).encode()


def network(blocks: int) -> bytes:
    """The .param of an RRDBNet of few channels."""
    text = Text()
    start = tensor = text.convolution(text.add("Input", []), 3, FEATURES)
    for _ in range(blocks):
        entry = tensor
        for _ in range(3):
            parts = [tensor]
            for number in range(4):
                seen = text.add("Concat", parts) if number else tensor
                parts.append(text.convolution(seen, FEATURES + number * GROWTH, GROWTH, leaky=True))
            last = text.convolution(text.add("Concat", parts), FEATURES + 4 * GROWTH, FEATURES)
            tensor = text.add("Eltwise", [last, tensor], RESIDUAL)
        tensor = text.add("Eltwise", [tensor, entry], RESIDUAL)
    tensor = text.add("BinaryOp", [start, text.convolution(tensor, FEATURES, FEATURES)])
    for _ in range(2):
        tensor = text.convolution(text.add("Interp", [tensor], TWICE), FEATURES, FEATURES, leaky=True)
    text.convolution(text.convolution(tensor, FEATURES, FEATURES, leaky=True), FEATURES, 3)
    return text.param()


def values(param: bytes) -> bytes:
    """Weights for a .param, in f16 with biases in f32."""
    rng = np.random.default_rng(5)
    data = b""
    for outputs, count in re.findall(rb"0=(\d+) .*6=(\d+)", param):
        weights = rng.normal(0, 0.5 / np.sqrt(int(count) / int(outputs)), int(count)).astype("<f2").tobytes()
        data += struct.pack("<I", 0x01306B47) + weights + b"\0" * (-len(weights) % 4)
        data += rng.normal(0, 0.1, int(outputs)).astype("<f4").tobytes()
    return data


PARAM = network(1)
VALUES = values(PARAM)
SLOW = settings(max_examples=50, deadline=timedelta(seconds=5))


def by_ncnn(folder: Path, param: bytes, weights: bytes, rgb: Array) -> Array:
    """Run the files on ncnn's own runtime, in full precision on the CPU; (3, H, W) in and out."""
    (folder / "net.param").write_bytes(param)
    (folder / "net.bin").write_bytes(weights)
    net = ncnn.Net()
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage", "vulkan_compute"):
        setattr(net.opt, f"use_{option}", False)
    net.opt.num_threads = 1
    assert net.load_param(str(folder / "net.param")) == 0
    assert net.load_model(str(folder / "net.bin")) == 0
    with net.create_extractor() as extractor:
        extractor.input("data", ncnn.Mat(np.ascontiguousarray(rgb)))
        status, result = extractor.extract("output")
    assert status == 0
    return np.array(result)


def by_us(weights: RrdbWeights, rgb: Array) -> Array:
    """Run our graph."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(rrdb(weights).SerializeToString(), options, providers=["CPUExecutionProvider"])
    made: Array = session.run(None, {"rgb": rgb[None]})[0]
    return made[0]


@pytest.mark.parametrize(
    ("name", "blocks", "parameters", "size"),
    [("realesrgan-x4plus-anime", 6, 4_467_779, (20, 14)), ("realesrgan-x4plus", 23, 16_697_987, (11, 8))],
)
def test_the_published_networks_are_ncnns(
    published: Callable[[str], tuple[bytes, ...]],
    real_picture: Array,
    tmp_path: Path,
    name: str,
    blocks: int,
    parameters: int,
    size: tuple[int, int],
) -> None:
    """Each published network is read in full, and gives ncnn's RGB of a real picture to within a tenth of 1/255."""
    param, weights = published(name)
    read = read_rrdb(param, weights)
    layers = list(convolutions(read))
    assert len(read.blocks) == blocks
    assert sum(layer.weight.size + layer.bias.size for layer in layers) == parameters
    rgb = np.ascontiguousarray(real_picture[:, : size[1], : size[0]])
    due = by_ncnn(tmp_path, param, weights, rgb)
    assert due.shape == (3, 4 * size[1], 4 * size[0])
    assert np.ptp(due) > 0.2
    assert np.abs(by_us(read, rgb) - due).max() <= 0.1 / 255


def convolutions(weights: RrdbWeights) -> Iterator[object]:
    """Give all convolutions of a network."""
    yield from (weights.first, weights.body, *weights.larger, weights.fine, weights.last)
    for block in weights.blocks:
        for dense in block:
            yield from dense


@pytest.mark.parametrize("blocks", [1, 2])
def test_any_number_of_blocks_is_ncnns(tmp_path: Path, blocks: int) -> None:
    """A network of other depth and few channels, too: what is read and built is what ncnn makes of the same files."""
    param = network(blocks)
    weights = values(param)
    rgb = np.random.default_rng(2).random((3, 9, 13), np.float32)
    due = by_ncnn(tmp_path, param, weights, rgb)
    assert np.ptp(due) > 0.05
    assert np.abs(by_us(read_rrdb(param, weights), rgb) - due).max() <= 1e-5


@given(st.integers(0, len(VALUES) - 1))
@SLOW
def test_truncated_weights_are_refused_wherever_they_end(end: int) -> None:
    """A .bin cut anywhere raises ModelError."""
    with pytest.raises(ModelError, match="truncated"):
        read_rrdb(PARAM, VALUES[:end])


@given(st.integers(0, len(PARAM) - 2), st.integers(0, 255))
@SLOW
def test_a_damaged_param_file_never_raises_anything_else(place: int, value: int) -> None:
    """A .param with one byte changed, or cut there, is read or refused with ModelError, never another exception."""
    for text in (PARAM[:place], PARAM[:place] + bytes([value]) + PARAM[place + 1 :]):
        try:
            read_rrdb(text, VALUES)
        except ModelError:
            continue


@given(st.integers(0, len(VALUES) - 1), st.integers(0, 255))
@SLOW
def test_damaged_weights_never_raise_anything_else(place: int, value: int) -> None:
    """A .bin with one byte changed is read, all its numbers finite, or refused with ModelError."""
    try:
        read = read_rrdb(PARAM, VALUES[:place] + bytes([value]) + VALUES[place + 1 :])
    except ModelError:
        return
    assert all(np.isfinite(layer.weight).all() and np.isfinite(layer.bias).all() for layer in convolutions(read))


@given(st.integers(2, PARAM.count(b"\n") - 1), st.integers(2, PARAM.count(b"\n") - 1))
@SLOW
def test_layers_in_another_order_are_refused(first: int, second: int) -> None:
    """Two lines of a .param exchanged raise ModelError, unless both say the same."""
    lines = PARAM.split(b"\n")
    lines[first], lines[second] = lines[second], lines[first]
    if lines == PARAM.split(b"\n"):
        return
    with pytest.raises(ModelError):
        read_rrdb(b"\n".join(lines), VALUES)


def test_what_feeds_a_joint_is_checked_in_its_order() -> None:
    """Each Concat and scaled sum with any two neighbours of its inputs exchanged raises ModelError with its name."""
    lines = PARAM.split(b"\n")
    tried = 0
    for number, line in enumerate(lines):
        if not line.startswith((b"Concat", b"Eltwise")):
            continue
        fields = line.split()
        for k in range(5, 4 + int(fields[2])):
            other = list(fields)
            other[k - 1], other[k] = other[k], other[k - 1]
            with pytest.raises(ModelError, match=fields[1].decode()):
                read_rrdb(b"\n".join([*lines[:number], b" ".join(other), *lines[number + 1 :]]), VALUES)
            tried += 1
    assert tried == 3 * (1 + 2 + 3 + 4 + 1) + 1


def test_the_last_sum_names_what_the_first_convolution_gave_first() -> None:
    """A plain sum is the same either way; in the other one it is refused all the same, as not what is published."""
    found = re.search(rb"BinaryOp (\S+) 2 1 (\S+) (\S+)", PARAM)
    assert found is not None
    with pytest.raises(ModelError, match=found[1].decode()):
        read_rrdb(PARAM.replace(found[2] + b" " + found[3], found[3] + b" " + found[2]), VALUES)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b"7767517", b"7767518", "7767517"),
        (LEAKY.encode(), b"", "leaky ReLU of 0.2"),
        (b"-23310=1,2.000000e-01", b"-23310=1,1.000000e-01", "leaky ReLU of 0.2"),
        (LEAKY.encode(), b" 9=1", "leaky ReLU of 0.2"),
        (b"-23301=2,2.000000e-01,1.000000e+00", b"-23301=2,1.000000e+00,1.000000e+00", "-23301=2,1"),
        (b"-23301=2,2.000000e-01,1.000000e+00", b"", "0=1 is not"),
        (b" 0=1 -23301", b" 0=0 -23301", "0=0 -23301"),
        (b"1=2.000000e+00 2=", b"1=3.000000e+00 2=", "1=3"),
        (b"Interp ", b"Concat ", "which has Interp there"),
        (b" 0=1 1=2.0", b" 0=2 1=2.0", "0=2"),
        (b"4=1 5=1 6=108", b"4=1 5=1 6=108 7=4", "plain 3x3"),
        (b"0=4 1=3", b"0=5 1=3", "weights"),
        (b"Split st1 1", b"Split st1 2", "no layer|fed by"),
        (b"BinaryOp t", b"Sigmoid t", "which has BinaryOp there"),
    ],
)
def test_another_network_is_refused(old: bytes, new: bytes, message: str) -> None:
    """A .param that is not the network uprez builds raises ModelError naming what differs."""
    assert old in PARAM
    with pytest.raises(ModelError, match=message):
        read_rrdb(PARAM.replace(old, new, 1), VALUES)


def test_another_architecture_is_refused(published: Callable[[str], tuple[bytes, ...]]) -> None:
    """The files of realesr-animevideov3 are no RRDBNet."""
    param, weights = published("realesr-animevideov3")
    with pytest.raises(ModelError, match="not an RRDBNet"):
        read_rrdb(param, weights)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    """NaN or an infinity among the weights raises ModelError that names the layer."""
    with pytest.raises(ModelError, match="layer t1 holds"):
        read_rrdb(PARAM, VALUES[:4] + np.array([bad], "<f2").tobytes() + VALUES[6:])


def test_bytes_after_the_last_layer_are_refused() -> None:
    """A .bin longer than its layers raises ModelError."""
    with pytest.raises(ModelError, match="4 bytes after"):
        read_rrdb(PARAM, VALUES + b"\0\0\0\0")


@pytest.mark.parametrize("digits", [10, 5000])
@pytest.mark.parametrize("old", [b"0=4", b"t1 1 8", b"7767517\n53"])
def test_a_number_without_end_is_refused(old: bytes, digits: int) -> None:
    """A number of thousands of digits, in the file's head or in a layer, raises ModelError."""
    assert old in PARAM
    with pytest.raises(ModelError):
        read_rrdb(PARAM.replace(old, old[:-1] + b"9" * digits, 1), VALUES)
