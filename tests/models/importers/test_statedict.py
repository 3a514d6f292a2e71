"""Reading state dicts of torch.save: without PyTorch, nothing run, and no file brings anything but ModelError."""

from __future__ import annotations

import io
import pickle
import struct
import time
import zipfile
from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uprez.errors import ModelError
from uprez.models.importers import read_state

SLOW = settings(max_examples=60, deadline=timedelta(seconds=5))
TWO = {"module.a.weight": (2, 3), "module.a.bias": (2,)}


def text(value: str) -> bytes:
    """The words for a string."""
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def whole(value: int) -> bytes:
    """The words for a whole number."""
    return b"J" + struct.pack("<i", value)


def sizes(values: tuple[int, ...]) -> bytes:
    """The words for a tuple of whole numbers."""
    return b"(" + b"".join(whole(value) for value in values) + b"t"


def tensor(
    key: str,
    shape: tuple[int, ...],
    *,
    strides: tuple[int, ...] | None = None,
    offset: int = 0,
    count: int | None = None,
    kind: str = "FloatStorage",
    function: bytes = b"ctorch._utils\n_rebuild_tensor_v2\n",
) -> bytes:
    """The words that torch.save writes for a tensor."""
    strides = tuple(int(np.prod(shape[k + 1 :])) for k in range(len(shape))) if strides is None else strides
    count = int(np.prod(shape)) if count is None else count
    storage = b"(" + text("storage") + f"ctorch\n{kind}\n".encode() + text(key) + text("cuda:0") + whole(count) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    return function + b"(" + storage + whole(offset) + sizes(shape) + sizes(strides) + b"\x89" + hooks + b"tR"


def pickled(tensors: dict[str, bytes]) -> bytes:
    """The words for a dict."""
    return b"\x80\x02}q\x00(" + b"".join(text(name) + words for name, words in tensors.items()) + b"u."


def archive(
    data: bytes, storages: dict[str, bytes], *, folder: str = "net", packed: bool = False, order: str = "little"
) -> bytes:
    """A file as torch.save makes it."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as made:
        made.writestr(f"{folder}/data.pkl", data)
        made.writestr(f"{folder}/byteorder", order)
        for key, numbers in storages.items():
            made.writestr(f"{folder}/data/{key}", numbers)
        made.writestr(f"{folder}/version", b"3\n")
    return target.getvalue()


def numbers(shape: tuple[int, ...], seed: int = 0) -> NDArray[np.float32]:
    """Any numbers."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


WORDS = pickled({name: tensor(str(k), shape) for k, (name, shape) in enumerate(TWO.items())})
GOOD = archive(WORDS, {str(k): numbers(shape, k).tobytes() for k, shape in enumerate(TWO.values())})


def one(words: bytes, data: bytes = numbers((2, 3)).tobytes()) -> bytes:
    """A state dict of one tensor "w" in member 0."""
    return archive(pickled({"w": words}), {"0": data})


def test_the_published_state_dict_is_read_in_full(published: Callable[[str], tuple[bytes, ...]]) -> None:
    """RIFE's has 198 tensors of 6,139,325 numbers, and names that say so; it is read in a second."""
    (data,) = published("rife")
    began = time.process_time()
    state = read_state(data)
    assert time.process_time() - began < 5
    assert len(state) == 198
    assert sum(values.size for values in state.values()) == 6_139_325
    assert state["block0.conv0.0.0.weight"].shape == (96, 15, 3, 3)
    assert state["block0.conv0.0.0.weight"].dtype == np.float32


def test_names_shapes_and_numbers_come_as_they_were_written() -> None:
    """A dict of f32 tensors gives its arrays in its order."""
    state = read_state(GOOD)
    assert {name: values.shape for name, values in state.items()} == TWO
    assert all(np.array_equal(values, numbers(values.shape, k)) for k, values in enumerate(state.values()))


def test_half_precision_becomes_full() -> None:
    """A tensor of f16 gives the same numbers in f32."""
    values = numbers((2, 3)).astype("<f2")
    read = read_state(one(tensor("0", (2, 3), kind="HalfStorage"), values.tobytes()))["w"]
    assert read.dtype == np.float32
    assert np.array_equal(read, values.astype(np.float32))


