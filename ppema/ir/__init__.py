"""The seam between ppema and Paddle: the only room that knows Paddle's intermediate representations and private names.

`backend()` is the side of the seam for the installed Paddle.
"""

from __future__ import annotations

from functools import lru_cache

from ppema.errors import SetupError, one_line
from ppema.ir.base import (
    IR,
    Gradient,
    NativeOp,
    NormedProduct,
    Operation,
    Parameter,
    Program,
    Runner,
    TestSwitches,
    Variable,
    dtype_name,
    is_variable,
)
from ppema.ir.kinds import NORM_KINDS, PAIRED_NORM_KINDS, PRODUCT_KINDS, draws_random_numbers

__all__ = [
    "IR",
    "NORM_KINDS",
    "PAIRED_NORM_KINDS",
    "PRODUCT_KINDS",
    "Gradient",
    "NativeOp",
    "NormedProduct",
    "Operation",
    "Parameter",
    "Program",
    "Runner",
    "TestSwitches",
    "Variable",
    "backend",
    "draws_random_numbers",
    "dtype_name",
    "is_variable",
]


@lru_cache(maxsize=1)
def backend() -> IR:
    """The side of the seam for the installed Paddle. Raises SetupError if neither side supports it."""
    import paddle

    version = paddle.__version__
    if version.startswith("2."):
        from ppema.ir.legacy import Legacy

        return Legacy()
    if not paddle.framework.use_pir_api():
        raise SetupError(
            f"paddle {version} runs with FLAGS_enable_pir_api=0, under which its static graph is broken: unset the flag"
        )
    try:
        from ppema.ir.pir import Pir
    except (ImportError, AttributeError) as error:  # a newer Paddle that lacks one of the private names
        raise SetupError(f"ppema does not know paddle {version} ({one_line(error)}): install paddlepaddle 3.3") from error
    return Pir()
