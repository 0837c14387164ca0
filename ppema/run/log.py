"""What a run records under its output folder: log.txt, metrics.jsonl and VisualDL scalars."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visualdl import LogWriter

from ppema.run.progress import Bar


class RunLog:
    """The records of one run under its output folder; every write is flushed, so that a killed run keeps its log."""

    def __init__(self, output: Path, bar: Bar, *, step: int):
        """Continue the records that are there: those after `step` belong to a run that was cut off, and are dropped."""
        output.mkdir(parents=True, exist_ok=True)
        self._metrics_file = output / "metrics.jsonl"
        _drop_after(self._metrics_file, step)
        self._bar = bar
        self._stack = contextlib.ExitStack()
        self._metrics = self._stack.enter_context(self._metrics_file.open("a", encoding="utf-8"))
        self._text = self._stack.enter_context((output / "log.txt").open("a", encoding="utf-8"))
        self._scalars = self._stack.enter_context(LogWriter(logdir=str(output / "vdl")))

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def say(self, text: str) -> None:
        """One line for people, on the terminal and in log.txt."""
        self._bar.line(text)
        self._text.write(text + "\n")
        self._text.flush()

    def train(self, step: int, epoch: float, *, loss: float, lr: float, decays: Mapping[str, float], rate: float) -> None:
        """The figures of a log interval: mean loss, learning rate, each average's decay, samples per second."""
        self._record(
            {"kind": "train", "step": step, "epoch": epoch, "loss": loss, "lr": lr, "decay": dict(decays), "rate": rate}
        )
        self._scalar("train/loss", loss, step)
        self._scalar("train/lr", lr, step)
        for name, decay in decays.items():
            self._scalar(f"decay/{name}", decay, step)
        decayed = "".join(f"  {name} decay {decay:.6g}" for name, decay in decays.items())
        self.say(f"step {step}  epoch {epoch:.2f}  loss {loss:.4f}  lr {lr:.4g}{decayed}  {rate:.0f} samples/s")

    def evaluation(self, step: int, epoch: float, weights: str, metrics: Mapping[str, float]) -> None:
        """The measures of one set of weights over the evaluation set."""
        self._record({"kind": "eval", "step": step, "epoch": epoch, "weights": weights, **metrics})
        for name, value in metrics.items():
            self._scalar(f"{name}/{weights}", value, step)
        self.say(f"step {step}  eval  {weights:<12} " + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))

    def _record(self, record: Mapping[str, Any]) -> None:
        self._metrics.write(json.dumps(record) + "\n")
        self._metrics.flush()

    def _scalar(self, tag: str, value: float, step: int) -> None:
        self._scalars.add_scalar(tag=tag, value=float(value), step=step)


def read_metrics(output: Path) -> list[dict[str, Any]]:
    """The records of a run's metrics.jsonl, in order; a half-written last line is left out."""
    file = output / "metrics.jsonl"
    records = []
    if file.exists():
        for line in file.read_text(encoding="utf-8").splitlines():
            with contextlib.suppress(ValueError):
                records.append(json.loads(line))
    return records


def _drop_after(file: Path, step: int) -> None:
    if file.exists():
        kept = [record for record in read_metrics(file.parent) if record["step"] <= step]
        partial = file.with_suffix(".partial")
        partial.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
        partial.replace(file)