def test_sides_of_one_may_have_any_stride() -> None:
    """PyTorch calls a tensor contiguous whatever the stride of its dimensions of size 1."""
    assert read_state(one(tensor("0", (1, 6), strides=(99, 1))))["w"].shape == (1, 6)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (tensor("0", (2, 3), strides=(1, 2)), "not contiguous"),
        (tensor("0", (2, 2), count=6, offset=2), "not the whole"),
        (tensor("0", (2, 2), count=6), "6 numbers and the shape"),
        (tensor("0", (2, -3), count=6), "not the whole"),
        (tensor("0", (2, 3), count=7, strides=(3, 1)), "7 numbers"),
        (tensor("0", (2, 4), strides=(4, 1)), "bytes for 8 numbers"),
        (tensor("0", (2**30, 2**30, 2**30), count=6, strides=(0, 0, 0)), "not contiguous"),
        (tensor("1", (2, 3)), "no net/data/1"),
        (tensor("../0", (2, 3)), r"no net/data/\.\./0"),
        (tensor("0", (2, 3), kind="DoubleStorage"), "torch DoubleStorage"),
        (tensor("0", (2, 3), kind="IntStorage"), "torch IntStorage"),
        (tensor("0", (2, 3), function=b"ctorch._utils\n_rebuild_parameter\n"), "_rebuild_parameter"),
        (tensor("0", (2, 3), function=b"ccollections\nOrderedDict\n"), "collections OrderedDict"),
        (b"cposix\nsystem\n(" + text("true") + b"tR", "posix system"),
        (b"cbuiltins\neval\n(" + text("1") + b"tR", "builtins eval"),
        (b"ccollections\nOrderedDict\n(" + text("x") + b"tR", "collections OrderedDict"),
        (whole(3), "'w' is not a tensor"),
        (b"}", "'w' is not a tensor"),
        (b"P0\n", "PERSID"),
        (b"\x8a\x01\x01", "LONG1"),
        (b"]", "EMPTY_LIST"),
        (b"h\x7f", "recalls"),
        (b"R", "takes what is not there"),
        (b"t", "fills what is not a dict|takes what is not there"),
        (b"", "fills"),
    ],
)
def test_what_is_no_plain_tensor_is_refused_by_name(words: bytes, message: str) -> None:
    """Views, other types, other names and any other word raise ModelError that says which; nothing is run."""
    with pytest.raises(ModelError, match=message):
        read_state(one(words))


def test_pickles_of_python_are_refused() -> None:
    """What pickle itself writes for objects, functions and even plain values is refused, not run."""
    for value in (print, {"w": [1.5]}, {"w": object()}, [1, 2], None, {"w": 10**400}, {"w": b"x" * 9}):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(ModelError, match="state dict"):
                read_state(archive(pickle.dumps(value, protocol), {}))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    """NaN or an infinity raises ModelError that names the tensor."""
    values = numbers((2, 3))
    values[1, 1] = bad
    with pytest.raises(ModelError, match="'w' hold a number that is not finite"):
        read_state(one(tensor("0", (2, 3)), values.tobytes()))


def test_two_tensors_of_the_same_numbers_are_refused() -> None:
    """Tensors that share a member raise ModelError: a small file could ask for any amount of memory."""
    words = {"a": tensor("0", (2, 3)), "b": tensor("0", (2, 3))}
    with pytest.raises(ModelError, match="'b' share"):
        read_state(archive(pickled(words), {"0": numbers((2, 3)).tobytes()}))


def test_a_name_twice_is_refused() -> None:
    """A tensor's name that comes twice raises ModelError."""
    words = b"}(" + text("a") + tensor("0", (2,)) + text("a") + tensor("1", (2,)) + b"u."
    with pytest.raises(ModelError, match="'a' twice"):
        read_state(archive(words, {"0": bytes(8), "1": bytes(8)}))


