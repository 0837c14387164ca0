"""Paddle in a separate process, without ppema except for the class of a model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
# The model of configs.CNN; its BatchNorm has other statistics than the initial ones.
_MODEL = """
import json, sys, zlib
import numpy as np
import paddle
from ppema.models import CNN

paddle.seed(7)
"""
_SAVE_DYNAMIC = """
model = CNN(1, 3, [4])
model(paddle.randn([16, 1, 8, 8]))
paddle.save(model.state_dict(), sys.argv[1], protocol=int(sys.argv[2]))
np.savez(sys.argv[1] + ".npz", **{name: value.numpy() for name, value in model.state_dict().items()})
"""
_STATIC = """
paddle.enable_static()
images = paddle.static.data("images", [-1, 1, 8, 8], "float32")
model = CNN(1, 3, [4])
model.eval()
logits = model(images)
exe, main = paddle.static.Executor(), paddle.static.default_main_program()
exe.run(paddle.static.default_startup_program())
"""
_SAVE_STATIC = """
paddle.static.save(main, sys.argv[1].removesuffix(".pdparams"), protocol=int(sys.argv[2]))
names = [value.name for value in model.state_dict().values()]
scope = paddle.static.global_scope()
np.savez(sys.argv[1] + ".npz", **{name: np.array(scope.find_var(name).get_tensor()) for name in names})
"""
_PREDICT_DYNAMIC = """
model = CNN(1, 3, [4])
model.eval()
state = paddle.load(sys.argv[1])
table = paddle.load(sys.argv[1], keep_name_table=True)["StructuredToParameterName@@"]
missing, unexpected = model.set_state_dict(state)
with paddle.no_grad():
    predicted = model(paddle.to_tensor(np.load(sys.argv[2]))).numpy()
np.save(sys.argv[3], predicted)
print(json.dumps([missing, unexpected, table]))
"""
_PREDICT_STATIC = """
paddle.static.set_program_state(main, paddle.static.load_program_state(sys.argv[1]))
np.save(sys.argv[3], exe.run(main, feed={"images": np.load(sys.argv[2])}, fetch_list=[logits])[0])
"""


def paddle_alone(code: str, *arguments: object, python: str = sys.executable) -> str:
    """Run `code` by `python` in a separate process, and return its output."""
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [python, "-W", "ignore", "-c", _MODEL + code, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def save_dynamic(file: Path, protocol: int = 4, python: str = sys.executable) -> None:
    """Save a model in dynamic mode with `paddle.save`, and its arrays, by place, in <file>.npz."""
    paddle_alone(_SAVE_DYNAMIC, file, protocol, python=python)


def save_static(file: Path, protocol: int = 4, python: str = sys.executable) -> None:
    """Save the model's program with `paddle.static.save`, and its arrays, by variable's name, in <file>.npz."""
    paddle_alone(_STATIC + _SAVE_STATIC, file, protocol, python=python)


def predict_dynamic(file: Path, images: Path, to: Path, python: str = sys.executable) -> list:
    """Write the model's logits with the weights in `file`. Returns missing names, unexpected names, and the file's table."""
    return json.loads(paddle_alone(_PREDICT_DYNAMIC, file, images, to, python=python).splitlines()[-1])


def predict_static(file: Path, images: Path, to: Path, python: str = sys.executable) -> None:
    """Write the logits of the static program with the weights in `file`."""
    paddle_alone(_STATIC + _PREDICT_STATIC, file, images, to, python=python)
