"""How a picture is cut into tiles, so that what they give together is what the whole picture would give. Pure.

A side is cut on its own. Each tile sees a window of the source and gives a core of the result; all windows of a side
have one length and so have all cores, which makes one static graph serve every tile. A window that would reach over the
picture's edge is moved inside, so that the network pads where it would pad the whole picture and nowhere else. Around
what its core needs, a window has the network's halo and what bringing chroma to luma reaches. The samples of a result
lie differently among those of each window, whatever the scale: each tile brings its own taps, cut out of the side's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from math import ceil

from uprez.job import Turn
from uprez.models import resample
from uprez.models.graphs import BLOCK_ROWS, GraphSpec, Slot
from uprez.models.resample import Blocks, Taps

_MOST = 64
"""Tiles of a side."""
_CHROMA_REACH = 2
"""Chroma samples on either side that bringing chroma to luma looks at."""

Rectangle = tuple[slice, slice]
"""Rows and columns."""
_Given = dict[str, tuple[Taps, int, int]]
"""A side's taps by the resampling's name, each with the scale of what it resamples, and its luma samples a row."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """What of its surroundings a tile must see and share."""

    halo: int
    """Source pixels around a point that its output depends on."""
    overlap: int = 0
    """Result pixels that neighbours both give, to be blended; 0: a seam cannot be seen."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a picture, as shown, and its tiles."""

    size: int
    """Source pixels."""
    window: int
    """Source pixels that a tile sees."""
    starts: tuple[int, ...]
    """Where each tile's window begins."""
    core: int
    """Result pixels that a tile gives."""
    firsts: tuple[int, ...]
    """Where each tile's core begins."""
    taps: _Given

    @cached_property
    def parts(self) -> dict[str, list[Taps]]:
        """Give each tile's share of the taps, by the name of the resampling without the side ("outside_chroma")."""
        return {
            name: [
                resample.part(whole, first // by, -(-self.core // by), start=scale * start, size=scale * self.window)
                for first, start in zip(self.firsts, self.starts, strict=True)
            ]
            for name, (whole, scale, by) in self.taps.items()
        }

    @cached_property
    def slots(self) -> dict[str, Slot]:
        """Give the places for them in a graph."""
        return {
            name: Slot(
                size=cuts[0].size,
                rows=cuts[0].rows,
                blocks=-(-cuts[0].rows // BLOCK_ROWS),
                window=max(resample.block_window(each, BLOCK_ROWS) for each in cuts),
            )
            for name, cuts in self.parts.items()
        }

    @cached_property
    def lines(self) -> list[dict[str, Blocks]]:
        """Give what fills these places, for each tile."""
        return [
            {name: resample.blocks(cuts[k], BLOCK_ROWS, self.slots[name].window) for name, cuts in self.parts.items()}
            for k in range(len(self.starts))
        ]


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One part of a picture."""

    source: Rectangle
    """Of the luma plane, as stored."""
    result: Rectangle
    """Of the luma plane."""
    lines: dict[str, Blocks]
    """By the slot's name."""


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """A picture cut into tiles."""

    spec: GraphSpec
    """Of a tile."""
    rows: Side
    columns: Side
    overlap: int

    @property
    def slots(self) -> dict[str, Slot]:
        """Give the places of all taps, by name."""
        sides = (("rows", self.rows), ("columns", self.columns))
        return {f"{name}/{side}": slot for side, found in sides for name, slot in found.slots.items()}

    @property
    def count(self) -> int:
        """Number of tiles."""
        return len(self.rows.starts) * len(self.columns.starts)

    @property
    def window_px(self) -> int:
        """Source pixels that a tile sees."""
        return self.rows.window * self.columns.window

    def __str__(self) -> str:
        return f"{self.count} tiles of {self.columns.window}x{self.rows.window}"

    def __iter__(self) -> Iterator[Tile]:
        """Give the tiles, row by row."""
        for y, down in enumerate(self.rows.lines):
            for x, across in enumerate(self.columns.lines):
                seen = (self.rows.starts[y], self.rows.window), (self.columns.starts[x], self.columns.window)
                made = (self.rows.firsts[y], self.rows.core), (self.columns.firsts[x], self.columns.core)
                lines = {f"{name}/rows": cut for name, cut in down.items()}
                lines |= {f"{name}/columns": cut for name, cut in across.items()}
                yield Tile(source=self._stored(*seen), result=_rectangle(*made), lines=lines)

    def _stored(self, rows: tuple[int, int], columns: tuple[int, int]) -> Rectangle:
        """Find a rectangle of the picture as shown in the picture as stored; each side as first and length."""
        turn = self.spec.turn
        down, across = _mirrorings(turn)
        if down:
            rows = self.rows.size - rows[0] - rows[1], rows[1]
        if across:
            columns = self.columns.size - columns[0] - columns[1], columns[1]
        return _rectangle(columns, rows) if turn.lies else _rectangle(rows, columns)


def _mirrorings(turn: Turn) -> tuple[bool, bool]:
    """Say whether a graph mirrors rows and columns of a picture, after it laid rows to columns where that is so."""
    if not turn.lies:
        return turn.quarters == 2, turn.mirrored != (turn.quarters == 2)
    return turn.mirrored != (turn.quarters == 3), turn.quarters == 1


def cut(spec: GraphSpec, reach: Reach, most_px: int, *, has_network: bool) -> Tiling | None:
    """Cut the picture of a graph into tiles whose windows have at most `most_px` pixels, with the least work in all.

    Gives None where even the smallest tiles are larger.
    """
    rows, columns = (_sides(spec, reach, has_network=has_network, across=across) for across in (False, True))
    pairs = [(down, across) for down in rows for across in columns if down.window * across.window <= most_px]
    if not pairs:
        return None
    down, across = min(pairs, key=lambda pair: _work(pair[0]) * _work(pair[1]))
    width, height = (down.window, across.window) if spec.turn.lies else (across.window, down.window)
    made = replace(spec, width=width, height=height, out_width=across.core, out_height=down.core)
    return Tiling(spec=made, rows=down, columns=across, overlap=reach.overlap)


def _work(side: Side) -> int:
    return side.window * len(side.starts)


def _sides(spec: GraphSpec, reach: Reach, *, has_network: bool, across: bool) -> list[Side]:
    """Give the ways to cut one side: into 1 tile, 2 tiles and so on, while that makes windows shorter."""
    size, out = (spec.shown_width, spec.out_width) if across else (spec.shown_height, spec.out_height)
    factor = spec.target.across if across else spec.target.down
    unit = spec.source.across if across != spec.turn.lies else spec.source.down
    around = reach.halo + (_CHROMA_REACH * unit if unit > 1 else 0)
    taps = _taps(spec, size, out, across=across, has_network=has_network)
    found: list[Side] = []
    for count in range(1, _MOST + 1):
        core = _core(out, count, factor, reach.overlap)
        if core is None:
            break
        firsts = [_down((out - core) * k // max(1, count - 1), factor) for k in range(count)]
        window, starts = _windows(size, [_needed(taps, first, core) for first in firsts], around, unit)
        if not found or window < found[-1].window:
            side = Side(size=size, window=window, starts=tuple(starts), core=core, firsts=tuple(firsts), taps=taps)
            found.append(side)
    return found


def _core(out: int, count: int, factor: int, overlap: int) -> int | None:
    """Give the length of `count` equal cores that cover a side, share `overlap` and begin at whole chroma samples."""
    if count == 1:
        return out
    core = ceil((out + (count - 1) * (overlap + factor)) / count)
    core += (out - core) % factor
    return core if overlap + factor < core < out else None


def _taps(spec: GraphSpec, size: int, out: int, *, across: bool, has_network: bool) -> _Given:
    factor, offset = (spec.target.across, spec.target.down)[not across], spec.target.chroma_at[not across]
    found: _Given = {}
    for prefix, scale in (("", spec.native_scale), ("outside_", 1)) if has_network else (("", 1),):
        luma, chroma = resample.to_planes(scale * size, out, factor, offset)
        found[f"{prefix}luma"] = luma, scale, 1
        found[f"{prefix}chroma"] = chroma, scale, factor
    return found


def _needed(taps: _Given, first: int, core: int) -> tuple[int, int]:
    """Give the source pixels, first and behind the last, that the taps of a core reach."""
    lows, highs = [], []
    for whole, scale, by in taps.values():
        starts = whole.starts[first // by : first // by - (-core // by)]
        lows.append(int(starts.min()) // scale)
        highs.append(-(-(int(starts.max()) + whole.weights.shape[1]) // scale))
    return min(lows), max(highs)


def _windows(size: int, needed: list[tuple[int, int]], around: int, unit: int) -> tuple[int, list[int]]:
    """Give the length of all windows, and where each begins: at a whole chroma sample, and inside the picture."""
    lows = [_down(max(0, low - around), unit) for low, _ in needed]
    longest = max(min(size, high + around) - low for low, (_, high) in zip(lows, needed, strict=True))
    window = min(size, longest + (size - longest) % unit)
    return window, [min(low, size - window) for low in lows]


def _down(value: int, unit: int) -> int:
    return value // unit * unit


def _rectangle(rows: tuple[int, int], columns: tuple[int, int]) -> Rectangle:
    return slice(rows[0], rows[0] + rows[1]), slice(columns[0], columns[0] + columns[1])
