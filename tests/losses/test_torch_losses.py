"""Our losses have the means and gradients of torch's, which record_torch.py recorded."""

from __future__ import annotations

import json
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
import pytest
from support.exact import named
from support.graph import computed

from ppema.losses import build_loss, mean

HERE = Path(__file__).parent
RECORDED = json.loads((HERE / "torch.json").read_text(encoding="utf-8"))
spec = spec_from_file_location("record_torch", HERE / "record_torch.py")
inputs = module_from_spec(spec)
spec.loader.exec_module(inputs)


@pytest.mark.parametrize(("case", "theirs"), list(zip(inputs.CASES, RECORDED, strict=True)))
def test_a_loss_of_torch(case, theirs):
    name, args, predictions, targets, *_ = case
    given = (getattr(inputs, predictions), getattr(inputs, targets))
    found, gradient = computed(lambda p, t: mean(build_loss(named(name, **args))(p, t)), *given, by=0)
    assert found == pytest.approx(theirs["mean"], rel=2e-6)
    np.testing.assert_allclose(gradient, theirs["gradient"], rtol=1e-5, atol=1e-7)
