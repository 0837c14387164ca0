"""A script with several runs in one job goes on after errors that it handles. Real processes, under Paddle's launcher."""

from __future__ import annotations

import pytest
from support.launched import launch

SCRIPT = """
import atexit, signal, sys, time
from ppema.environment import choose_threads, load_paddle
choose_threads(1)
paddle = load_paddle()
from ppema.distributed.world import joined
from ppema.errors import DivergedError

atexit.register(print, "the end of the script", flush=True)

def results():
    world = joined(paddle.CPUPlace())
    with world.answering():
        for number in range(9):
            yield world.gather(bytes([number]), "the next results")
    world.close()

try:
    world = joined(paddle.CPUPlace())
    with world.answering():
        world.enter("running step 3", "slow")
        time.sleep(world.ranks.rank)
        raise DivergedError("the loss is nan")
except DivergedError as error:
    print("handled", error, flush=True)
time.sleep(3)
for found in results():
    assert found == [b"\\0", b"\\0"]
    break
del found
if world.ranks.first:
    time.sleep(2)
world = joined(paddle.CPUPlace())
begin = time.monotonic()
for _ in range(200):
    world.meet("step 3")
milliseconds = 5 * (time.monotonic() - begin)
world.close()
print("by signal", signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, flush=True)
open(f"meeting{world.ranks.rank}.txt", "w").write(str(milliseconds))
kept = results()
next(kept)  # the script ends within the run
"""


@pytest.mark.campaign
def test_a_script_goes_on_after_its_errors(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    job = launch(2, [str(tmp_path / "script.py")], cwd=tmp_path)
    assert job.code == 0, job.outputs
    assert job.outputs == ("handled the loss is nan\nby signal True\nthe end of the script\n",) * 2
