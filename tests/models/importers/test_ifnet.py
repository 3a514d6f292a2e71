"""Reading RIFE's weights from a state dict: every array must be there, in its shape, and none besides."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from uprez.errors import ModelError
from uprez.models.importers import read_ifnet
from uprez.models.importers.ifnet import shapes

STATE = {name: np.zeros(shape, np.float32) for name, shape in shapes().items()}


def test_the_published_weights_are_the_networks(rife_weights: Mapping[str, NDArray[np.float32]]) -> None:
    """RIFE's arrays are 158 of 5,664,776 numbers, without what was there for the training."""
    assert list(rife_weights) == list(STATE)
    assert sum(values.size for values in rife_weights.values()) == 5_664_776


def test_the_wrapper_and_the_trainings_parts_are_left_out() -> None:
    """Names that begin with "module." are the same without it; "teacher" and "caltime" are not taken."""
    state = {f"module.{name}": values for name, values in STATE.items()}
    state |= {name: np.zeros(3, np.float32) for name in ("module.teacher.conv0.0.0.bias", "caltime.0.weight")}
    assert list(read_ifnet(state)) == list(STATE)


@given(st.sampled_from(list(STATE)))
@settings(max_examples=40, deadline=None)
def test_each_array_must_be_there_in_its_shape(name: str) -> None:
    """Any array that is missing or of another shape raises ModelError with its name."""
    for state in ({**STATE, name: np.zeros((1, 2), np.float32)}, {key: STATE[key] for key in STATE if key != name}):
        with pytest.raises(ModelError, match=f"weights {name} are .*not IFNet 4.25 or 4.26"):
            read_ifnet(state)


@pytest.mark.parametrize("name", ["block5.conv0.0.0.weight", "module.encode.cnn4.bias", "contextnet.x"])
def test_an_array_more_is_refused(name: str) -> None:
    """An array that the network has not, as of another version, raises ModelError with its name."""
    with pytest.raises(ModelError, match=name.removeprefix("module.")):
        read_ifnet({**STATE, name: np.zeros(3, np.float32)})


def test_an_array_twice_is_refused() -> None:
    """A name with and without "module." raises ModelError: it is not certain which one counts."""
    with pytest.raises(ModelError, match="there twice"):
        read_ifnet({**STATE, "module.encode.cnn0.bias": STATE["encode.cnn0.bias"]})
