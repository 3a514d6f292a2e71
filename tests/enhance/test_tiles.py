"""Tiles: what they give together is what the whole picture gives, for every way to store and to show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from small import small_network
from uprez.enhance.upscale import Means, Upscaler
from uprez.errors import MemoryShortError
from uprez.job import UPRIGHT, Colour, Turn, scaled
from uprez.media.frame import Frame, Samples
from uprez.models import MODELS, Model
from uprez.models.graphs import GraphSpec, plane_shapes
from uprez.models.importers import read_srvgg
from uprez.models.networks import srvgg

SDR = Colour(matrix="bt709", full_range=False, siting="left")
DEEP = Colour(matrix="bt2020", full_range=False, siting="topleft", depth=16, across=1, down=1)
BOUND = 1e-4
"""Of white, in f32."""
CODE = 1
"""What rounding to whole codes makes of the smallest difference."""


NETWORKS = {scale: small_network(scale) for scale in (1, 2, 4)}
FAR = small_network(4, layers=8)
"""The resampler looks 3 pixels far anyway; this network looks further."""


def row(scale: int, halo: int = 3) -> Model:
    """Give the row of such a network."""
    return replace(MODELS["realesr-animevideov3"], native_scale=scale, halo_px=halo, working_bytes={"cpu": 1000})


def planes_of(width: int, height: int, colour: Colour, seed: int = 0) -> tuple[Samples, ...]:
    """Give noise over slopes, in the colour's codes."""
    rng = np.random.default_rng(seed)
    top = (1 << colour.depth) - 1
    made = []
    for rows, columns in plane_shapes(width, height, colour).values():
        slope = np.add.outer(np.arange(rows) / max(1, rows), np.arange(columns) / max(1, columns)) / 2
        plane = np.clip(0.2 + 0.5 * slope + rng.normal(0, 0.15, (rows, columns)), 0, 1) * top
        made.append(plane.astype(np.uint8 if colour.depth == 8 else np.uint16))
    return tuple(made)


def upscaler(network: onnx.ModelProto | None, model: Model, spec: GraphSpec, most_px: int | None) -> Upscaler:
    """Open on the CPU, with memory for so many pixels."""
    means = Means(families=["cpu"], threads=1)
    made = Upscaler(network, model, spec, means)
    if most_px is not None:
        made._most_px = most_px
        made.session = made._opened()
        assert made.tiling is not None
        assert made.tiling.window_px <= most_px
        assert made.tiling.count > 1
    return made


def apart(network: onnx.ModelProto | None, model: Model, spec: GraphSpec, most_px: int) -> tuple[int, Upscaler]:
    """Give by how many codes any sample of the tiled picture differs from the whole one's."""
    frame = Frame(planes=planes_of(spec.width, spec.height, spec.source), pts=7)
    whole, tiled = upscaler(network, model, spec, None), upscaler(network, model, spec, most_px)
    pairs = list(zip(whole(frame).planes, tiled(frame).planes, strict=True))
    assert len(np.unique(pairs[0][0])) > 20  # a picture, not a clipped one
    return max(int(np.abs(one.astype(int) - other).max()) for one, other in pairs), tiled


def spec_of(
    size: tuple[int, int], scale: Fraction, native: int, source: Colour, target: Colour, turn: Turn = UPRIGHT
) -> GraphSpec:
    """Give the spec of a picture of this size, as stored."""
    shown = size[::-1] if turn.lies else size
    multiple = 1 if target.across == target.down == 1 else 2
    out = [scaled(side, scale, multiple) for side in shown]
    return GraphSpec(
        width=size[0],
        height=size[1],
        out_width=out[0],
        out_height=out[1],
        native_scale=native,
        source=source,
        target=target,
        turn=turn,
    )


@pytest.mark.parametrize("scale", [Fraction(4), Fraction(2), Fraction(3, 2), Fraction(1), Fraction(37, 11)], ids=str)
@pytest.mark.parametrize("size", [(61, 47), (64, 33), (97, 40), (33, 65)], ids=lambda size: f"{size[0]}x{size[1]}")
def test_tiles_are_the_whole_within_the_bound(size: tuple[int, int], scale: Fraction) -> None:
    """At odd sizes and with remainders of a pixel, f32 tiles are within 1e-4 of white: measured in 16 bits."""
    most, tiled = apart(NETWORKS[4], row(4), spec_of(size, scale, 4, DEEP, DEEP), 33 * 33)
    assert most <= BOUND * 65535 + CODE
    assert tiled.tiling is not None


