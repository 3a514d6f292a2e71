"""A state dict as PyTorch's torch.save writes it, read without PyTorch and without pickle.

The file is a zip archive, nothing in it compressed: NAME/data.pkl says in pickle's language which tensors there are,
and NAME/data/0, 1, ... hold their numbers. Unpickling runs what the file says. Here the few words that a dict of
tensors is written with are read one by one, and any other is refused by its name.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeGuard

import numpy as np
from numpy.typing import NDArray

from uprez.errors import ModelError

_STORAGES = {"torch FloatStorage": "<f4", "torch HalfStorage": "<f2"}
_REBUILD = "torch._utils _rebuild_tensor_v2"
_ORDERED = "collections OrderedDict"
_NAMES = {*_STORAGES, _REBUILD, _ORDERED}
"""All that a file may name; none of it is imported."""

_MOST_MEMBERS = 10_000
_MOST_DIMENSIONS = 8
"""Bounds far above any network's: RIFE has 204 members and 4 dimensions."""

_WORDS = {word.code: word for word in pickletools.opcodes}
_MARK: Final = object()


@dataclass(frozen=True)
class _Name:
    """Something that Python would import."""

    text: str


@dataclass(frozen=True)
class _Tensor:
    storage: _Storage
    shape: tuple[int, ...]


@dataclass(frozen=True)
class _Storage:
    """Numbers in a member of their own."""

    key: str
    kind: str
    count: int


def read_state(data: bytes) -> dict[str, NDArray[np.float32]]:
    """Read a dict of f32 or f16 tensors, each with its name, as float32 arrays.

    Raises ModelError for another file, a word that such a dict does not need, a tensor that is not contiguous or shares
    its numbers with another, and for truncated or non-finite numbers.
    """
    with _archive(data) as archive:
        folder = _folder(archive)
        if _member(archive, f"{folder}/byteorder", default=b"little") != b"little":
            raise ModelError("the state dict's numbers are not little-endian")
        tensors = _Machine(_member(archive, f"{folder}/data.pkl")).run()
        seen: set[str] = set()
        for name, tensor in tensors.items():
            if tensor.storage.key in seen:
                raise ModelError(f"weights {name[:80]!r} share their numbers with others")
            seen.add(tensor.storage.key)
        return {
            name: _numbers(name, tensor, _member(archive, f"{folder}/data/{tensor.storage.key}"))
            for name, tensor in tensors.items()
        }


def _numbers(name: str, tensor: _Tensor, data: bytes) -> NDArray[np.float32]:
    storage = tensor.storage
    if len(data) != storage.count * np.dtype(storage.kind).itemsize:
        raise ModelError(
            f"weights {name[:80]!r} have {len(data)} bytes for {storage.count} numbers of type {storage.kind}"
        )
    values = np.frombuffer(data, storage.kind).astype(np.float32)
    if not np.isfinite(values).all():
        raise ModelError(f"weights {name[:80]!r} hold a number that is not finite")
    return values.reshape(tensor.shape)


def _archive(data: bytes) -> zipfile.ZipFile:
    """Open the archive, and see that no member is packed, hidden by another or larger than the file has room for."""
    try:
        archive = zipfile.ZipFile(io.BytesIO(data))
    except _ZIP_ERRORS as error:
        raise ModelError(f"the state dict is not a zip archive of torch.save, or is cut off: {error}") from error
    members = archive.infolist()
    if len(members) > _MOST_MEMBERS:
        raise ModelError(f"the state dict has {len(members)} members")
    if len({member.filename for member in members}) != len(members):
        raise ModelError("the state dict has two members of one name")
    for member in members:
        if member.compress_type != zipfile.ZIP_STORED or member.file_size != member.compress_size:
            raise ModelError(f"member {member.filename[:80]} is compressed, which torch.save never does")
    if sum(member.file_size for member in members) > len(data):
        raise ModelError("the state dict's members are larger than the file")
    return archive


