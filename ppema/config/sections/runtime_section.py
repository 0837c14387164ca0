"""The section `runtime`: the machine, and the way in which programs run."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Strict

from ppema.averaging.decay import MOST_STEPS
from ppema.config.section import Count, Section, examples
from ppema.config.wording import counting, expecting


class Runtime(Section):
    """Settings of the machine: threads, device, and the way in which programs run."""

    model_config = examples(
        {"threads": 4, "device": "cpu", "onednn": "off"},
        {"threads": "auto", "device": "gpu:0", "executor": "plain", "precision": "bfloat16", "rank_patience": 300},
    )

    threads: Annotated[Literal["auto"] | Count, counting("'auto' or an integer", 1, MOST_STEPS)] = Field(
        default="auto",
        description="OpenMP threads. auto: the number of cores, divided by the number of ranks on this machine.",
    )
    device: Annotated[
        str,
        Strict(),
        Field(pattern="^(auto|cpu|gpu(:(0|[1-9][0-9]*))?)$"),
        expecting("'auto', 'cpu', 'gpu' or 'gpu:N'"),
    ] = Field(default="auto", description="Device for all programs. auto: a GPU when Paddle can use one.")
    executor: Literal["auto", "plain"] = Field(
        default="auto",
        description="The executor of the programs. auto: on a CPU with Paddle 3, the one inside `Executor.run`, without "
        "the work that this repeats at every step. plain: `Executor.run` itself.",
    )
    onednn: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Convolutions on a CPU by oneDNN, which is several times as fast. auto: on Paddle 3.0 to 3.3, where it was "
        "tested.",
    )
    precision: Literal["float32", "bfloat16", "float16"] = Field(
        default="float32",
        description="Type in which convolutions and matrix products compute in training, on a GPU. Weights, averages, "
        "BatchNorm, losses and evaluations are float32 in any case. float16 scales the loss.",
    )
    rank_patience: Annotated[Count, counting("an integer (seconds)", 1, MOST_STEPS)] = Field(
        default=45,
        description="With several ranks: seconds after which a rank without progress ends the job, as it hangs. The limit of a "
        "step, and of reading a batch; saving takes any time.",
    )
