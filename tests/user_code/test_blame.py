"""Which code an error comes from."""

from __future__ import annotations

from ppema.errors import PpemaError
from ppema.user_code.blame import in_foreign_code


def test_an_error_that_is_its_own_cause_ends_the_search():
    error = PpemaError("alone")
    error.__cause__ = error
    assert not in_foreign_code(error)
