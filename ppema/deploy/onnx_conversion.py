"""ONNX from an exported program, by paddle2onnx in a process of its own, and its outputs by onnxruntime."""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ppema.environment import PROGRAM_DESC, installed_builds, release
from ppema.errors import PpemaError, SetupError, one_line, printable

SECONDS = 600  # for a conversion; a ResNet-18 takes two
_SEARCH_SECONDS = 60
CONVERTER, CONVERTER_2_6 = "2.1.0", "1.3.1"  # the versions of paddle2onnx for programs of Paddle 3 and of 2.6
_NEWEST_PYTHON = (3, 12)  # with wheels of paddle2onnx
_REASON = re.compile(r"(?:Failed to convert PaddlePaddle model: |\[ERROR\]\s*(?:\[\w+\]\s*)?|\w+Error: )(.*\w.*)")


def converter() -> str:
    """The version of paddle2onnx that reads the programs of the installed Paddle."""
    build = next(iter(installed_builds()), None)
    known = (0, 0) if build is None else release(importlib.metadata.version(build))
    return CONVERTER_2_6 if known == PROGRAM_DESC else CONVERTER


def check_installation() -> None:
    """Raises SetupError unless onnxruntime is installed, and the paddle2onnx that reads the programs of this Paddle."""
    wanted = converter()
    command = f"pip install paddle2onnx=={wanted} 'onnx>=1.16.1,<=1.17' onnxruntime"
    lacking = [name for name in ("paddle2onnx", "onnx", "onnxruntime") if find_spec(name) is None]
    if lacking and sys.version_info[:2] > _NEWEST_PYTHON:
        raise SetupError(
            f"ONNX: {lacking[0]} is not installed, and paddle2onnx has no wheel for Python {sys.version_info[0]}."
            f"{sys.version_info[1]}: export with Python 3.10 to 3.12, and there {command}"
        )
    if lacking:
        raise SetupError(f"ONNX: {lacking[0]} is not installed: {command}")
    found = importlib.metadata.version("paddle2onnx")
    if found.split(".")[0] != wanted.split(".")[0]:
        raise SetupError(f"ONNX: paddle2onnx {found} can not read the programs of the installed paddle: {command}")


def convert(program: Path, parameters: Path, to: Path, outputs: Sequence[str], seconds: float = SECONDS) -> None:
    """Write the exported program in `program`, with the weights in `parameters`, as ONNX to the file `to`.

    outputs: the names of its outputs, in order. Raises SetupError as `check_installation` does, and PpemaError if the program
    can not be converted, or not within `seconds`.
    """
    check_installation()
    tool = f"paddle2onnx {importlib.metadata.version('paddle2onnx')}"
    try:
        done = _process(seconds, program, parameters, to, *outputs)
    except subprocess.TimeoutExpired as error:
        raise PpemaError(f"ONNX: {tool} did not convert the model within {seconds:g} s: export it as paddle") from error
    if done.returncode != 0 or not to.exists():
        text = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
        if "unsupported operators" in text:
            which = _lacking(text, program, parameters)
            raise PpemaError(f"ONNX: {tool} lacks {which} of this model: build the model without it, or export it as paddle")
        raise PpemaError(f"ONNX: {tool} can not convert this model ({_reason(text)}): export it as paddle")


def _process(seconds: float, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(Path(__file__).with_name("onnx_process.py")), *map(str, arguments)]
    streams: Any = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.run(command, **streams, encoding="utf-8", errors="replace", timeout=seconds, check=False)


def _lacking(output: str, program: Path, parameters: Path) -> str:
    """The operators that paddle2onnx lacks, in words. output: of the failed conversion."""
    if named := re.search(r"operators not supported yet, including (.*\w)", output):
        return f"the operators {printable(named[1].replace(',', ', '))}" if "," in named[1] else f"the operator {named[1]}"
    try:
        done = _process(_SEARCH_SECONDS, program, parameters)
    except subprocess.TimeoutExpired:
        return "an operator"
    return f"the operator {printable(done.stdout.split()[-1])}" if done.returncode == 0 else "an operator"


def _reason(output: str) -> str:
    """The last reason for a failure in `output`."""
    reasons = _REASON.findall(output) or [line for line in output.splitlines() if line.strip()] or ["it printed no reason"]
    return printable(reasons[-1].strip())


class OnnxModel:
    """The model of an ONNX file, run by onnxruntime on the CPU. outputs: their names, in order."""

    def __init__(self, file: Path):
        """Raises PpemaError for a file that onnxruntime can not load."""
        import onnxruntime  # pyright: ignore[reportMissingImports]

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors only
        try:
            self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's own classes have no common base
            raise PpemaError(f"{file}: onnxruntime can not load it: {one_line(error)}") from error
        self.outputs = tuple(each.name for each in self._session.get_outputs())

    def run(self, feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs, in order, for the inputs by name. Raises PpemaError if onnxruntime fails on them."""
        try:
            return [np.asarray(each) for each in self._session.run(None, dict(feed))]
        except Exception as error:
            raise PpemaError(f"onnxruntime can not run the model: {one_line(error)}") from error
