"""`LossScale`, the variables of a loss scale in a train program."""

from __future__ import annotations

from dataclasses import dataclass

from ppema.ir import Variable


@dataclass(frozen=True)
class LossScale:
    """The variables of a loss scale S in a train program. They are persistable, and a checkpoint holds them.

    scale: S, 0-D float32, a power of two. good: 0-D int64, the finite steps since S changed. overflows: 0-D int64, the skipped
    runs that lowered S. name, overflows_name: names of `scale` and `overflows`.
    """

    scale: Variable
    good: Variable
    overflows: Variable
    name: str
    overflows_name: str
