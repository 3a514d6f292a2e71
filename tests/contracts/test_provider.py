"""What every way to run a graph does, over every rung; those that this machine lacks are skipped by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import onnx
import pytest

from pictures import Waves
from plain import COLOUR
from small import rife, small_network
from uprez.enhance import session as sessions
from uprez.enhance.interpolate import Interpolator
from uprez.enhance.rungs import RUNGS, Array, How, Rung, Running, UnavailableError
from uprez.enhance.session import GraphMaker, Session, open_session
from uprez.enhance.upscale import Means, Upscaler
from uprez.errors import ModelError, NoProviderError
from uprez.job import Colour
from uprez.media.frame import Frame, Moment, Samples
from uprez.models import MODELS, Precision
from uprez.models.graphs import GraphSpec, planes_graph
from uprez.models.motion import MotionSpec

CPU = RUNGS[-1]
DEEP = replace(COLOUR, depth=10)
DEEPER = replace(COLOUR, depth=12)
SIZE = (64, 48)
NETWORK = small_network(2)
MODEL = replace(MODELS["realesr-animevideov3"], native_scale=2, halo_px=3, working_bytes={})


def title(rung: Rung) -> str:
    """Name a rung as the ladder does."""
    return f"{rung.provider} ({rung.precision})"


@pytest.fixture(params=RUNGS, ids=title)
def rung(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rung:
    """Each rung that this machine has, alone on the ladder; the CPU's is there to be compared with."""
    found: Rung = request.param
    try:
        found.open(planes_graph(None, spec(COLOUR)).SerializeToString(), How(threads=1))
    except UnavailableError as error:
        pytest.skip(f"{title(found)}: {error}")
    monkeypatch.setattr(sessions, "RUNGS", (found,) if found is CPU else (found, CPU))
    return found


def spec(colour: Colour, size: tuple[int, int] = SIZE, native_scale: int = 1) -> GraphSpec:
    """A picture to be made twice as large."""
    out = (2 * size[0], 2 * size[1])
    return GraphSpec(
        width=size[0],
        height=size[1],
        out_width=out[0],
        out_height=out[1],
        native_scale=native_scale,
        source=colour,
        target=colour,
    )


def means(rung: Rung, **changes: object) -> Means:
    """Open on this rung and no other."""
    return replace(Means(families=(rung.family,), threads=2, precision=rung.precision), **changes)


def planes(colour: Colour, size: tuple[int, int] = SIZE) -> tuple[Samples, ...]:
    """A picture."""
    return Waves(width=size[0], height=size[1], colour=colour).at(0).planes


def graph_of(network: onnx.ModelProto | None, made_for: GraphSpec) -> GraphMaker:
    """Give the graph for every precision; it is small enough to be compared by itself."""
    return lambda precision, _: planes_graph(network, replace(made_for, half=precision == "f16"))


