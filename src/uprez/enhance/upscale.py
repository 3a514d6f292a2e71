"""Enlarges frames: one model, one size, one session, held open for a whole segment.

A picture that the memory does not hold is cut into tiles, and into smaller ones when even those turn out too large.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
import onnx
from numpy.typing import NDArray

from uprez.enhance.rungs import Array
from uprez.enhance.session import GraphMaker, Session, open_session
from uprez.errors import MemoryShortError, ModelError
from uprez.job import Colour, Precision, Video
from uprez.media.frame import Frame, Samples
from uprez.media.target import Target
from uprez.models import Model, tiles
from uprez.models import Precision as Computed
from uprez.models.graphs import INDEX, MATRICES, PLANES, RESAMPLE, GraphSpec, plane_shapes, planes_graph
from uprez.models.networks import identity
from uprez.models.tiles import Reach, Tile, Tiling

Say = Callable[[str], None]
"""Takes a line for the log."""

PLAIN_BYTES, RESULT_BYTES = 280, 10
"""Memory that a graph takes around its network, for each pixel of the source and of the result. Measured."""
ON_CPU = frozenset({"openvino", "cpu"})
"""Families whose memory is the machine's own."""
SMALL = (64, 48)
"""Width and height of a picture that providers are compared by."""
HALF_BITS = 10
LEAST_TILE_PX = 64 * 64
"""Of a tile's window: below it, memory is not what is short."""


@dataclass(frozen=True, kw_only=True)
class Means:
    """What sessions are opened with."""

    families: Sequence[str]
    """Execution provider families that may be used, in any order."""
    threads: int
    """Of the CPU, for inference."""
    precision: Precision = "auto"
    memory_bytes: int | None = None
    """Of the memory that the model runs in, what it may take; None: a whole picture, unless that fails."""
    cache: Path | None = None
    """A folder of this machine for what providers compile."""
    say: Say = lambda _: None

    def precision_for(self, source: Colour, target: Colour) -> Precision:
        """Say how to compute: of its own accord nothing of more than 10 bits goes through float16, which has 11."""
        deep = max(source.depth, target.depth) > HALF_BITS
        return "f32" if self.precision == "auto" and deep else self.precision

    def open(self, make: GraphMaker, source: Colour, target: Colour) -> Session:
        """Open a graph from pictures that are stored in one way to those in another; raises as `open_session`."""
        return open_session(
            make,
            families=self.families,
            threads=self.threads,
            precision=self.precision_for(source, target),
            cache=self.cache,
            depth=source.depth,
        )


