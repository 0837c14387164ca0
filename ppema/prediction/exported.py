"""A Predictor of an exported folder: its program, run by `paddle.inference`, and what model.json says of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ppema.config import Config
from ppema.config.load import in_working_directory
from ppema.data import Field
from ppema.deploy.description import check_files, read_description
from ppema.deploy.inference import PROGRAM_NAME
from ppema.deploy.loaded_back import LoadedProgram, by_inference, program_files
from ppema.environment import threads_in_use
from ppema.errors import CheckpointError, ConfigError, TrainingError
from ppema.losses import Scores
from ppema.prediction.predicted import OutputForm
from ppema.user_code.blame import blamed


@dataclass
class ExportedPredictor:
    """See `Predictor`. config: the resolved one in model.json; fields: of the inputs alone; prefix: of the program's files."""

    config: Config
    fields: tuple[Field, ...]
    forms: tuple[OutputForm, ...]
    what: str
    prefix: Path

    def __post_init__(self) -> None:
        self._run: LoadedProgram = by_inference(self.prefix, threads_in_use())
        self._plain: LoadedProgram | None = None

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """See `Predictor`. Raises TrainingError if an operation fails.

        After a failure, all operations get Paddle's own kernels if those succeed: oneDNN lacks some, which shows only when they
        run.
        """
        feed = {field.name: array for field, array in zip(self.fields, arrays, strict=True)}
        try:
            try:
                return self._run(feed)
            except Exception:
                if self._run is self._plain:
                    raise
                self._plain = self._plain or by_inference(self.prefix, threads_in_use(), onednn=False)
                found = self._plain(feed)
                self._run = self._plain
                return found
        except TrainingError:
            raise
        except Exception as error:
            raise TrainingError(f"an operation failed: {blamed(error)}") from error

    def close(self) -> None:
        """Nothing is left open."""


def open_exported(folder: Path) -> ExportedPredictor:
    """The predictor of the model that `export --format paddle` wrote to `folder`.

    Raises CheckpointError if model.json is missing, damaged or of a later format; if a file differs from its checksum; for a
    folder without a program of Paddle, and for a program that takes the bytes of pictures. Raises TrainingError if it can not
    be loaded.
    """
    found = read_description(folder)
    prefix = folder / PROGRAM_NAME
    if program_files(prefix)[0].name not in found.files:
        raise CheckpointError(f"{folder}: it has no inference program of Paddle: export the model in the format paddle")
    check_files(folder, found)
    fields = tuple(Field(tuple(each.shape[1:]), each.dtype, each.name) for each in found.inputs)
    if other := [field for field in fields if field.dtype not in ("float32", "int64")]:
        raise CheckpointError(
            f"{folder}: its input {other[0].name} is {other[0]}: predict prepares pictures itself: export without preprocessing"
        )
    try:
        config = in_working_directory(Config.model_validate(found.config))
    except ConfigError as error:
        raise CheckpointError(f"{folder}: the config in its description can not be read: {error.problems[0]}") from error
    forms = tuple(
        OutputForm(
            each.name,
            None if each.by is None else Scores(each.by, each.axis),
            None if each.classes is None else tuple(each.classes),
        )
        for each in found.outputs
    )
    return ExportedPredictor(config, fields, forms, f"{found.weights.what} in {folder}", prefix)
