"""What is believed of a quantity, before and after it was measured."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uprez.fleet.belief import Belief, between

GUESS = between(50, 200, factor=1.2)
DRAWS = 4000


def spread(belief: Belief) -> tuple[float, float, float]:
    """Give what one in twenty draws lies below, the middle, and what one in twenty lies above."""
    rng = random.Random(1)  # noqa: S311  not a secret
    values = sorted(belief.drawn(rng)(rng.gauss(0, 1)) for _ in range(DRAWS))
    low, middle, high = (values[round(part * DRAWS)] for part in (0.05, 0.5, 0.95))
    return low, middle, high


def test_a_guess_is_drawn_as_it_was_given() -> None:
    """Nine in ten draws lie between its ends, or little beyond them, since cases differ too."""
    low, middle, high = spread(GUESS)
    assert 35 < low < 55
    assert middle == pytest.approx(100, rel=0.05)
    assert 180 < high < 290


def test_samples_take_the_place_of_the_guess() -> None:
    """With forty samples around 300, a third more or less, draws are as these are, wherever the guess was."""
    rng = random.Random(2)  # noqa: S311  not a secret
    samples = [300 * math.exp(rng.gauss(0, math.log(4 / 3) / 1.645)) for _ in range(40)]
    low, middle, high = spread(GUESS.corrected(samples))
    assert middle == pytest.approx(300, rel=0.08)
    assert low == pytest.approx(300 * 3 / 4, rel=0.15)
    assert high == pytest.approx(300 * 4 / 3, rel=0.15)


def test_one_sample_moves_the_middle_and_leaves_a_range() -> None:
    """The guess was unsure of the middle, so one sample nearly sets it; the range is narrower than the guess's."""
    before, after = spread(GUESS), spread(GUESS.corrected([150.0]))
    assert after[1] == pytest.approx(147, rel=0.05)
    assert after[2] / after[0] < before[2] / before[0]
    assert after[2] / after[0] > 1.3


def test_cases_of_one_draw_share_what_is_unsure() -> None:
    """Machines of one GPU are slower or faster together: their mean differs from draw to draw as the guess does."""
    rng = random.Random(3)  # noqa: S311  not a secret
    means = []
    for _ in range(400):
        case = GUESS.drawn(rng)
        means.append(sum(case(rng.gauss(0, 1)) for _ in range(30)) / 30)
    means.sort()
    assert means[380] / means[20] > 2.5


def test_a_lie_of_one_machine_changes_nothing() -> None:
    """What is more than ten times off the median is left out."""
    honest = [90.0, 100.0, 110.0]
    assert GUESS.corrected([*honest, 1e9]) == GUESS.corrected(honest)
    assert GUESS.corrected([*honest, 1e-9]) == GUESS.corrected(honest)


@given(st.lists(st.floats(min_value=1e-6, max_value=1e12), max_size=20), st.integers(0, 100))
def test_draws_are_positive_whatever_was_measured(samples: list[float], seed: int) -> None:
    """No sample makes a draw that is no quantity."""
    rng = random.Random(seed)  # noqa: S311  not a secret
    assert GUESS.corrected(samples).drawn(rng)(rng.gauss(0, 1)) > 0
