"""The device of a process: which GPU, alone and as one of the launcher's ranks. The GPUs are imaginary."""

from __future__ import annotations

import paddle
import pytest
from support.configs import config

from ppema.errors import SetupError
from ppema.programs.device import check_precision, device_name, place_of


class Place:
    """What Paddle 2.6 and 3 have of a CUDAPlace in a build for GPUs."""

    def __init__(self, number: int):
        self._number = number

    def get_device_id(self) -> int:
        return self._number


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setattr(paddle, "is_compiled_with_cuda", lambda: True)
    monkeypatch.setattr(paddle, "CUDAPlace", Place)
    monkeypatch.setattr(paddle.device.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(paddle.device.cuda, "get_device_name", lambda number: f"card {number}")


def test_the_gpu_of_a_process(two_gpus):
    assert [device_name(each) for each in ("auto", "gpu", "gpu:1", "cpu")] == [
        "gpu:0 card 0",
        "gpu:0 card 0",
        "gpu:1 card 1",
        "cpu",
    ]
    with pytest.raises(SetupError, match="gpu:2: there is no such GPU: this machine has 2"):
        place_of("gpu:2")


def test_each_rank_has_the_gpu_that_the_launcher_gave_it(two_gpus, monkeypatch):
    """With --devices 1,0 it is not the number of the rank."""
    variables = {"PADDLE_TRAINER_ID": 0, "PADDLE_TRAINERS_NUM": 2, "PADDLE_LOCAL_RANK": 0, "PADDLE_LOCAL_SIZE": 2}
    for name, value in {**variables, "FLAGS_selected_gpus": 1}.items():
        monkeypatch.setenv(name, str(value))
    assert device_name("auto") == device_name("gpu") == "gpu:1 card 1"
    with pytest.raises(SetupError, match="gpu:0: all ranks of this machine would share this GPU; use device: gpu"):
        place_of("gpu:0")


def test_whether_a_gpu_has_a_precision(two_gpus, monkeypatch):
    asked = []
    monkeypatch.setattr(paddle.amp, "is_bfloat16_supported", lambda device: asked.append(device) or True)
    check_precision(config("runtime.precision=bfloat16"), place_of("gpu:1"))
    assert asked == ["gpu:1"]