def test_compressed_members_are_refused() -> None:
    """A packed member raises ModelError before it is unpacked, whatever size it claims."""
    bomb = archive(pickled({"w": tensor("0", (1 << 22,))}), {"0": bytes(1 << 24)}, packed=True)
    assert len(bomb) < 1 << 20
    with pytest.raises(ModelError, match="compressed"):
        read_state(bomb)


def test_a_member_that_claims_more_than_the_file_is_refused() -> None:
    """A directory that says gigabytes of a small file raises ModelError."""
    data = bytearray(GOOD)
    place = data.rindex(b"net/data/0") - 46
    assert data[place : place + 4] == b"PK\x01\x02"
    data[place + 20 : place + 28] = struct.pack("<II", 1 << 31, 1 << 31)
    with pytest.raises(ModelError, match="larger than the file"):
        read_state(bytes(data))


def test_two_members_of_one_name_are_refused() -> None:
    """Where a name is there twice, it is not certain which one counts."""
    target = io.BytesIO(GOOD)
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(target, "a") as made:
        made.writestr("net/data.pkl", pickled({}))
    with pytest.raises(ModelError, match="two members"):
        read_state(target.getvalue())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a zip"),
        (b"PK", "not a zip"),
        (pickle.dumps({}), "not a zip"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "not a zip"),
        (archive(b"", {}), "cut off"),
        (archive(b"}", {}), "cut off"),
        (archive(b"}.", {}, folder="a/b"), "not a state dict of torch.save"),
        (archive(b"}}.", {}), "not one dict"),
        (archive(b"(.", {}), "takes what is not there"),
    ],
)
def test_another_file_is_refused(data: bytes, message: str) -> None:
    """What torch.save does not write, its old format too, raises ModelError."""
    with pytest.raises(ModelError, match=message):
        read_state(data)


def test_numbers_of_the_other_byte_order_are_refused() -> None:
    """A file from a big-endian machine raises ModelError instead of being misread."""
    with pytest.raises(ModelError, match="little-endian"):
        read_state(archive(pickled({"w": tensor("0", (2, 3))}), {"0": bytes(24)}, order="big"))


def test_tuples_without_end_are_refused_at_once() -> None:
    """Tuples in tuples, a hundred thousand deep or doubled sixty times over, raise ModelError within a second."""
    deep = b")" + b"\x85" * 100_000
    doubled = b")" + b"".join(b"q\x01h\x01\x86" for _ in range(60))
    began = time.process_time()
    for words in (deep, doubled):
        for end in (b"Q", b"R", words + b"R", b""):
            with pytest.raises(ModelError):
                read_state(one(words + end))
    assert time.process_time() - began < 10


@given(st.integers(0, len(GOOD) - 1))
@SLOW
def test_a_truncated_file_is_refused_wherever_it_ends(end: int) -> None:
    """A state dict cut anywhere raises ModelError."""
    with pytest.raises(ModelError):
        read_state(GOOD[:end])


@given(st.integers(0, len(GOOD) - 1), st.integers(0, 255))
@settings(max_examples=120, deadline=timedelta(seconds=5))
def test_a_damaged_file_is_refused_or_read(place: int, value: int) -> None:
    """A state dict with one byte changed is read, all its numbers finite, or refused; never another exception."""
    try:
        state = read_state(GOOD[:place] + bytes([value]) + GOOD[place + 1 :])
    except ModelError:
        return
    assert all(np.isfinite(values).all() for values in state.values())


@given(st.integers(0, len(WORDS) - 1), st.integers(0, 255))
@settings(max_examples=100, deadline=timedelta(seconds=5))
def test_damaged_words_are_refused_or_read(place: int, value: int) -> None:
    """The same of one byte of the words alone, under a right checksum."""
    words = WORDS[:place] + bytes([value]) + WORDS[place + 1 :]
    try:
        read_state(archive(words, {str(k): numbers(shape, k).tobytes() for k, shape in enumerate(TWO.values())}))
    except ModelError:
        return


@given(st.binary(max_size=60))
@settings(max_examples=100, deadline=timedelta(seconds=5))
def test_any_words_are_refused_or_read(words: bytes) -> None:
    """Any bytes in the place of a tensor's words bring a dict or ModelError."""
    try:
        read_state(one(words))
    except ModelError:
        return
