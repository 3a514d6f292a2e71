"""What outputs are called."""

from __future__ import annotations

from fractions import Fraction

import pytest

from uprez.fleet.naming import tag
from uprez.job import Options

NTSC = Fraction(60000, 1001)


@pytest.mark.parametrize(
    ("options", "due"),
    [
        (Options(), "x2"),
        (Options(scale=Fraction(3, 2)), "x1.5"),
        (Options(cfr=Fraction(24000, 1001)), "x2-23.976fps"),
        (Options(mode="interp", target_fps=Fraction(60)), "60fps"),
        (Options(mode="interp", target_fps=NTSC), "59.94fps"),
        (Options(mode="both", scale=Fraction(4), target_fps=Fraction(60)), "x4-60fps"),
        (Options(mode="both", scale=Fraction(4), target_fps=NTSC), "x4-59.94fps"),
        (Options(mode="interp"), "2xfps"),
        (Options(mode="interp", factor=Fraction(2)), "2xfps"),
        (Options(mode="both", factor=Fraction(5, 2)), "x2-2.5xfps"),
        (Options(mode="both", factor=Fraction(7, 3)), "x2-2.333xfps"),
        (Options(target_fps=Fraction(60), factor=Fraction(3)), "x2"),
    ],
)
def test_a_name_says_what_was_asked(options: Options, due: str) -> None:
    """Size, then rate or times the frames; what the mode does not do is not said."""
    assert tag(options) == due
