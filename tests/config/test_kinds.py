"""How texts become values."""

from __future__ import annotations

import contextlib
import re
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uprez.config.keys import KEYS
from uprez.config.kinds import seconds
from uprez.config.settings import Secret


@settings(deadline=None)  # a busy machine is no failure
@given(hours=st.integers(0, 99), minutes=st.integers(0, 59), micros=st.integers(0, 59_999_999))
def test_a_time_is_read_exactly_in_every_notation(hours: int, minutes: int, micros: int) -> None:
    """Seconds, minutes:seconds, hours:minutes:seconds and units name the same instant, to the microsecond."""
    rest, total = Fraction(micros, 10**6), 3600 * hours + 60 * minutes
    text = f"{micros // 10**6}.{micros % 10**6:06}"
    assert seconds(f"{hours}:{minutes:02}:{text}") == total + rest
    assert seconds(f" {60 * hours + minutes}:{text} ") == total + rest
    assert seconds(f"{total + micros // 10**6}.{micros % 10**6:06}") == total + rest
    assert seconds(f"{hours // 24}d{hours % 24}h{minutes}m{text}s") == total + rest
    assert seconds(f"{hours}H{60 * minutes + micros // 10**6}.{micros % 10**6:06}s") == total + rest


@settings(deadline=None)  # a busy machine is no failure
@given(text=st.text(max_size=12) | st.text(alphabet="0123456789:. -+e/dhmsH", max_size=12))
def test_any_text_is_a_time_or_a_value_error(text: str) -> None:
    """Nothing else can happen: what is accepted has digits in each part and is never negative."""
    number = r"\d{1,9}(\.\d{1,9})?"
    plain, units = rf"{number}(:{number}){{0,2}}", "".join(rf"({number}{unit})?" for unit in "dhms")
    if text.strip() and re.fullmatch(f"({plain})|({units})", text.strip().lower(), re.ASCII):
        assert seconds(text) >= 0
    else:
        with pytest.raises(ValueError, match="is not a time"):
            seconds(text)


@settings(deadline=None)  # a busy machine is no failure
@given(text=st.text(max_size=20), name=st.sampled_from(sorted(KEYS)))
def test_any_text_is_a_value_or_a_value_error(text: str, name: str) -> None:
    """No text makes a kind fail in another way."""
    with contextlib.suppress(ValueError):
        KEYS[name].kind.read(text)


def test_a_secret_does_not_print() -> None:
    """Neither as text, nor in a message, nor inside another object."""
    secret = Secret("CANARY")
    assert "CANARY" not in f"{secret} {secret!r} {[secret]} {secret:}"
    assert secret.reveal() == "CANARY"
