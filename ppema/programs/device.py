"""Chooses the device of a run, and whether it uses oneDNN's kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import paddle

from ppema.config import Config
from ppema.errors import ConfigError, SetupError
from ppema.ir import backend
from ppema.ranks import launched_gpu, launched_ranks


def place_of(device: str) -> Any:
    """The paddle place for "auto" (a GPU if there is one), "cpu", "gpu" or "gpu:N".

    "gpu" is the first one, and in a job of several ranks the one that the launcher gave this rank. Raises SetupError for a
    missing GPU, since an Executor there would end the whole process, and for "gpu:N" if several ranks would share it.
    """
    gpus = paddle.device.cuda.device_count() if paddle.is_compiled_with_cuda() else 0
    if device == "cpu" or (device == "auto" and not gpus):
        return paddle.CPUPlace()
    number = device.partition(":")[2]
    if number and launched_ranks().local_size > 1:
        raise SetupError(f"runtime.device: {device}: all ranks of this machine would share this GPU; use device: gpu")
    index = int(number) if number else launched_gpu()
    if index >= gpus:
        reason = f"this machine has {gpus}" if paddle.is_compiled_with_cuda() else "the installed paddle is a CPU build"
        raise SetupError(f"runtime.device: {device}: there is no such GPU: {reason}; use device: cpu or auto")
    return paddle.CUDAPlace(index)


def device_name(device: str) -> str:
    """`place_of(device)` in words: "cpu", or "gpu:0" with the name of the GPU. Raises SetupError as that does."""
    place = place_of(device)
    if isinstance(place, paddle.CPUPlace):
        return "cpu"
    index = place.get_device_id()
    return f"gpu:{index} {paddle.device.cuda.get_device_name(index)}"


@dataclass(frozen=True)
class Onednn:
    """Whether a run uses oneDNN. why: the reason in words if it does not, else ""."""

    used: bool
    why: str = ""


def onednn_of(config: Config, place: Any) -> Onednn:
    """Decide `runtime.onednn` for the paddle place `place`. Raises ConfigError for "on" if oneDNN can not be used."""
    wanted = config.runtime.onednn
    if wanted == "off":
        return Onednn(False, "turned off by runtime.onednn")
    hindrance = backend().onednn_hindrance() if isinstance(place, paddle.CPUPlace) else "it computes on CPUs only"
    if hindrance is not None and wanted == "on":
        with config.at("runtime"):
            raise ConfigError.of(f"oneDNN can not be used: {hindrance}; use auto or off", "onednn")
    return Onednn(hindrance is None, hindrance or "")


def check_precision(config: Config, place: Any) -> None:
    """Raises ConfigError if training can not compute in `runtime.precision` on the paddle place `place`."""
    precision = config.runtime.precision
    if precision == "float32":
        return
    with config.at("runtime"):
        if isinstance(place, paddle.CPUPlace):
            raise ConfigError.of(
                f"{precision} needs a GPU: on a CPU, Paddle lacks most kernels of half types; use float32", "precision"
            )
        supports = {"bfloat16": paddle.amp.is_bfloat16_supported, "float16": paddle.amp.is_float16_supported}[precision]
        device = f"gpu:{place.get_device_id()}"
        if not supports(device):
            raise ConfigError.of(f"{device} can not compute in {precision}: use float32", "precision")
