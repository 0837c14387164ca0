"""The command `average` for the run of the fixture `copied_run`."""

from __future__ import annotations

from ppema.cli.average import main

CONFIG = ["-c", "small.yml", "-o", "output=run", "-o", "train.epochs=6", "-o", "train.monitor=wide/accuracy"]


def average(*arguments):
    return main([*CONFIG, *arguments])