_ZIP_ERRORS = (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, OSError, ValueError, struct.error)
"""What zipfile raises for a damaged archive: UnicodeDecodeError is a ValueError."""


def _folder(archive: zipfile.ZipFile) -> str:
    folders = [name.removesuffix("/data.pkl") for name in archive.namelist() if name.endswith("/data.pkl")]
    if len(folders) != 1 or "/" in folders[0]:
        raise ModelError(f"the archive has {len(folders)} files data.pkl: it is not a state dict of torch.save")
    return folders[0]


def _member(archive: zipfile.ZipFile, name: str, *, default: bytes | None = None) -> bytes:
    try:
        return archive.read(name)
    except KeyError as error:
        if default is not None:
            return default
        raise ModelError(f"the state dict has no {name[:80]}: it is truncated") from error
    except _ZIP_ERRORS as error:
        raise ModelError(f"the state dict is damaged at {name[:80]}: {error}") from error


class _Machine:
    """Follows a pickle's words, of those that a dict of tensors takes."""

    def __init__(self, data: bytes) -> None:
        self._stream = io.BytesIO(data)
        self._stack: list[object] = []
        self._memo: dict[int, object] = {}
        self._words: dict[str, Callable[[], None]] = {
            "EMPTY_DICT": lambda: self._stack.append({}),
            "EMPTY_TUPLE": lambda: self._stack.append(()),
            "NEWFALSE": lambda: self._stack.append(False),
            "NEWTRUE": lambda: self._stack.append(True),
            "MARK": lambda: self._stack.append(_MARK),
            "TUPLE": lambda: self._stack.append(tuple(self._since_mark())),
            "TUPLE1": lambda: self._stack.append(tuple(self._pop(1))),
            "TUPLE2": lambda: self._stack.append(tuple(self._pop(2))),
            "TUPLE3": lambda: self._stack.append(tuple(self._pop(3))),
            "SETITEM": lambda: self._set(self._pop(2)),
            "SETITEMS": lambda: self._set(self._since_mark()),
            "BINPERSID": lambda: self._stack.append(_storage(self._pop(1)[0])),
            "REDUCE": lambda: self._stack.append(_called(*self._pop(2))),
            "GLOBAL": lambda: self._stack.append(_named(self._stream.readline(), self._stream.readline())),
        }
        self._valued: dict[str, Callable[[object], None]] = {
            **dict.fromkeys(("BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2"), self._stack.append),
            "PROTO": self._note,
            **dict.fromkeys(("BINPUT", "LONG_BINPUT"), self._remember),
            **dict.fromkeys(("BINGET", "LONG_BINGET"), self._recall),
        }

    def run(self) -> dict[str, _Tensor]:
        """Give the tensors by name. Raises ModelError for anything else than a dict of tensors."""
        while self._follow():
            pass
        found = self._pop(1)[0]
        if self._stack or not isinstance(found, dict):
            raise ModelError("the state dict's data.pkl is not one dict")
        for name, tensor in found.items():
            if not isinstance(tensor, _Tensor):
                raise ModelError(f"the state dict's {_shown(name)} is not a tensor")
        return found

    def _follow(self) -> bool:
        """Read one word, and its value only where the word is one that is needed; False at the end."""
        word = _WORDS.get(self._stream.read(1).decode("latin-1"))
        if word is None:
            raise ModelError("the state dict's data.pkl is damaged or cut off")
        if word.name in self._words:
            self._words[word.name]()
        elif word.name in self._valued and word.arg is not None:
            try:
                value = word.arg.reader(self._stream)
            except ValueError as error:
                raise ModelError(f"the state dict's data.pkl is damaged or cut off: {error}") from error
            self._valued[word.name](value)
        elif word.name != "STOP":
            raise ModelError(f"the state dict's data.pkl has {word.name}, which a dict of tensors does not need")
        return word.name != "STOP"

    def _note(self, value: object) -> None:
        """Do nothing: the word tells how the rest is written."""

    def _remember(self, place: object) -> None:
        if not isinstance(place, int) or not self._stack:
            raise ModelError("the state dict's data.pkl remembers what is not there")
        self._memo[place] = self._stack[-1]

    def _recall(self, place: object) -> None:
        if not isinstance(place, int) or place not in self._memo:
            raise ModelError("the state dict's data.pkl recalls what was never there")
        self._stack.append(self._memo[place])

    def _pop(self, count: int) -> list[object]:
        taken = self._stack[-count:]
        if len(taken) < count or any(value is _MARK for value in taken):
            raise ModelError("the state dict's data.pkl takes what is not there")
        del self._stack[-count:]
        return taken

    def _since_mark(self) -> list[object]:
        taken: list[object] = []
        while self._stack:
            value = self._stack.pop()
            if value is _MARK:
                return taken[::-1]
            taken.append(value)
        raise ModelError("the state dict's data.pkl takes what is not there")

    def _set(self, pairs: list[object]) -> None:
        target = self._stack[-1] if self._stack else None
        if not isinstance(target, dict) or len(pairs) % 2:
            raise ModelError("the state dict's data.pkl fills what is not a dict")
        for name, value in zip(pairs[::2], pairs[1::2], strict=True):
            if not isinstance(name, str) or name in target:
                raise ModelError(f"the state dict has {_shown(name)} twice, or as the name of a tensor")
            target[name] = value


