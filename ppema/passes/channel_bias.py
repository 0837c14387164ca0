"""The ChannelBias pass: the biases of convolutions by operations of our own, which broadcast over nothing but planes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ppema.ir import IR, Program, Variable
from ppema.ir.native import why_missing


@dataclass(frozen=True)
class ChannelBiasPass:
    """Let the C++ operations add the bias of each channel in a finished program, and sum up its gradient.

    Takes any program: test programs, and train programs once they hold the backward pass. Replaces each addition of a
    [1, C, 1, ...] to a [N, C, ...], both float32, and its gradient; where there are no C++ operations, nothing. All values stay
    what they were but for the rounding of the gradient's sum.
    """

    name: str = "channel_bias"

    def apply(self, ir: IR, program: Program, fetched: Sequence[Variable]) -> int:
        """Change `program` in place; returns the number of operations replaced. fetched: what its runs will be asked for."""
        return ir.replace_channel_biases(program, fetched) if why_missing() is None else 0