class Upscaler:
    """Makes larger frames of the sizes it was opened for; a frame keeps its pts.

    For one thread, or for as many as `share` says.
    """

    def __init__(self, network: onnx.ModelProto | None, model: Model, spec: GraphSpec, means: Means) -> None:
        self._network = network
        self._model = model
        self._spec = spec
        self._means = means
        self.tiling: Tiling | None = None
        """None: the whole picture at once."""
        self.notes: list[str] = []
        """What memory made of it, in words."""
        self._per_px = _bytes_per_px(model, spec, means.families)
        whole = spec.width * spec.height
        self._most_px = whole if means.memory_bytes is None else _most_px(self._per_px, means.memory_bytes)
        self._changing = Lock()
        self.session = self._opened()

    def __call__(self, frame: Frame) -> Frame:
        """Enlarge one frame. Raises ModelError where the provider fails for another reason than memory."""
        while True:
            with self._changing:
                session, tiling = self.session, self.tiling
            try:
                return replace(frame, planes=self._planes(frame, session, tiling))
            except MemoryShortError as error:
                short = _alone(error)
            except ModelError:
                if session is self.session:
                    raise
                continue  # it was closed for another frame's sake
            with self._changing:
                if session is self.session:  # else another frame had too little too, and saw to it
                    session.close()
                    self._shrink(short)
                    self.session = self._opened()

    def share(self, count: int) -> int:
        """Let up to `count` frames be made at once; gives how many may be: as the provider and the memory allow."""
        memory = self._means.memory_bytes
        whole = self._per_px * self._spec.width * self._spec.height
        if memory is not None and whole:
            count = min(count, memory // whole)
        return self.session.share(count) if count > 1 and self.tiling is None else 1

    def _opened(self) -> Session:
        """Open a session for as large a part of the picture as the memory holds."""
        while True:
            self.tiling = self._cut()
            try:
                return self._means.open(self._graph, self._spec.source, self._spec.target)
            except MemoryShortError as error:
                short = _alone(error)
            self._shrink(short)

    def _graph(self, precision: Computed, small: bool) -> onnx.ModelProto:
        spec = self.tiling.spec if self.tiling else self._spec
        slots = self.tiling.slots if self.tiling else None
        if small:
            shown = SMALL[::-1] if spec.turn.lies else SMALL
            larger = [2 * side for side in shown]
            spec = replace(spec, width=SMALL[0], height=SMALL[1], out_width=larger[0], out_height=larger[1])
        if small and slots:
            # Tiles hand in their taps, which is another graph: here for a tile that is the whole picture.
            only = tiles.cut(spec, Reach(halo=0), SMALL[0] * SMALL[1], has_network=self._network is not None)
            slots = only.slots if only else None
        return planes_graph(self._network, replace(spec, half=precision == "f16"), slots)

    def _cut(self) -> Tiling | None:
        if self._spec.width * self._spec.height <= self._most_px:
            return None
        found = tiles.cut(
            self._spec, _reach(self._model, self._spec), self._most_px, has_network=self._network is not None
        )
        if found is None:
            raise MemoryShortError(
                f"{self._model.name} does not fit into {_mib(self._means.memory_bytes or 0)}, not even in small tiles",
                hint="give it more with --memory",
            )
        note = f"{found}, to stay within the memory"
        self.notes.append(note)
        self._means.say(note)
        return found

    def _shrink(self, error: MemoryShortError) -> None:
        """Halve what is taken at once; raises the error when that is little already."""
        now = self.tiling.window_px if self.tiling else self._spec.width * self._spec.height
        self._most_px = min(self._most_px, now) // 2
        if self._most_px < LEAST_TILE_PX:
            raise error
        self._means.say(f"[WARN] out of memory with {now} pixels at once, trying half as many: {error.message}")

    def _planes(self, frame: Frame, session: Session, tiling: Tiling | None) -> tuple[Samples, ...]:
        if tiling is None:
            return session.run(frame.planes)
        return _joined(tiling, self._spec, frame.planes, session)


def _alone(error: MemoryShortError) -> MemoryShortError:
    """Give an error without what led to it: a traceback, its cause's too, keeps the session with all its memory."""
    return MemoryShortError(error.message, hint=error.hint)


def _joined(tiling: Tiling, spec: GraphSpec, planes: Sequence[Samples], session: Session) -> tuple[Samples, ...]:
    """Make a picture tile by tile."""
    canvas = _Blend(spec, tiling.overlap) if tiling.overlap else _Seamless(spec)
    names = PLANES[spec.source.family]
    for tile in tiling:
        seen = [plane[_place(name, tile.source, spec.source)].copy() for name, plane in zip(names, planes, strict=True)]
        canvas.put(tile, session.run(seen, _given(tile)))
    return canvas.planes()


def _given(tile: Tile) -> dict[str, Array]:
    given: dict[str, Array] = {}
    for name, cut in tile.lines.items():
        given[f"{RESAMPLE}/{name}/{INDEX}"] = cut.windows
        given[f"{RESAMPLE}/{name}/{MATRICES}"] = cut.matrices
    return given


def _place(plane: str, luma: tiles.Rectangle, colour: Colour) -> tiles.Rectangle:
    """Give the rectangle of a plane under one of the luma plane, which begins at a whole sample of both."""
    down, across = (colour.down, colour.across) if plane in "uv" else (1, 1)
    rows, columns = luma
    return (
        slice(rows.start // down, -(-rows.stop // down)),
        slice(columns.start // across, -(-columns.stop // across)),
    )


class _Seamless:
    """Puts tiles beside each other; where they overlap, they are equal."""

    def __init__(self, spec: GraphSpec) -> None:
        dtype = np.uint8 if spec.target.depth == 8 else np.uint16
        shapes = plane_shapes(spec.out_width, spec.out_height, spec.target)
        self._colour = spec.target
        self._planes = {name: np.empty(shape, dtype) for name, shape in shapes.items()}

    def put(self, tile: Tile, made: Sequence[Samples]) -> None:
        for (name, plane), part in zip(self._planes.items(), made, strict=True):
            plane[_place(name, tile.result, self._colour)] = part

    def planes(self) -> tuple[Samples, ...]:
        return tuple(self._planes.values())


class _Blend:
    """Lets each tile fade into the next over the luma samples that both have."""

    def __init__(self, spec: GraphSpec, overlap: int) -> None:
        shapes = plane_shapes(spec.out_width, spec.out_height, spec.target)
        self._colour, self._overlap = spec.target, overlap
        self._sums = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        self._weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}

    def put(self, tile: Tile, made: Sequence[Samples]) -> None:
        for (name, total), part in zip(self._sums.items(), made, strict=True):
            place = _place(name, tile.result, self._colour)
            shared = (self._colour.down, self._colour.across) if name in "uv" else (1, 1)
            rows, columns = (
                _fading(side, whole, self._overlap // by)
                for side, whole, by in zip(place, total.shape, shared, strict=True)
            )
            here = rows[:, None] * columns[None, :]
            total[place] += here * part
            self._weights[name][place] += here

    def planes(self) -> tuple[Samples, ...]:
        codes = [np.floor(total / self._weights[name] + 0.5) for name, total in self._sums.items()]
        return tuple(plane.astype(np.uint8 if self._colour.depth == 8 else np.uint16) for plane in codes)


def _fading(side: slice, whole: int, overlap: int) -> NDArray[np.float32]:
    """Give a tile's weights along a side: rising and falling where it has a neighbour."""
    count = side.stop - side.start
    rising = np.minimum(1, (np.arange(count, dtype=np.float32) + 1) / (overlap + 1))
    weights = np.ones(count, np.float32)
    if side.start > 0:
        weights = np.minimum(weights, rising)
    if side.stop < whole:
        weights = np.minimum(weights, rising[::-1])
    return weights


def open_upscaler(network: Path | None, model: Model, video: Video, wanted: Target, means: Means) -> Upscaler:
    """Open a model for frames of `video`, to be made as `wanted` says.

    `network` is what `weights.ensure` gave for the model. Raises ModelError where the size, the network or every
    accepted provider family fails.
    """
    _check(model, video, wanted.width, wanted.height)
    spec = _spec(model, video, wanted)
    return Upscaler(load(network) if network else identity() if model.scales[1] == 1 else None, model, spec, means)


def work_in_tiles(model: Model, video: Video, wanted: Target, family: str, memory_bytes: int) -> float:
    """Give how many times the picture's pixels a family's tiles see; infinite where none fits."""
    spec = _spec(model, video, wanted)
    whole = spec.width * spec.height
    most_px = _most_px(_bytes_per_px(model, spec, (family,)), memory_bytes)
    if whole <= most_px:
        return 1.0
    found = tiles.cut(spec, _reach(model, spec), most_px, has_network=model.architecture is not None)
    return found.count * found.window_px / whole if found else float("inf")


def _spec(model: Model, video: Video, wanted: Target) -> GraphSpec:
    return GraphSpec(
        width=video.width,
        height=video.height,
        out_width=wanted.width,
        out_height=wanted.height,
        native_scale=model.native_scale,
        source=video.colour,
        target=wanted.colour,
        turn=video.turn,
    )


def _reach(model: Model, spec: GraphSpec) -> Reach:
    overlap = 0 if model.halo_exact else model.halo_px * spec.out_width // spec.shown_width
    return Reach(halo=model.halo_px, overlap=overlap)


def _most_px(per_px: int, memory_bytes: int) -> int:
    return max(LEAST_TILE_PX, memory_bytes // per_px)


def _bytes_per_px(model: Model, spec: GraphSpec, families: Sequence[str]) -> int:
    """Give the memory that inference takes for each pixel of the source, on the hungriest of the families."""
    results = -(-spec.out_width * spec.out_height // (spec.width * spec.height))
    network = max((model.working_bytes.get(family, 0) for family in families), default=0)
    return network + PLAIN_BYTES + RESULT_BYTES * results


def _mib(count: int) -> str:
    return f"{count >> 20} MiB"


def _check(model: Model, video: Video, width: int, height: int) -> None:
    shown = video.shown_size
    if model.scales[1] == 1 and max(abs(width - shown[0]), abs(height - shown[1])) > 1:  # 1: to an even side
        raise ModelError(
            f"model {model.name} keeps the size; {shown[0]}x{shown[1]} cannot become {width}x{height}",
            hint="use --scale 1 or another model",
        )


def load(network: Path) -> onnx.ModelProto:
    """Read a converted network; raises ModelError where that fails."""
    try:
        return onnx.load_model(network)
    except OSError as error:
        raise ModelError(
            f"cannot read the network {network}: {error}", hint="delete the file; it is made again from the weights"
        ) from error
