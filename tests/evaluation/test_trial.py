"""When is a measure of a batch another than that of its parts?"""

from __future__ import annotations

import numpy as np

from ppema.evaluation.trial import _depends


def depends(together, *apart):
    parts = [np.array(each, "float64") for each in apart]
    return _depends(np.array(together, "float64"), parts, [1] * len(parts), 1e-4)


def test_a_mean_whose_parts_cancel_is_a_mean():
    """What rounding leaves of 1 - 1 is as small as the mean itself."""
    assert not depends([6e-8], [1.0], [-1.0])
    assert not depends([0.0], [1.0], [-1.0])
    assert depends([0.01], [1.0], [-1.0])
