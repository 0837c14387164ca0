"""Writes the records of a run to its output folder: config.yml, log.txt, metrics.jsonl and VisualDL's files."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ppema.averaging.health import Reading
from ppema.checkpoint.appended import AppendedFile
from ppema.checkpoint.durable import replace_file, write_file
from ppema.checkpoint.folder import free, set_aside
from ppema.errors import SetupError, TrainingError, escaped
from ppema.log.figure_texts import figure
from ppema.log.interval import Interval, TrainingTime
from ppema.log.records import Saved, finite, read_metrics, seconds_until, to_json
from ppema.log.run_board import RunBoard, drawn
from ppema.log.terminal.live import LONG_WAIT
from ppema.log.terminal.progress import Bar
from ppema.user_code.blame import in_foreign_code, whole_traceback


class RunLog:
    """The records of one run; a context manager. Every write reaches the system at once, so a killed run keeps them.

    board: its VisualDL files. time: of the training up to the step at which the log begins, which the loop adds to; records
    have it.
    """

    def __init__(
        self,
        output: Path,
        bar: Bar,
        *,
        step: int,
        origin: Path | None = None,
        keep: bool = False,
        go_on: bool = False,
        averages: Sequence[str] = (),
        monitored: Sequence[str] = (),
    ):
        """Continue the records in `output`, without those after `step`, which a killed run wrote.

        metrics.jsonl is cut at `step`, and VisualDL's files are written again from it. log.txt keeps every line.

        step: the step after which this run starts; origin: a checkpoint of another run from which this one continues; keep:
        copy metrics.jsonl to metrics.jsonl.aside before it is cut; go_on: a failed write does not end the run, and is repeated
        later; averages: their names; monitored: the metrics that VisualDL shows first. Raises SetupError if the folder can not
        be written.
        """
        self._output = output
        self._step = step
        self._bar = bar
        self._go_on = go_on
        self._failing = False
        self._stack = contextlib.ExitStack()
        try:
            output.mkdir(parents=True, exist_ok=True)
            found = read_metrics(output)
            kept = [record for record in found if record["step"] <= step]
            self.time = TrainingTime(seconds_until(output, step))
            aside = self._set_aside(keep=keep and len(kept) < len(found), vdl=not found)
            saved = [_saved(step, self.time.seconds, origin)] if step else []
            replace_file(output / "metrics.jsonl", "".join(to_json(each) + "\n" for each in (*kept, *saved)).encode())
            self._metrics = self._opened(output / "metrics.jsonl")
            self._text = self._opened(output / "log.txt")
            self.board = self._stack.enter_context(contextlib.closing(RunBoard(output / "vdl", averages, monitored)))
        except OSError as error:
            self._stack.close()
            raise SetupError(f"{output}: the run's folder can not be written: {error}") from error
        with self._writing():
            self.board.begin(kept, step)
        bar.standings.recall(record for record in kept if record["kind"] == "eval")
        for path in aside:
            self.say(f"set aside as {path}")

    def _set_aside(self, *, keep: bool, vdl: bool) -> list[Path]:
        """Set aside a copy of metrics.jsonl (`keep`), and VisualDL's folder if it has figures (`vdl`). Raises OSError.

        Returns the new paths.
        """
        aside = []
        if keep:
            aside.append(free(self._output / "metrics.jsonl.aside"))
            write_file(aside[0], (self._output / "metrics.jsonl").read_bytes())
        if vdl and drawn(self._output / "vdl"):
            aside.append(set_aside(self._output / "vdl"))
        return aside

    def _opened(self, path: Path) -> AppendedFile:
        return self._stack.enter_context(contextlib.closing(AppendedFile(path)))

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        with self._stack:
            if isinstance(error, Exception):
                self._failed(error)
            if kind is None and self._go_on:
                self._go_on = False
                for file in (self._metrics, self._text):
                    with self._writing():
                        file.append(b"")
                with self._writing():
                    self.board.flush()

    def _failed(self, error: Exception) -> None:
        """Write the error that ends the run to log.txt only; for an error outside ppema, its whole traceback."""
        said = whole_traceback(error) if in_foreign_code(error) else str(error)
        with contextlib.suppress(OSError, TrainingError):  # the error may be a full disk
            self.note(said.splitlines())

    def config(self, text: str) -> None:
        """Write config.yml. text: the resolved config as YAML."""
        with self._writing():
            replace_file(self._output / "config.yml", text.encode())
        self.board.config(text, self._step)

    def say(self, text: str) -> None:
        """Write one line to the terminal and to log.txt."""
        self._bar.line(text)
        with self._writing():
            self._text.append(f"{escaped(text)}\n".encode())

    def note(self, lines: Iterable[str]) -> None:
        """Write lines to log.txt only: details, of which a terminal would get too many."""
        with self._writing():
            self._text.append("".join(f"{escaped(line)}\n" for line in lines).encode())

    def warn(self, warnings: Iterable[str]) -> None:
        """Write each warning as a line to the terminal and to log.txt."""
        for warning in warnings:
            self.say(f"warning: {warning}")

    def train(
        self,
        step: int,
        epoch: float,
        interval: Interval,
        *,
        lr: float,
        skipped: int,
        health: Mapping[str, Reading],
        norms: Mapping[str, float],
        memory: Mapping[str, float],
    ) -> None:
        """Record a log interval. Its lines are in log.txt only.

        lr: the learning rate; skipped: the steps skipped since the start of the run; health: each average's decay and health;
        norms: of the last step, which the line has too; memory: in MiB.
        """
        loss, parts, rate, wait = interval.losses.mean, interval.losses.means, interval.rate, interval.data_wait
        measured = {name: asdict(reading) for name, reading in health.items()}
        decays = {name: each.pop("decay") for name, each in measured.items()}
        first = {"loss": loss, **parts, "lr": lr, "skipped": skipped}
        times = {"samples_per_second": rate, "data_wait": wait, "seconds": self.time.seconds, **memory}
        self._record(
            {"kind": "train", "step": step, "epoch": epoch, **first, **norms, "decay": decays, "health": measured, **times}
        )
        words = [
            f"step {step}  epoch {epoch:.2f}  loss {figure(loss)}",
            *(f"{name} {figure(value)}" for name, value in parts.items()),
        ]
        words += [f"lr {lr:.4g}", *(f"{name.replace('_', ' ')} {norm:.4g}" for name, norm in norms.items())]
        words.append(f"{rate:.0f} samples/s")
        if wait > LONG_WAIT:
            words.append(f"{wait:.0%} of the time waiting for data")
        line = "  ".join(words)
        self.note([line, *(f"step {step}  average  {name:<12} {_in_words(each)}" for name, each in health.items())])
        self._bar.interval(line, wait)

    def evaluation(self, step: int, epoch: float, weights: str, metrics: Mapping[str, Any]) -> None:
        """Record the figures of one set of weights over the evaluation set: numbers, and arrays as nested lists.

        log.txt has a line of them. Call `evaluated` after the last set of weights.
        """
        place = {"step": step, "epoch": epoch, "seconds": self.time.seconds}
        self._record({"kind": "eval", **place, "weights": weights, **metrics})
        numbers = (f"{name} {figure(value)}" for name, value in metrics.items() if not isinstance(value, list))
        self.note([f"step {step}  eval  {weights:<12} " + "  ".join(numbers)])

    def evaluated(self, step: int, epoch: float, figures: Mapping[str, Mapping[str, float]]) -> None:
        """Show an evaluation, whose records are written, on the terminal. figures: the numbers of each set of weights."""
        self._bar.standings.add(step, epoch, figures)
        self._bar.evaluated()

    def doing(self, what: str) -> None:
        """Show on the terminal what the run does between two steps; "" at its end."""
        self._bar.doing(what)

    def saved(self, step: int, seconds: float) -> None:
        """Record that a checkpoint of `step` was saved. seconds: of training up to its state, as in `time`."""
        with self._writing():
            self._metrics.append(f"{to_json(_saved(step, seconds))}\n".encode())

    def _record(self, record: Mapping[str, Any]) -> None:
        with self._writing():
            self._metrics.append(f"{to_json(record)}\n".encode())
        with self._writing():
            self.board.draw(record)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            said = f"{self._output}: the run's records can not be written: {error}"
            if not self._go_on:
                raise TrainingError(said) from error
            if not self._failing:
                self._bar.line(f"warning: {said}; the run goes on, and tries again")
            self._failing = True
        else:
            self._failing = False


def _saved(step: int, seconds: float, origin: Path | None = None) -> dict[str, Any]:
    """The record of a checkpoint, without what is absent or unknown."""
    return Saved(step=step, origin=origin and str(origin), seconds=finite(seconds)).model_dump(exclude_none=True)


def _in_words(reading: Reading) -> str:
    if reading.window is None:
        return "not begun"
    distance = "-" if reading.distance is None else f"{reading.distance:.3g}"
    return f"decay {reading.decay:.6g}  window {reading.window:.1f} steps  distance {distance}"
