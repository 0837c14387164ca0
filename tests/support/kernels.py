"""The choice of operations that passes append: ppema's own in C++, or Paddle's."""

from __future__ import annotations

from contextlib import contextmanager

import pytest

from ppema.ir.native import why_missing
from ppema.passes import ema, finite, norms


@contextmanager
def paddle_kernels():
    """A context in which the passes find no C++ operations."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (ema, finite, norms):
            patch.setattr(module, "why_missing", lambda: "this test uses Paddle's")
        yield


@pytest.fixture(scope="module", params=["native", "paddle"])
def kernels(request):
    """Runs a test with each kind of operation. For a module: `pytestmark = pytest.mark.usefixtures("kernels")`."""
    if request.param == "paddle":
        with paddle_kernels():
            yield request.param
    elif reason := why_missing():
        pytest.skip(f"there are no C++ operations: {reason}")
    else:
        yield request.param