COLOURS = {
    "420": SDR,
    "422": replace(SDR, down=1),
    "411": replace(SDR, across=4, down=1),
    "440": replace(SDR, across=1),
    "gray": replace(SDR, family="gray", across=1, down=1, full_range=True),
    "rgb": replace(SDR, family="rgb", across=1, down=1, full_range=True),
    "420 10 bits, top left": replace(SDR, depth=10, siting="topleft"),
    "420 full range, centre": replace(SDR, full_range=True, siting="center"),
}
TURNS = [Turn(quarters=quarters, mirrored=mirrored) for quarters in range(4) for mirrored in (False, True)]


@pytest.mark.parametrize("name", COLOURS)
def test_tiles_are_the_whole_however_samples_are_stored(name: str) -> None:
    """Chroma beside, between and on the luma samples: a tile begins where its chroma does."""
    source = COLOURS[name]
    most, _ = apart(NETWORKS[2], row(2), spec_of((75, 58), Fraction(5, 3), 2, source, SDR), 36 * 36)
    assert most <= CODE


@pytest.mark.parametrize("turn", TURNS, ids=str)
def test_tiles_are_the_whole_however_it_is_turned(turn: Turn) -> None:
    """A tile is looked for where the picture is stored, and put where it is shown."""
    most, _ = apart(NETWORKS[2], row(2), spec_of((75, 42), Fraction(2), 2, SDR, SDR, turn), 33 * 33)
    assert most <= CODE


def test_tiles_without_a_network_are_the_whole() -> None:
    """The resampler alone, at a scale that has no period."""
    most, _ = apart(None, replace(MODELS["lanczos"]), spec_of((101, 73), Fraction(101, 64), 1, SDR, SDR), 45 * 45)
    assert most <= CODE


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    size=st.tuples(st.integers(32, 90), st.integers(32, 90)),
    scale=st.fractions(1, 4, max_denominator=12),
    native=st.sampled_from([1, 2, 4]),
    name=st.sampled_from(list(COLOURS)),
    turn=st.sampled_from(TURNS),
    share=st.integers(2, 5),
)
def test_tiles_are_the_whole(
    size: tuple[int, int], scale: Fraction, native: int, name: str, turn: Turn, share: int
) -> None:
    """For any size, scale, storage and turn that can be cut at all."""
    spec = spec_of(size, scale, native, COLOURS[name], SDR, turn)
    most_px = max(600, size[0] * size[1] // share)
    try:
        most, _ = apart(NETWORKS[native], row(native), spec, most_px)
    except MemoryShortError:
        return  # too small a picture to be cut so
    assert most <= CODE


def test_a_halo_that_is_too_small_would_be_seen() -> None:
    """The comparison has teeth: without what the network needs around a point, tiles differ; with it, they do not."""
    exact, _ = apart(FAR, row(4, halo=8), spec_of((61, 47), Fraction(4), 4, DEEP, DEEP), 46 * 46)
    assert exact <= BOUND * 65535 + CODE
    most, _ = apart(FAR, row(4, halo=0), spec_of((61, 47), Fraction(4), 4, DEEP, DEEP), 33 * 33)
    assert most > BOUND * 65535 + CODE


def test_tiles_that_are_not_exact_fade_into_each_other() -> None:
    """With halo_exact False, what two tiles give is blended, and no step is larger than the whole's."""
    model = replace(row(4, halo=2), halo_exact=False)
    spec = spec_of((80, 60), Fraction(4), 4, DEEP, DEEP)
    hard, _ = apart(FAR, row(4, halo=2), spec, 40 * 40)
    soft, tiled = apart(FAR, model, spec, 40 * 40)
    assert tiled.tiling is not None
    assert tiled.tiling.overlap == 8
    assert soft < hard


@pytest.mark.slow
def test_the_real_network_in_tiles_is_the_whole(
    ncnn_files: tuple[Path, Path], clip_frame: Callable[..., tuple[Samples, ...]]
) -> None:
    """realesr-animevideov3 on a real frame, tiles of a quarter of it: within a code of 8 bits."""
    model = MODELS["realesr-animevideov3"]
    spec = spec_of((161, 121), Fraction(2), 4, SDR, SDR)
    planes = clip_frame("bikes.mp4", 3, (162, 122))
    planes = (planes[0][:121, :161].copy(), planes[1].copy(), planes[2].copy())
    layers, values = ncnn_files
    proto = srvgg(read_srvgg(layers.read_bytes(), values.read_bytes()))
    whole = upscaler(proto, model, spec, None)(Frame(planes=planes, pts=0))
    tiled = upscaler(proto, model, spec, 100 * 100)(Frame(planes=planes, pts=0))
    for one, other in zip(whole.planes, tiled.planes, strict=True):
        assert np.abs(one.astype(int) - other).max() <= CODE
