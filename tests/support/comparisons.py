"""Figures of runs that tests compare, and what a refused comparison says."""

from __future__ import annotations

import pytest

import ppema
from ppema.errors import PpemaError

# Accuracies of raw and ema by seed, for two rates.
SLOW = {0: (0.90, 0.92), 1: (0.91, 0.92), 2: (0.92, 0.95)}
FAST = {0: (0.93, 0.94), 1: (0.91, 0.95), 3: (0.92, 0.99)}


def refused(*arguments, **options) -> str:
    """The one line with which `ppema.compare` refuses its arguments."""
    with pytest.raises(PpemaError) as caught:
        ppema.compare(*arguments, **options)
    assert "\n" not in str(caught.value) and caught.value.exit_code == 2
    return str(caught.value)
