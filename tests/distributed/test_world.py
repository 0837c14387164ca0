"""The processes of a job meet, exchange and agree, also for several runs in one job."""

from __future__ import annotations

import json

import pytest
from support.launched import launch

SCRIPT = """
import json, sys, time
from ppema.environment import choose_threads, load_paddle
choose_threads(1)
paddle = load_paddle()
from ppema.distributed.world import joined
from ppema.errors import SetupError

said = {}
for turn in range(2):
    world = joined(paddle.CPUPlace())
    rank = world.ranks.rank
    for _ in range(5):
        world.meet("work")
    if rank == 1:
        time.sleep(1.5)
    begin = time.monotonic()
    world.meet("more work")
    said[f"waited {turn}"] = time.monotonic() - begin
    said[f"gathered {turn}"] = [each.decode() for each in world.gather(b"x" * (10 * rank + turn), "data")]
    said[f"first {turn}"] = world.from_first(f"of rank {rank}".encode(), "data").decode()
    world.agree({"samples": 3}, "facts")
    try:
        world.agree({"samples": 3, "steps": rank}, "facts")
    except SetupError as error:
        said[f"error {turn}"] = str(error)
    world.close()
open(f"{sys.argv[1]}/{rank}.json", "w").write(json.dumps(said))
"""


@pytest.mark.campaign
def test_ranks_meet_and_exchange_in_each_run_of_a_job(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    job = launch(3, [str(tmp_path / "script.py"), str(tmp_path)], cwd=tmp_path)
    assert job.code == 0, job.outputs
    for rank in range(3):
        said = json.loads((tmp_path / f"{rank}.json").read_text())
        for turn in range(2):
            assert rank == 1 or said[f"waited {turn}"] > 1
            assert said[f"gathered {turn}"] == ["x" * (10 * each + turn) for each in range(3)]
            assert said[f"first {turn}"] == "of rank 0"
            assert said[f"error {turn}"].startswith("steps differs between the ranks: it is 0 on rank 0 and 1 on rank 1")
