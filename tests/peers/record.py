"""Run the averages of other packages on one short course of a weight, and print what they become: recorded.json.

    python tests/peers/record.py EDM2 > tests/peers/recorded.json

in a Python with torch, timm, mmengine, keras (on jax), tensorflow and optax; EDM2 is a checkout of NVlabs/edm2. The tests need
none of them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path

os.environ |= {"KERAS_BACKEND": "jax", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
sys.path.append(sys.argv[1])

import jax.numpy as jnp
import keras
import numpy as np
import optax
import tensorflow as tf
import torch
from mmengine.model import ExponentialMovingAverage, MomentumAnnealingEMA, StochasticWeightAverage
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from training.phema import PowerFunctionEMA, TraditionalEMA

STEPS = 10
START = np.ones(5, "float32")
# Multiples of 1/64, which float32 adds up exactly.
BY = (np.random.default_rng(0).integers(-128, 129, size=(STEPS, 5)) / 64).astype("float32")

Averages = Iterator[np.ndarray]


def file_of_timm(name: str):
    """One file of timm, which as a whole would need a torchvision that fits torch."""
    spec = spec_from_file_location(Path(name).stem, Path(find_spec("timm").origin).parent / name)
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


timm = file_of_timm("utils/model_ema.py")


class Net(torch.nn.Module):
    """One weight, moved by BY."""

    def __init__(self) -> None:
        super().__init__()
        self.w = torch.nn.Parameter(torch.tensor(START))

    def move(self, step: int) -> None:
        with torch.no_grad():
            self.w += torch.tensor(BY[step])


def of_torch(make: Callable[[Net], torch.nn.Module], update: Callable[[torch.nn.Module, Net, int], None]) -> Averages:
    """`update` gets the number of the step, from 1."""
    net = Net()
    average = make(net)
    for step in range(STEPS):
        net.move(step)
        update(average, net, step + 1)
        module = getattr(average, "module", None) or getattr(average, "ema", None) or average.emas[0]
        yield module.w.detach().numpy().copy()


def update_parameters(average, net, step) -> None:
    average.update_parameters(net)


def of_keras(**settings) -> Averages:
    weight = keras.Variable(START)
    optimizer = keras.optimizers.SGD(learning_rate=1.0, use_ema=True, ema_momentum=0.9, **settings)
    for by in BY:
        optimizer.apply_gradients([(-jnp.asarray(by), weight)])
        yield np.asarray(optimizer._model_variables_moving_average[0].value)


def of_tensorflow_graph(decay: float, counted: bool = False) -> Averages:
    """The average begins with the variable's initial value; num_updates is the number of updates before this one."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        weight, counter = v1.Variable(START, use_resource=True), v1.Variable(0, use_resource=True)
        by = v1.placeholder(tf.float32, [5])
        move, count = weight.assign_add(by).op, counter.assign_add(1).op
        average = tf.train.ExponentialMovingAverage(decay, num_updates=counter if counted else None)
        update = average.apply([weight])
        session.run(v1.global_variables_initializer())
        for each in BY:
            session.run(move, {by: each})
            session.run(update)
            session.run(count)
            yield session.run(average.average(weight))


def of_tensorflow_eager(decay: float) -> Averages:
    """The average begins with the variable's value at the first apply."""
    weight, average = tf.Variable(START), tf.train.ExponentialMovingAverage(decay)
    for by in BY:
        weight.assign_add(by)
        average.apply([weight])
        yield average.average(weight).numpy()


def of_optax_ema() -> Averages:
    average = optax.ema(0.9)
    state, weight = average.init(jnp.asarray(START)), START
    for by in BY:
        weight = weight + by
        mean, state = average.update(jnp.asarray(weight), state)
        yield np.array(mean)


def of_optax_update() -> Averages:
    mean, weight = jnp.asarray(START), START
    for by in BY:
        weight = weight + by
        mean = optax.incremental_update(jnp.asarray(weight), mean, 0.1)
        yield np.array(mean)


def edm2(average, net, step) -> None:
    """Batches of 1,000 images, counted as its training loop counts them: after the step."""
    average.update(cur_nimg=1000 * step, batch_size=1000)


