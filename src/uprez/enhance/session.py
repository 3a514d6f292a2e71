"""Opens a graph on the best execution provider that this machine has and the caller accepts.

The ladder is RUNGS, best first. A rung counts only once it has made of a small picture what ONNX Runtime's CPU provider
makes of it, and has run the graph itself; the ones passed over are kept with the reason. Families the caller did not
name are never tried: a rented GPU's work does not become CPU work.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from uprez.enhance.rungs import RUNGS, RUNTIME_ERRORS, Array, How, NotMeantError, Rung, Running, UnavailableError, line
from uprez.errors import MemoryShortError, ModelError, NoProviderError
from uprez.job import Precision
from uprez.media.frame import Samples
from uprez.models import Precision as Computed

GraphMaker = Callable[[Computed, bool], onnx.ModelProto]
"""Gives the graph for a precision: itself, or (True) the same for a picture of few pixels, to be compared."""

TOLERANCE: dict[Computed, tuple[float, float]] = {"f32": (2 / 255, 2 / 255), "f16": (2 / 255, 8 / 255)}
"""By how much of white a rung's small picture may be off: of all but a thousandth of its samples, and of any."""

_PLANES = 3
_MEMORY_WORDS = (
    *("out of memory", "failed to allocate", "bad_alloc", "not enough memory", "bad_array_new_length"),
    *("alloc_failed", "could not build execution context", "enqueue failed"),
    *("device lost", "device is lost", "maxstoragebufferbindingsize"),
)
"""What runtimes say, in lower case, where a device has too little memory, or may have: smaller tiles are tried then."""