def _named(module: bytes, name: bytes) -> _Name:
    text = f"{module.decode('latin-1').rstrip(chr(10))} {name.decode('latin-1').rstrip(chr(10))}"
    if text not in _NAMES:
        raise ModelError(f"the state dict asks for {text[:80]!r}, which a dict of f32 or f16 tensors does not need")
    return _Name(text)


def _storage(told: object) -> _Storage:
    """Read ("storage", type, member, device, how many numbers)."""
    match told:
        case ("storage", _Name(text=kind), str(key), str(), int(count)) if kind in _STORAGES and count >= 0:
            return _Storage(key, _STORAGES[kind], count)
    raise ModelError(f"the state dict has a storage that is not one of f32 or f16 numbers: {_shown(told)}")


def _called(function: object, arguments: object) -> object:
    """Do what a name with arguments stands for: an empty dict, or a tensor."""
    match function, arguments:
        case _Name(text="collections OrderedDict"), ():
            return {}
        case _Name(text="torch._utils _rebuild_tensor_v2"), (_Storage() as storage, offset, shape, strides, bool(), {}):
            return _tensor(storage, offset, shape, strides)
    raise ModelError(f"the state dict calls {_shown(function)} in a way that a dict of tensors does not need")


def _tensor(storage: _Storage, offset: object, shape: object, strides: object) -> _Tensor:
    where = f"the tensor in member {storage.key[:40]}"
    if offset != 0 or not _are_sizes(shape) or not _are_sizes(strides) or len(shape) != len(strides):
        raise ModelError(f"{where} is not the whole of its numbers")
    due = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != due:
            raise ModelError(f"{where} is not contiguous")
        due *= size
    if math.prod(shape) != storage.count:
        raise ModelError(f"{where} has {storage.count} numbers and the shape {shape}")
    return _Tensor(storage, shape)


def _shown(value: object) -> str:
    """Say what was met. What is no word is not printed: it may hold itself many times over."""
    if isinstance(value, _Name):
        return value.text[:80]
    if isinstance(value, tuple):
        return f"({', '.join(_shown(item) if isinstance(item, str | _Name) else '...' for item in value[:5])})"
    return repr(value[:80]) if isinstance(value, str) else f"a value of type {type(value).__name__}"


def _are_sizes(values: object) -> TypeGuard[tuple[int, ...]]:
    return (
        isinstance(values, tuple)
        and len(values) <= _MOST_DIMENSIONS
        and all(type(value) is int and value >= 0 for value in values)
    )