def apart(one: Sequence[Samples], other: Sequence[Samples]) -> int:
    """Give by how many codes any sample differs."""
    for a, b in zip(one, other, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
    return max(int(np.abs(a.astype(int) - b).max()) for a, b in zip(one, other, strict=True))


def on_cpu(network: onnx.ModelProto | None, made_for: GraphSpec, picture: Sequence[Samples]) -> tuple[Samples, ...]:
    """Give what the CPU provider makes of a picture, in f32."""
    inner, device = CPU.open(planes_graph(network, made_for).SerializeToString(), How(threads=1))
    return Session(inner, CPU, device, ()).run(picture)


def test_every_rung_is_in_the_suite_and_the_cpu_is_last() -> None:
    """A rung is told by its name; f16 of a family comes before its f32; the last rung needs nothing but the package."""
    assert len({title(each) for each in RUNGS}) == len(RUNGS)
    assert (CPU.family, CPU.precision) == ("cpu", "f32")
    for family in dict.fromkeys(each.family for each in RUNGS):
        found = [each.precision for each in RUNGS if each.family == family]
        assert found in (["f16", "f32"], ["f32"], ["f32", "f32"])


@pytest.mark.parametrize("colour", [COLOUR, DEEP, DEEPER], ids=["8", "10", "12"])
def test_the_resampler_is_the_cpus_to_a_code(rung: Rung, colour: Colour) -> None:
    """Planes of 8, 10 and 12 bits, and the ladder says what runs."""
    made_for = spec(colour)
    session = open_session(
        graph_of(None, made_for), families=[rung.family], threads=2, precision=rung.precision, depth=colour.depth
    )
    picture = planes(colour)
    made = session.run(picture)
    assert (session.family, session.provider, session.precision) == (rung.family, rung.provider, rung.precision)
    assert session.ladder == (f"{title(rung)}: runs",)
    assert session.device
    assert apart(made, on_cpu(None, made_for, picture)) <= 1
    assert np.ptp(made[0]) > 100 << (colour.depth - 8)
    assert [plane.dtype for plane in made] == [np.dtype("u1" if colour.depth == 8 else "u2")] * 3


@pytest.mark.parametrize("colour", [COLOUR, DEEP], ids=["8", "10"])
def test_a_network_is_the_cpus_to_a_code_of_8_bits(rung: Rung, colour: Colour) -> None:
    """In f16 as in f32."""
    made_for = spec(colour, native_scale=2)
    session = open_session(
        graph_of(NETWORK, made_for), families=[rung.family], threads=2, precision=rung.precision, depth=colour.depth
    )
    picture = planes(colour)
    made = session.run(picture)
    assert apart(made, on_cpu(NETWORK, made_for, picture)) <= 1 << (colour.depth - 8)
    assert apart(made, on_cpu(None, spec(colour), picture)) > 4 << (colour.depth - 8)  # it does something


@pytest.mark.parametrize("colour", [COLOUR, DEEP], ids=["8", "10"])
def test_frames_between_are_the_cpus_to_2_of_255(rung: Rung, colour: Colour, materials: Path) -> None:
    """RIFE, at 2/5 of the way, of a picture whose sides must be padded."""
    motion = MotionSpec(width=70, height=50, colour=colour)
    source = Waves(width=70, height=50, colour=colour)
    moment = Moment(left=source.at(0), right=source.at(1), fraction=Fraction(2, 5))
    made = Interpolator(rife(materials), motion, means(rung))(moment)
    due = Interpolator(rife(materials), motion, means(CPU, families=("cpu",), precision="f32"))(moment)
    assert apart(made.planes, due.planes) <= 2 << (colour.depth - 8)
    blend = (0.6 * moment.left.planes[0] + 0.4 * moment.right.planes[0]).astype(int)
    assert np.abs(made.planes[0] - blend).max() > 8 << (colour.depth - 8)


@pytest.mark.parametrize(
    ("colour", "network"), [(COLOUR, NETWORK), (DEEP, NETWORK), (DEEPER, None)], ids=["8", "10", "12"]
)
def test_tiles_are_the_whole(rung: Rung, colour: Colour, network: onnx.ModelProto | None) -> None:
    """Tiles bring their taps with them: that graph too is compared, and runs on the very same rung."""
    size = (101, 87)
    made_for = spec(colour, size, native_scale=2 if network else 1)
    model = MODEL if network else MODELS["lanczos"]
    frame = Frame(planes=planes(colour, size), pts=3)
    whole = Upscaler(network, model, made_for, means(rung))
    tiled = Upscaler(network, model, made_for, means(rung, memory_bytes=1))
    assert tiled.tiling is not None
    assert tiled.tiling.count > 1
    assert tiled.session.ladder == whole.session.ladder == (f"{title(rung)}: runs",)
    assert apart(tiled(frame).planes, whole(frame).planes) <= 1


def test_another_size_is_a_model_error(rung: Rung) -> None:
    """Of any plane; the session goes on with the right one, or is closed by whoever opened it."""
    session = open_session(graph_of(None, spec(COLOUR)), families=[rung.family], threads=1, precision=rung.precision)
    with pytest.raises(ModelError, match=rung.provider):
        session.run([plane[:, :-2] for plane in planes(COLOUR)])


def test_a_closed_session_runs_no_more(rung: Rung) -> None:
    """It says so, however often it is closed."""
    session = open_session(graph_of(None, spec(COLOUR)), families=[rung.family], threads=1, precision=rung.precision)
    session.run(planes(COLOUR))
    for _ in range(2):
        session.close()
        with pytest.raises(ModelError, match="the session was closed"):
            session.run(planes(COLOUR))


def test_results_are_their_own(rung: Rung) -> None:
    """What a run gave does not change when the next one runs."""
    session = open_session(graph_of(None, spec(COLOUR)), families=[rung.family], threads=1, precision=rung.precision)
    first = session.run(planes(COLOUR))
    kept = [plane.copy() for plane in first]
    session.run([255 - plane for plane in planes(COLOUR)])
    assert apart(first, kept) == 0


def test_what_is_no_graph_is_a_model_error(rung: Rung, monkeypatch: pytest.MonkeyPatch) -> None:
    """An operator that does not exist is refused in the provider's words, and the ladder ends."""
    monkeypatch.setattr(sessions, "RUNGS", (rung,))
    wrong = planes_graph(None, spec(COLOUR))
    wrong.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(NoProviderError, match="NoSuchOperator") as caught:
        open_session(lambda *_: wrong, families=[rung.family], threads=1)
    assert len(caught.value.ladder) == 1
    assert caught.value.ladder[0].startswith(title(rung))


# --- a rung that runs and gives other pictures


@dataclass
class Spoiled:
    """The CPU's rung, with something done to all it gives."""

    inner: Running
    spoil: Callable[[Array], Array]

    @property
    def inputs(self) -> Mapping[str, type[np.generic]]:
        """Give the inner one's."""
        return self.inner.inputs

    @property
    def outputs(self) -> Sequence[str]:
        """Give the inner one's."""
        return self.inner.outputs

    def run(self, names: Sequence[str], feed: Mapping[str, Array]) -> Sequence[Array]:
        """Run, and spoil it."""
        return [self.spoil(np.array(made)) for made in self.inner.run(names, feed)]


def spoiling(spoil: Callable[[Array], Array], precision: Precision = "f32") -> Rung:
    """A rung of a GPU that spoils pictures."""

    def open_(data: bytes, how: How) -> tuple[Running, str]:
        inner, _ = CPU.open(data, how)
        return Spoiled(inner, spoil), "a GPU"

    return Rung(family="cuda", provider="Spoiler", precision=precision, open=open_)


def rewriting(rewrite: Callable[[onnx.ModelProto], None]) -> Rung:
    """A rung whose compiler takes a graph for another."""

    def open_(data: bytes, how: How) -> tuple[Running, str]:
        graph = onnx.load_model_from_string(data)
        rewrite(graph)
        return CPU.open(graph.SerializeToString(), how)

    return Rung(family="cuda", provider="Rewriter", precision="f32", open=open_)


def off_by(codes: float, share: float = 1.0) -> Callable[[Array], Array]:
    """Add so many 255ths of white to a share of the samples."""

    def spoil(made: Array) -> Array:
        flat = made.astype(np.float32).reshape(-1)
        flat[: max(1, int(share * flat.size))] += codes
        return flat.reshape(made.shape).astype(made.dtype)

    return spoil


def nan(made: Array) -> Array:
    """Give no number in one sample, where samples can be such."""
    made = made.astype(np.float32)
    made.flat[7] = np.nan
    return made


def passed_over(monkeypatch: pytest.MonkeyPatch, rung: Rung, make: GraphMaker, depth: int = 8) -> str:
    """Open with this rung before the CPU's; gives what the ladder says of it, empty where it was taken."""
    monkeypatch.setattr(sessions, "RUNGS", (rung, CPU))
    session = open_session(make, families=[rung.family, "cpu"], threads=1, depth=depth)
    assert (session.provider == rung.provider) == (len(session.ladder) == 1)
    return "" if len(session.ladder) == 1 else session.ladder[0]


def untouched(made: Array) -> Array:
    """Leave it."""
    return made


SPOILERS: dict[str, tuple[Callable[[Array], Array], bool]] = {
    "nothing": (untouched, True),
    "off by 1": (off_by(1), True),
    "off by 10": (off_by(10), False),
    "one sample off by 10": (off_by(10, 0), False),
    "no number": (nan, False),
    "upside down": (lambda made: made[..., ::-1, :].copy(), False),
    "a pixel aside": (lambda made: np.roll(made, 1, axis=-1), False),
    "all gray": (lambda made: np.full_like(made, 128), False),
}
"""What is done to all that a rung gives, and whether it is taken all the same."""


@pytest.mark.parametrize("name", SPOILERS)
def test_a_rung_that_gives_other_pictures_is_passed_over(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it runs without a complaint: with figures in the ladder. What rounding makes is taken."""
    spoil, is_taken = SPOILERS[name]
    said = passed_over(monkeypatch, spoiling(spoil), graph_of(NETWORK, spec(COLOUR, native_scale=2)))
    assert (said == "") == is_taken, said
    if not is_taken:
        assert said.startswith("Spoiler (f32): gives other pictures than the CPU: ")
        assert "/255 at worst" in said
    if name == "off by 10":
        assert "y_out is off by " in said
        assert float(said.split("off by ")[1].split("/")[0]) == pytest.approx(10, rel=0.4)  # of the brightest sample


@pytest.mark.parametrize("name", SPOILERS)
@pytest.mark.parametrize("depth", [10, 12])
def test_deep_pictures_are_compared_as_they_are(name: str, depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """In their own codes: ten of 255 are forty of 1023."""
    colour = replace(COLOUR, depth=depth)
    spoil, is_taken = SPOILERS[name]
    if name.endswith(("by 1", "by 10")):
        one = spoil
        spoil = lambda made: one(made / 2.0 ** (depth - 8)) * 2.0 ** (depth - 8)  # noqa: E731
    said = passed_over(monkeypatch, spoiling(spoil), graph_of(NETWORK, spec(colour, native_scale=2)), depth=depth)
    assert (said == "") == is_taken, said


@pytest.mark.parametrize("depth", [8, 10, 12, 16])
def test_the_network_has_something_to_see_at_every_depth(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rung that takes a layer's channels for each other is found out: what it is shown is not darker than black."""

    def rewrite(graph: onnx.ModelProto) -> None:
        for tensor in graph.graph.initializer:
            if tensor.name.endswith("conv1.weight"):
                values = onnx.numpy_helper.to_array(tensor)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values[:, ::-1].copy(), tensor.name))

    colour = replace(COLOUR, depth=depth)
    said = passed_over(monkeypatch, rewriting(rewrite), graph_of(NETWORK, spec(colour, native_scale=2)), depth=depth)
    assert said.startswith("Rewriter (f32): gives other pictures than the CPU")


