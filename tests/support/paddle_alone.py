"""Paddle in a separate process, without ppema except for the class of a model."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
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
for protocol in (2, 4):
    file = f"{sys.argv[1]}/dynamic-{protocol}.pdparams"
    paddle.save(model.state_dict(), file, protocol=protocol)
    np.savez(file + ".npz", **{name: value.numpy() for name, value in model.state_dict().items()})
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
names = [value.name for value in model.state_dict().values()]
scope = paddle.static.global_scope()
for protocol in (2, 4):
    file = f"{sys.argv[1]}/static-{protocol}"
    paddle.static.save(main, file, protocol=protocol)
    np.savez(file + ".pdparams.npz", **{name: np.array(scope.find_var(name).get_tensor()) for name in names})
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


@functools.cache
def _saved(python: str) -> Path:
    """A folder with all files that `save_dynamic` and `save_static` give, made by one process."""
    folder = tempfile.mkdtemp(prefix="ppema-tests-")
    atexit.register(shutil.rmtree, folder)
    anew = "paddle.utils.unique_name.switch()\n"  # The static model's variables have the names of a first model.
    paddle_alone(_SAVE_DYNAMIC + anew + _STATIC + _SAVE_STATIC, folder, python=python)
    return Path(folder)


def save_dynamic(file: Path, protocol: int = 4, python: str = sys.executable) -> None:
    """Save a model in dynamic mode with `paddle.save`, and its arrays, by place, in <file>.npz. protocol: 2 or 4."""
    _copied(f"dynamic-{protocol}", file, python)


def save_static(file: Path, protocol: int = 4, python: str = sys.executable) -> None:
    """Save the model's program with `paddle.static.save`, and its arrays, by variable's name, in <file>.npz."""
    _copied(f"static-{protocol}", file, python)


def _copied(name: str, file: Path, python: str) -> None:
    for each in _saved(python).glob(f"{name}.*"):
        shutil.copy(each, file.with_name(each.name.replace(name, file.stem)))


def predict_dynamic(file: Path, images: Path, to: Path, python: str = sys.executable) -> list:
    """Write the model's logits with the weights in `file`. Returns missing names, unexpected names, and the file's table."""
    return json.loads(paddle_alone(_PREDICT_DYNAMIC, file, images, to, python=python).splitlines()[-1])


def predict_static(file: Path, images: Path, to: Path, python: str = sys.executable) -> None:
    """Write the logits of the static program with the weights in `file`."""
    paddle_alone(_STATIC + _PREDICT_STATIC, file, images, to, python=python)
