"""Reads a folder of images that has a subfolder for each class."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ppema.data.pictures.decoding import SUFFIXES, decoded
from ppema.data.sets.files import MissingError
from ppema.errors import DataError, one_line


class ImageFolderDataset:
    """Images [channels, H, W] float32 in [0, 1] and labels int64 []. Samples are ordered by class, then by file name.

    path: a folder whose direct subfolders are the classes. Label i belongs to `classes[i]`, the sorted subfolder names. Images
        are the files directly in a class's folder with one of SUFFIXES. Names that begin with a dot are ignored.
    size, channels: as for `decoded`, which reads the files.

    Raises MissingError for a missing folder. Raises DataError for a folder without classes and for a class without images.
    Reading a sample raises DataError, which names the file, if the image can not be decoded.
    """

    def __init__(self, path: str, size: Sequence[int], channels: int = 3):
        root = Path(path).expanduser()
        if not root.is_dir():
            raise MissingError(path, "not a folder" if root.exists() else "no such folder")
        self.classes = tuple(name for name in _visible(root) if (root / name).is_dir())
        if not self.classes:
            raise DataError(f"{path}: no subfolders; put the images of each class into a subfolder named after it")
        self.size = (int(size[0]), int(size[1]))
        self.channels = channels
        self.samples: list[tuple[Path, int]] = []
        for label, name in enumerate(self.classes):
            images = [root / name / file for file in _visible(root / name) if file.lower().endswith(SUFFIXES)]
            images = [image for image in images if not image.is_dir()]
            if not images:
                raise DataError(f"{root / name}: no image of class '{name}' ({', '.join(SUFFIXES)})")
            self.samples += [(image, label) for image in images]

    @property
    def labels(self) -> list[int]:
        """The label of each sample."""
        return [label for _, label in self.samples]

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.int64]:
        path, label = self.samples[index]
        return decoded(path, self.size, self.channels), np.int64(label)


def _visible(folder: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise DataError(f"{folder}: {one_line(error)}") from error