def nearest(graph: onnx.ModelProto) -> None:
    """Fetch the nearest sample instead of what lies between four, as TensorRT did."""
    for node in graph.graph.node:
        if node.op_type == "GridSample":
            for attribute in node.attribute:
                if attribute.name == "mode":
                    attribute.s = b"nearest"


@pytest.mark.parametrize("depth", [8, 12])
def test_warps_to_the_nearest_sample_are_found_out(
    depth: int, materials: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RIFE on a compiler that knows no "linear": it goes to the next rung, and nowhere where there is none."""
    colour = replace(COLOUR, depth=depth)
    monkeypatch.setattr(sessions, "RUNGS", (rewriting(nearest), CPU))
    motion = MotionSpec(width=70, height=50, colour=colour)
    for families in (("cuda", "cpu"), ("cuda",)):
        with_cpu = Means(families=families, threads=2)
        if "cpu" in families:
            made = Interpolator(rife(materials), motion, with_cpu)
            assert made.session.provider == CPU.provider
            ladder = made.session.ladder
        else:
            with pytest.raises(NoProviderError) as caught:
                Interpolator(rife(materials), motion, with_cpu)
            ladder = caught.value.ladder
        assert ladder[0].startswith("Rewriter (f32): gives other pictures than the CPU: ")


def test_taps_of_tiles_are_compared_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rung that takes the taps of a tile for others is passed over where tiles are made, and there alone."""

    def rewrite(graph: onnx.ModelProto) -> None:
        """Give every window's samples in the opposite order."""
        given = {item.name for item in graph.graph.input if item.type.tensor_type.elem_type == onnx.TensorProto.INT32}
        for node in graph.graph.node:
            if node.op_type == "Gather" and node.input[1] in given:
                node.input[1] += "/turned"
        places = {"first": -1, "end": -(2**31 - 1), "axis": 1, "step": -1}
        graph.graph.initializer.extend(
            onnx.numpy_helper.from_array(np.array([value], np.int64), name) for name, value in places.items()
        )
        turned = [onnx.helper.make_node("Slice", [name, *places], [f"{name}/turned"]) for name in given]
        nodes = [*turned, *graph.graph.node]
        del graph.graph.node[:]
        graph.graph.node.extend(nodes)

    monkeypatch.setattr(sessions, "RUNGS", (rewriting(rewrite), CPU))
    made_for = spec(COLOUR, (101, 87), native_scale=2)
    means_ = Means(families=("cuda", "cpu"), threads=1)
    assert Upscaler(NETWORK, MODEL, made_for, means_).session.provider == "Rewriter"
    tiled = Upscaler(NETWORK, MODEL, made_for, replace(means_, memory_bytes=1))
    assert tiled.tiling is not None
    assert tiled.session.provider == CPU.provider
    assert tiled.session.ladder[0].startswith("Rewriter (f32): gives other pictures than the CPU")


def test_f16_may_be_further_off_in_a_few_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """What f32 may not be: five 255ths in one sample of thousands, though not in one of a hundred, and not ten."""
    make = graph_of(NETWORK, spec(COLOUR, native_scale=2))
    for share, codes, precision, is_taken in (
        (0, 5, "f16", True),
        (0, 5, "f32", False),
        (0.01, 5, "f16", False),
        (0, 10, "f16", False),
    ):
        rung = spoiling(off_by(codes, share), "f16" if precision == "f16" else "f32")
        assert (passed_over(monkeypatch, rung, make) == "") == is_taken, (share, codes, precision)


def test_the_next_precision_of_a_family_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """f16 that is wrong on an old GPU makes way for the same GPU's f32, before any other family."""
    wrong, right = spoiling(nan, "f16"), replace(spoiling(untouched), provider="Right")
    monkeypatch.setattr(sessions, "RUNGS", (wrong, right, CPU))
    make = graph_of(NETWORK, spec(COLOUR, native_scale=2))
    session = open_session(make, families=["cuda", "cpu"], threads=1)
    assert (session.provider, session.precision, session.device) == ("Right", "f32", "a GPU")
    assert session.ladder[0].startswith("Spoiler (f16): gives other pictures")
    assert session.ladder[1] == "Right (f32): runs"
