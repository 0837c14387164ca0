"""The rows of sparse gradients."""

from __future__ import annotations

from paddle.nn.clip import get_tensor_from_selected_rows, merge_selected_rows

from ppema.ir.base import Variable


def rows_of(gradient: Variable, merged: bool) -> Variable:
    """The rows of a sparse gradient as a dense variable. merged: parts of the same row are added up, else they stay apart."""
    return get_tensor_from_selected_rows(merge_selected_rows(gradient) if merged else gradient)
