"""The MODELS dict: cheap to import, and its stated facts are true of the networks themselves."""

from __future__ import annotations

import hashlib
import json
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray

from macs import macs
from uprez.models import MODELS
from uprez.models.importers import SrvggWeights
from uprez.models.networks import srvgg
from uprez.models.weights import sha256_of_model

UPSCALERS = [model.name for model in MODELS.values() if model.kind == "upscale" and model.architecture]


def opened(network: onnx.ModelProto) -> ort.InferenceSession:
    """Open a network on ONNX Runtime's own CPU provider."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    return ort.InferenceSession(network.SerializeToString(), options, providers=["CPUExecutionProvider"])


def test_importing_models_pulls_in_neither_numpy_nor_onnx() -> None:
    """Importing uprez.models, and naming the weights of every model, loads no numerical library."""
    script = (
        "import sys; from uprez.models import MODELS; from uprez.models.weights import sha256_of_model\n"
        "[sha256_of_model(model) for model in MODELS.values()]\n"
        "print([name for name in ('numpy', 'onnx', 'onnxruntime', 'av') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_model_is_under_its_own_name() -> None:
    """A row's key is its name, its scales are a range from at least 1, and its digest is its own."""
    for key, model in MODELS.items():
        assert key == model.name
        assert Fraction(1) <= model.scales[0] <= model.scales[1] <= Fraction(4)
    assert len({sha256_of_model(model) for model in MODELS.values()}) == len(MODELS)


def test_a_network_has_a_source_and_the_rest_have_none() -> None:
    """A model has weights to fetch exactly when it has an architecture."""
    assert all((model.architecture is None) == (model.source is None) for model in MODELS.values())


def test_identity_is_for_scale_one_only() -> None:
    """The identity model can be asked for at scale 1 and at no other."""
    assert MODELS["identity"].scales == (Fraction(1), Fraction(1))


@pytest.mark.parametrize("name", UPSCALERS)
def test_stated_cost_is_the_networks_cost(networks: Callable[[str], onnx.ModelProto], name: str) -> None:
    """macs_per_pixel is what the graph's convolutions multiply and add for each pixel of its input."""
    network = onnx.ModelProto()
    network.CopyFrom(networks(name))
    for axis, side in ((2, 6), (3, 10)):
        network.graph.input[0].type.tensor_type.shape.dim[axis].dim_value = side
    assert MODELS[name].macs_per_pixel * 60 == macs(network)


@pytest.mark.parametrize("name", UPSCALERS)
def test_stated_scale_is_the_networks(networks: Callable[[str], onnx.ModelProto], name: str) -> None:
    """The output is native_scale as large as any input whose sides are multiples of size_multiple: here of 1."""
    model = MODELS[name]
    made = opened(networks(name)).run(None, {"rgb": np.zeros((1, 3, 3, 5), np.float32)})[0]
    assert model.size_multiple == 1
    assert made.shape == (1, 3, 3 * model.native_scale, 5 * model.native_scale)


def test_rife_is_version_4_26(rife_weights: Mapping[str, NDArray[np.float32]]) -> None:
    """Written as Comfy-Org writes its rife_v4.26.safetensors, RIFE's numbers have that file's SHA-256.

    That of rife_v4.25.safetensors begins with 1505884b9bda.
    """
    arrays = {re.sub(r"^block(\d)", r"blocks.\1", name): values for name, values in rife_weights.items()}
    header, data = {}, bytearray()
    for name in sorted(arrays):
        start = len(data)
        data += arrays[name].tobytes()
        header[name] = {"dtype": "F32", "shape": list(arrays[name].shape), "data_offsets": [start, len(data)]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    digest = hashlib.sha256(struct.pack("<Q", len(text)) + text + data).hexdigest()
    assert digest == "151874592c877740e5db11522f4514df569eeafb0a0fcb2696f16e9e8d317c94"


@pytest.mark.parametrize("name", ["realesrgan-x4plus-anime", pytest.param("realesrgan-x4plus", marks=pytest.mark.slow)])
def test_stated_halo_is_nearly_enough(networks: Callable[[str], onnx.ModelProto], materials: Path, name: str) -> None:
    """Two tiles that see halo_px around what they give, and are blended over as much, are the whole to within 1/255."""
    model = MODELS[name]
    halo, scale, size = model.halo_px, model.native_scale, 4 * model.halo_px
    assert not model.halo_exact
    with av.open(materials / "bikes.mp4") as container:
        frame = next(frame for number, frame in enumerate(container.decode(video=0)) if number == 120)
    real = frame.to_ndarray(format="rgb24")[100:112, 100 : 100 + size].transpose(2, 0, 1)[None] / np.float32(255)
    session = opened(networks(name))
    # The left one gives what lies left of 5/2 halo, the right one what lies right of 3/2; both look one halo further.
    cuts = {"left": (0, 7 * halo // 2), "right": (halo // 2, size)}
    share = np.clip((np.arange(size * scale) + 0.5) / (halo * scale) - 1.5, 0, 1).astype(np.float32)
    for picture in (real, np.random.default_rng(4).random(real.shape, np.float32)):
        made = {side: run(session, picture[..., slice(*ends)]) for side, ends in cuts.items()}
        whole = run(session, picture)
        tiles = {side: whole.copy() for side in cuts}
        for side, ends in cuts.items():
            tiles[side][..., ends[0] * scale : ends[1] * scale] = made[side]
        apart = np.abs(tiles["left"] * (1 - share) + tiles["right"] * share - whole)
        assert 0 < apart.max() <= 1 / 255


def run(session: ort.InferenceSession, picture: NDArray[np.float32]) -> NDArray[np.float32]:
    """Give what is shown of a network's output."""
    made: NDArray[np.float32] = session.run(None, {"rgb": np.ascontiguousarray(picture)})[0]
    return np.clip(made, 0, 1)


def test_stated_halo_holds_on_the_network(real_weights: SrvggWeights) -> None:
    """Changing one input pixel of realesr-animevideov3 changes the output only within the halo."""
    model = MODELS["realesr-animevideov3"]
    side, centre = 2 * model.halo_px + 13, model.halo_px + 6
    session = opened(srvgg(real_weights))
    picture = np.random.default_rng(1).random((1, 3, side, side), np.float32)
    changed = picture.copy()
    changed[:, :, centre, centre] += 0.25
    before, after = (session.run(None, {"rgb": item})[0] for item in (picture, changed))
    differs = np.abs(after - before).max(axis=(0, 1)) > 0
    reached = np.argwhere(differs) // model.native_scale - centre
    # The outermost ring moves by less than f32 can show, so the reach seen may be a little under the halo.
    assert model.halo_px - 6 <= np.abs(reached).max() <= model.halo_px
