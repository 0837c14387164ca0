"""Measures an epoch of evaluation beside the bare forward runs of its program."""

from __future__ import annotations

from contextlib import closing

import paddle

from benchmarks.measure import Figure, Found, Options, side_by_side, timed
from benchmarks.peer import ROOT
from benchmarks.subjects import DECAY, SUBJECTS
from ppema.config import Config, load_config
from ppema.config.schema import RAW
from ppema.evaluation.evaluate import evaluate
from ppema.training.setup import prepare_training

BATCHES = {"mlp": 100, "resnet18-32": 4}  # of an epoch, by the key of a subject
DIGITS = ROOT / "configs/digits_cnn.yml"


def measure(options: Options) -> Found:
    """`evaluate` of the raw weights, minus the runs of its program with the feeds of the same batches, for a batch."""
    configs = {"digits_cnn": load_config(DIGITS, [])}
    for name, batches in BATCHES.items():
        made, batch = SUBJECTS[name].config({"ema": {"decay": DECAY}}), SUBJECTS[name].batch
        made["data"]["eval"] |= {"samples": batch * batches, "batch_size": batch}
        configs[SUBJECTS[name].title] = Config.model_validate(made)
    return Found([_figure(title, config, options.rounds) for title, config in configs.items()])


def _figure(title: str, config: Config, rounds: int) -> Figure:
    with closing(prepare_training(config)) as run, paddle.static.scope_guard(run.scope):
        test, inputs, loader = run.tests[RAW], run.programs.model.inputs, run.eval_loader
        feeds = [inputs.feed(batch, loader) for batch in loader.epoch(0)]

        def epoch() -> None:
            evaluate(run.executor, test, inputs, loader)

        def bare() -> None:
            for feed in feeds:
                run.executor.run(test.program, feed, test.fetched)

        ours, alone = side_by_side(rounds, lambda: timed(epoch) / len(feeds), lambda: timed(bare) / len(feeds))
    return Figure(f"{title}: evaluation of a batch", "the forward run", ours, alone, "difference")