def recorded() -> Iterator[tuple[str, str, Averages]]:
    """Package, call, and the averages after each step."""
    yield (
        "torch",
        "AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9))",
        of_torch(lambda net: AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9)), update_parameters),
    )
    yield "torch", "AveragedModel(net)", of_torch(AveragedModel, update_parameters)
    yield (
        "timm",
        "ModelEmaV2(net, decay=0.9)",
        of_torch(lambda net: timm.ModelEmaV2(net, decay=0.9), lambda average, net, step: average.update(net)),
    )
    for call, settings in {
        "ModelEmaV3(net, decay=0.9)": {"decay": 0.9},
        "ModelEmaV3(net, decay=0.7, use_warmup=True)": {"decay": 0.7, "use_warmup": True},
        "ModelEmaV3(net, decay=0.7, use_warmup=True, update_after_step=3)": {
            "decay": 0.7,
            "use_warmup": True,
            "update_after_step": 3,
        },
    }.items():
        yield (
            "timm",
            call,
            of_torch(
                lambda net, settings=settings: timm.ModelEmaV3(net, **settings),
                lambda average, net, step: average.update(net, step=step),
            ),
        )
    yield (
        "mmengine-lite",
        "ExponentialMovingAverage(net, momentum=0.1)",
        of_torch(lambda net: ExponentialMovingAverage(net, momentum=0.1), update_parameters),
    )
    yield (
        "mmengine-lite",
        "MomentumAnnealingEMA(net, momentum=0.4, gamma=4)",
        of_torch(lambda net: MomentumAnnealingEMA(net, momentum=0.4, gamma=4), update_parameters),
    )
    yield "mmengine-lite", "StochasticWeightAverage(net)", of_torch(StochasticWeightAverage, update_parameters)
    yield "keras", "SGD(use_ema=True, ema_momentum=0.9)", of_keras()
    yield (
        "keras",
        "SGD(use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=3)",
        of_keras(ema_overwrite_frequency=3),
    )
    yield "tensorflow-cpu", "ExponentialMovingAverage(0.9) in a graph", of_tensorflow_graph(0.9)
    yield "tensorflow-cpu", "ExponentialMovingAverage(0.3, num_updates=n) in a graph", of_tensorflow_graph(0.3, True)
    yield "tensorflow-cpu", "ExponentialMovingAverage(0.9), eager", of_tensorflow_eager(0.9)
    yield "optax", "ema(0.9)", of_optax_ema()
    yield "optax", "incremental_update(new, old, 0.1)", of_optax_update()
    yield "EDM2", "PowerFunctionEMA(net, stds=[0.1])", of_torch(lambda net: PowerFunctionEMA(net, stds=[0.1]), edm2)
    yield (
        "EDM2",
        "TraditionalEMA(net, halflife_Mimg=0.005, rampup_ratio=None)",
        of_torch(lambda net: TraditionalEMA(net, halflife_Mimg=0.005, rampup_ratio=None), edm2),
    )
    yield (
        "EDM2",
        "TraditionalEMA(net, halflife_Mimg=0.001, rampup_ratio=0.25)",
        of_torch(lambda net: TraditionalEMA(net, halflife_Mimg=0.001, rampup_ratio=0.25), edm2),
    )


def rows(values: np.ndarray | list) -> str:
    """One step a line, as the shortest decimals that are these float32 numbers."""
    lines = ["   [" + ", ".join(str(value) for value in row) + "]" for row in np.asarray(values, "float32")]
    return ",\n".join(lines)


def main() -> None:
    found = []
    for package, call, averages in recorded():
        of = {"EDM2": "4bf8162"}.get(package) or version(package)
        name = json.dumps(f"{package.split('-')[0]}: {call}")
        found.append(f'  {name}: {{"version": "{of}", "averages": [\n{rows(list(averages))}\n  ]}}')
    print(f'{{\n "by": [\n{rows(BY)}\n ],\n "peers": {{\n' + ",\n".join(found) + "\n }\n}")


if __name__ == "__main__":
    main()
