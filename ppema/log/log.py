"""What a run records under its output folder: config.yml, log.txt, metrics.jsonl and VisualDL scalars."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ppema.averaging.health import Reading
from ppema.checkpoint.appended import AppendedFile
from ppema.checkpoint.durable import replace_file, write_file
from ppema.checkpoint.folder import free, set_aside
from ppema.errors import SetupError, TrainingError, escaped
from ppema.log.board import Board, board_files, has_figures
from ppema.log.progress import Bar
from ppema.log.records import Saved, read_metrics, to_json
from ppema.user_code.blame import in_foreign_code, whole_traceback


class RunLog:
    """The records of one run; every write reaches the system, so that a killed run keeps them. A context manager."""

    def __init__(
        self, output: Path, bar: Bar, *, step: int, origin: Path | None = None, keep: bool = False, go_on: bool = False
    ):
        """Go on with the records that are there, without those after `step`: they belong to a run that was cut off.

        metrics.jsonl is shortened and VisualDL's file written anew from it; log.txt keeps every line that was said. origin: the
        checkpoint of another run that this one goes on from; keep: a copy of what is shortened stays as metrics.jsonl.aside;
        go_on: a record that can not be written ends nothing, but is written later. Raises SetupError where the folder can not
        be written.
        """
        self._output = output
        self._bar = bar
        self._go_on = go_on
        self._failing = False
        self._stack = contextlib.ExitStack()
        try:
            output.mkdir(parents=True, exist_ok=True)
            found = read_metrics(output)
            kept = [record for record in found if record["step"] <= step]
            aside = self._set_aside(keep=keep and len(kept) < len(found), vdl=not found)
            saved = [Saved(step=step, origin=origin and str(origin)).model_dump(exclude_none=True)] if step else []
            replace_file(output / "metrics.jsonl", "".join(to_json(each) + "\n" for each in (*kept, *saved)).encode())
            self._metrics = self._opened(output / "metrics.jsonl")
            self._text = self._opened(output / "log.txt")
            (output / "vdl").mkdir(exist_ok=True)
            old = board_files(output / "vdl")
            self._board = self._stack.enter_context(contextlib.closing(Board(output / "vdl")))
        except OSError as error:
            self._stack.close()
            raise SetupError(f"{output}: the run's folder can not be written: {error}") from error
        with self._writing():
            self._board.begin()
        for record in kept:
            self._draw(record)
        with self._writing():
            # Those before it last until this one holds all that they held.
            for name in old if not self._failing else ():
                (output / "vdl" / name).unlink()
        for path in aside:
            self.say(f"set aside as {path}")

    def _set_aside(self, *, keep: bool, vdl: bool) -> list[Path]:
        """Keep a copy of metrics.jsonl, and, with `vdl`, VisualDL's figures where they are the only ones. Raises OSError."""
        aside = []
        if keep:
            aside.append(free(self._output / "metrics.jsonl.aside"))
            write_file(aside[0], (self._output / "metrics.jsonl").read_bytes())
        if vdl and has_figures(self._output / "vdl"):
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
                for file in (self._metrics, self._text, self._board.file):
                    with self._writing():
                        file.append(b"")

    def _failed(self, error: Exception) -> None:
        """The error that ends the run, and where it arose in code that is not ours, its whole traceback, in log.txt alone."""
        said = whole_traceback(error) if in_foreign_code(error) else str(error)
        with contextlib.suppress(OSError, TrainingError):  # a full disk may be what ends it
            self.note(said.splitlines())

    def config(self, text: str) -> None:
        """The resolved config, as YAML."""
        with self._writing():
            replace_file(self._output / "config.yml", text.encode())

    def say(self, text: str) -> None:
        """One line for people, on the terminal and in log.txt."""
        self._bar.line(text)
        with self._writing():
            self._text.append(f"{escaped(text)}\n".encode())

    def note(self, lines: Iterable[str]) -> None:
        """Lines that are too many for a terminal, in log.txt alone."""
        with self._writing():
            self._text.append("".join(f"{escaped(line)}\n" for line in lines).encode())

    def warn(self, warnings: Iterable[str]) -> None:
        """Each of them as a line for people."""
        for warning in warnings:
            self.say(f"warning: {warning}")

    def train(
        self, step: int, epoch: float, *, loss: float, lr: float, skipped: int, health: Mapping[str, Reading], rate: float
    ) -> None:
        """The figures of a log interval: mean loss, learning rate, steps skipped since the run began, each average's decay and
        health, samples per second."""
        measured = {name: asdict(reading) for name, reading in health.items()}
        decays = {name: each.pop("decay") for name, each in measured.items()}
        figures = {"loss": loss, "lr": lr, "skipped": skipped, "decay": decays, "health": measured, "samples_per_second": rate}
        self._record({"kind": "train", "step": step, "epoch": epoch, **figures})
        self.say(f"step {step}  epoch {epoch:.2f}  loss {loss:.4f}  lr {lr:.4g}  {rate:.0f} samples/s")
        for name, reading in health.items():
            self.say(f"step {step}  average  {name:<12} {_in_words(reading)}")

    def evaluation(self, step: int, epoch: float, weights: str, metrics: Mapping[str, float]) -> None:
        """The measures of one set of weights over the evaluation set."""
        self._record({"kind": "eval", "step": step, "epoch": epoch, "weights": weights, **metrics})
        self.say(f"step {step}  eval  {weights:<12} " + "  ".join(f"{name} {value:.4f}" for name, value in metrics.items()))

    def saved(self, step: int) -> None:
        """A checkpoint of `step` was saved."""
        with self._writing():
            self._metrics.append(f"{to_json(Saved(step=step).model_dump(exclude_none=True))}\n".encode())

    def _record(self, record: Mapping[str, Any]) -> None:
        with self._writing():
            self._metrics.append(f"{to_json(record)}\n".encode())
        self._draw(record)

    def _draw(self, record: Mapping[str, Any]) -> None:
        """The scalars of a record: train/loss, train/lr, train/skipped, decay/<average>, the health's; <metric>/<weights>."""
        if record["kind"] == "train":
            # Runs that began before there were some of the figures lack them.
            scalars = {f"train/{name}": record.get(name) for name in ("loss", "lr", "skipped")}
            scalars |= {f"decay/{name}": decay for name, decay in record["decay"].items()}
            scalars |= _health_scalars(record.get("health", {}))
        else:
            measures = (key for key in record if key not in ("kind", "step", "epoch", "weights"))
            scalars = {f"{measure}/{record['weights']}": record[measure] for measure in measures}
        found = [(tag, float(value)) for tag, value in scalars.items() if value is not None]
        for tag, value in found:
            with self._writing():
                self._board.scalar(tag, value, record["step"])

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


def _in_words(reading: Reading) -> str:
    if reading.window is None:
        return "not begun"
    distance = "-" if reading.distance is None else f"{reading.distance:.3g}"
    return f"decay {reading.decay:.6g}  window {reading.window:.1f} steps  distance {distance}"


def _health_scalars(health: Mapping[str, Mapping[str, Any]]) -> dict[str, float | None]:
    """window, distance, stalled/<average>, and distance/<average>/<layer group>."""
    scalars = {}
    for name, each in health.items():
        scalars |= {f"{figure}/{name}": each[figure] for figure in ("window", "distance", "stalled")}
        scalars |= {f"distance/{name}/{group}": value for group, value in each["groups"].items()}
    return scalars
