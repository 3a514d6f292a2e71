"""The MODELS dict: cheap to import, and its stated facts are true of the networks themselves."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction

import numpy as np
import onnxruntime as ort

from uprez.models import MODELS
from uprez.models.importers import SrvggWeights
from uprez.models.networks import srvgg
from uprez.models.weights import sha256_of_model


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


def test_stated_cost_is_the_networks_cost(real_weights: SrvggWeights) -> None:
    """macs_per_pixel is the number of weights of all convolutions: each is used once a pixel."""
    macs = sum(layer.weight.size for layer in real_weights.convolutions)
    assert MODELS["realesr-animevideov3"].macs_per_pixel == macs


def test_stated_halo_and_scale_hold_on_the_network(real_weights: SrvggWeights) -> None:
    """Changing one input pixel changes the output only within the halo, and the output is native_scale as large."""
    model = MODELS["realesr-animevideov3"]
    side, centre = 2 * model.halo_px + 13, model.halo_px + 6
    session = ort.InferenceSession(srvgg(real_weights).SerializeToString(), providers=["CPUExecutionProvider"])
    picture = np.random.default_rng(1).random((1, 3, side, side), np.float32)
    changed = picture.copy()
    changed[:, :, centre, centre] += 0.25
    before, after = (session.run(None, {"rgb": item})[0] for item in (picture, changed))
    assert before.shape == (1, 3, model.native_scale * side, model.native_scale * side)
    differs = np.abs(after - before).max(axis=(0, 1)) > 0
    reached = np.argwhere(differs) // model.native_scale - centre
    # The outermost ring moves by less than f32 can show, so the reach seen may be a little under the halo.
    assert model.halo_px - 6 <= np.abs(reached).max() <= model.halo_px