class Session:
    """A graph that runs. Not for two threads at once, unless `share` says so."""

    def __init__(self, inner: Running, rung: Rung, device: str, ladder: tuple[str, ...]) -> None:
        self._inner: Running | None = inner
        self.family = rung.family
        self.provider = rung.provider
        self.precision = rung.precision
        self.device = device
        self.ladder = ladder
        """Rungs passed over, each with the reason, then the one that runs."""

    def close(self) -> None:
        """Let go of what the session holds; it cannot run again."""
        self._inner = None

    def call(self, feed: Mapping[str, Array], names: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the graph once and give its outputs, new arrays, by name: all of them or those asked for.

        Raises MemoryShortError where the device has too little memory, ModelError for all else that fails.
        """
        inner = self._open
        names = inner.outputs if names is None else names
        cast = {name: feed[name].astype(dtype, copy=False) for name, dtype in inner.inputs.items()}
        try:
            return dict(zip(names, inner.run(names, cast), strict=True))
        except RUNTIME_ERRORS as error:
            text = f"{self.provider} on {self.device} failed in mid-run: {line(error)}"
            raise (MemoryShortError if _is_of_memory(error) else ModelError)(text) from error

    def run(self, planes: Sequence[Samples], given: Mapping[str, Array] | None = None) -> tuple[Samples, ...]:
        """Run one frame through a planes graph; `given` are its inputs beside the planes. Raises as `call`."""
        feed = dict(zip(self._open.inputs, planes, strict=False))
        results = self.call({**feed, **(given or {})}, self._open.outputs[:_PLANES])
        return tuple(samples(plane) for plane in results.values())

    def share(self, count: int) -> int:
        """Divide the threads between `count` calls at once, from threads of their own; gives how many there may be."""
        try:
            return self._open.share(count)
        except RUNTIME_ERRORS as error:
            raise ModelError(f"{self.provider} on {self.device} cannot be shared: {line(error)}") from error

    @property
    def _open(self) -> Running:
        if self._inner is None:
            raise ModelError("the session was closed")
        return self._inner


def samples(plane: Array) -> Samples:
    """Give a plane as frames have it: uint8 of 8-bit video, uint16 of everything deeper."""
    if plane.dtype == np.uint8:
        return plane.astype(np.uint8, copy=False)
    return plane.astype(np.uint16)


def open_session(
    make: GraphMaker,
    *,
    families: Sequence[str],
    threads: int,
    precision: Precision = "auto",
    cache: Path | None = None,
    depth: int = 8,
) -> Session:
    """Open a graph on the first accepted rung that really runs it.

    `threads` bounds the CPU threads of inference; `cache` is a folder for what providers compile; `depth` is the bits
    of the planes that go in. Raises MemoryShortError where a rung has too little memory for it, and NoProviderError,
    with the whole ladder, where none works.
    """
    made = functools.cache(make)
    ladder: list[str] = []
    for rung in _accepted(families, precision):
        name = f"{rung.provider} ({rung.precision})"
        how = How(threads=threads, cache=cache)
        try:
            if rung is not RUNGS[-1]:
                _prove(rung, made, how, depth)
            inner, device = rung.open(made(rung.precision, False).SerializeToString(), how)
            session = Session(inner, rung, device, (*ladder, f"{name}: runs"))
            session.call(_blank(made(rung.precision, False)))
        except NotMeantError:
            continue
        except UnavailableError as error:
            ladder.append(f"{name}: {error}")
        except MemoryShortError:
            raise
        except ModelError as error:
            ladder.append(f"{name}: {error.message}")
        except RUNTIME_ERRORS as error:
            if _is_of_memory(error):
                raise MemoryShortError(f"{name}: {line(error)}") from error
            ladder.append(f"{name}: {line(error)}")
        else:
            return session
    raise no_provider(families, precision, ladder)


def no_provider(families: Sequence[str], precision: Precision, ladder: Sequence[str]) -> NoProviderError:
    """Say that no rung of the families runs a graph."""
    return NoProviderError(
        f"no execution provider of {', '.join(families) or '(no family)'} runs this model here"
        + ("" if precision == "auto" else f" in {precision}")
        + "".join(f"; {step}" for step in ladder),
        hint=f"families that uprez knows: {', '.join(dict.fromkeys(rung.family for rung in RUNGS))}",
        ladder=tuple(ladder),
    )


def _prove(rung: Rung, make: GraphMaker, how: How, depth: int) -> None:
    """Compare what a rung makes of a small picture with what the CPU provider does; raises ModelError, with figures.

    Drivers and compilers have run networks without a complaint and given other pictures (TensorRT's warps, f16 on old
    GPUs).
    """
    small, reference = make(rung.precision, True), make("f32", True)
    feed = _texture(reference, depth)
    inner, device = rung.open(small.SerializeToString(), how)
    got = Session(inner, rung, device, ()).call(feed)
    cpu, _ = RUNGS[-1].open(reference.SerializeToString(), how)
    due = Session(cpu, RUNGS[-1], "", ()).call(feed)
    most, any_ = TOLERANCE[rung.precision]
    for name, wanted in due.items():
        white = max(1.0, float(np.abs(wanted.astype(np.float32)).max()))
        apart = np.abs(got[name].astype(np.float32) - wanted.astype(np.float32)) / white
        nearly_all, worst = float(np.quantile(apart, 0.999)), float(apart.max())
        if not (nearly_all <= most and worst <= any_):  # NaN is neither
            raise ModelError(
                f"gives other pictures than the CPU: {name} is off by {255 * worst:.1f}/255 at worst,"
                f" {255 * nearly_all:.1f}/255 but for a thousandth of it"
            )


def _accepted(families: Sequence[str], precision: Precision) -> Iterator[Rung]:
    return (rung for rung in RUNGS if rung.family in families and precision in ("auto", rung.precision))


def _is_of_memory(error: Exception) -> bool:
    said = str(error).lower()
    return isinstance(error, MemoryError) or any(words in said for words in _MEMORY_WORDS)


def _texture(graph: onnx.ModelProto, depth: int) -> dict[str, Array]:
    """Give a picture with edges and slopes for every input, moved a little from one to the next; a step of about 1/2.

    Codes are those of `depth` bits: darker than black, a network would see nothing. Taps of a tile, which look at the
    samples in turn and at few at a time, keep the picture's edges.
    """
    feed: dict[str, Array] = {}
    for number, item in enumerate(graph.graph.input):
        tensor = item.type.tensor_type
        shape = [side.dim_value for side in tensor.shape.dim]
        rows, columns = np.meshgrid(np.arange(shape[-2]), np.arange(shape[-1]), indexing="ij")
        waves = np.sin((rows + 2 * number) / 5) * np.cos((columns - 3 * number) / 7) + ((rows + columns) // 9 % 2) / 2
        if tensor.elem_type == onnx.TensorProto.INT32:
            filled = (rows + columns) % shape[-1]
        elif len(shape) == _TAPS:
            filled = np.where(columns == rows * shape[-1] // shape[-2], 0.7, 0.3 / max(1, shape[-1] - 1))
        elif len(shape) == _PLANE:
            filled = (100 + 60 * waves) * (1 << (depth - 8))
        else:
            filled = 0.4 + 0.3 * waves
        feed[item.name] = np.broadcast_to(filled, shape).astype(np.float32)
    return feed


_PLANE, _TAPS = 2, 3
"""Dimensions of what goes into a graph."""


def _blank(graph: onnx.ModelProto) -> dict[str, Array]:
    """Give something to run: gray planes, the first sample for every index, a step half-way."""
    feed: dict[str, Array] = {}
    for item in graph.graph.input:
        tensor = item.type.tensor_type
        fill = _FILLS.get(tensor.elem_type, 0)
        feed[item.name] = np.full([side.dim_value for side in tensor.shape.dim], fill, np.float32)
    return feed


_FILLS = {onnx.TensorProto.UINT8: 128.0, onnx.TensorProto.FLOAT16: 128.0, onnx.TensorProto.FLOAT: 0.5}
