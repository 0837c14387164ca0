"""Builds the program of prediction: a config's model with its inputs and outputs, and no target, loss or metric."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import paddle

from ppema.config import Config
from ppema.data import Field
from ppema.data.pictures.preprocessing import Preprocessing
from ppema.ir import Parameter, Program, Variable, backend
from ppema.losses import Scores
from ppema.passes.onednn import OnednnPass
from ppema.programs.eval_program import refuse_changes
from ppema.programs.model.forward import applied
from ppema.programs.model.objective import scores
from ppema.programs.model.picture_input import picture_shape


@dataclass(frozen=True)
class Prediction:
    """A program that computes the outputs of a model in eval mode. It reads variables of the scope and changes none.

    startup: its startup program, which creates the variables.
    inputs: the fields that it is fed, in order. The program normalises them by `data.normalize`.
    outputs: what the model returns, by name, [N, ...]. results: the same, with probabilities in place of scores.
    scores: by output, what its numbers are; an output without an entry has plain numbers, or nothing is known of them.
    parameters: its parameters and statistics; structured: their names by their place in the model.
    """

    startup: Program
    program: Program
    inputs: tuple[Field, ...]
    outputs: dict[str, Variable]
    results: dict[str, Variable]
    scores: dict[str, Scores]
    parameters: list[Parameter]
    structured: dict[str, str]

    def on_onednn(self) -> Prediction:
        """A copy whose convolutions oneDNN computes. It can be run here, and not be exported."""
        program, values = backend().clone(self.program, [*self.outputs.values(), *self.results.values()])
        OnednnPass().place(program, values)
        outputs = dict(zip(self.outputs, values, strict=False))
        return replace(
            self, program=program, outputs=outputs, results=dict(zip(self.results, values[len(outputs) :], strict=True))
        )


def build_prediction(config: Config, fields: Sequence[Field], preparation: Preprocessing | None = None) -> Prediction:
    """Build the program that predicts with a config's model.

    fields: of a sample of the config's data, targets too. They tell what the outputs' numbers are, and are not fed.
    preparation: of pictures; its input is then their bytes, uint8 [N, H, W, C], and the program prepares them.

    Raises ConfigError, as `build_test_model` does, and for a preparation that is no arithmetic on pixels.
    """
    inputs = tuple(field for field in fields if not field.is_target)
    startup, main = paddle.static.Program(), paddle.static.Program()
    with backend().fresh_names(), paddle.static.program_guard(main, startup):
        made = applied(config, inputs, preparation)
        found = scores(config, made.outputs, [field for field in fields if field.is_target])
        results = {
            name: found[name].probabilities(output) if name in found else output for name, output in made.outputs.items()
        }
        structured = {place: value.name for place, value in made.model.state_dict().items()}
    refuse_changes(config, main)
    if preparation is not None:
        inputs = (Field(picture_shape(preparation), "uint8", preparation.input),)
    return Prediction(startup, main, inputs, made.outputs, results, found, backend().parameters(main), structured)
