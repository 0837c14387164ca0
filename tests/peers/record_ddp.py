"""Train the runs of `support.ddp_cases` with torch's DistributedDataParallel, and print what they become: recorded_ddp.json.

    PYTHONPATH=tests python tests/peers/record_ddp.py > tests/peers/recorded_ddp.json

in a Python with torch. The test needs none. Weights are float64, so that the record is exact in each digit of float32.

DDP takes the mean over ranks of their gradients. A rank's loss is therefore multiplied by the number of ranks, and divided by
the weight of the whole step: the step is then that of one process. Without this, a step with uneven parts or class weights has
another gradient.
"""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from support.ddp_cases import CASES, CLASSES, FEATURES, RANKS, WIDTH, DdpCase, first_weights, micro_batches, part, samples_of
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

OPTIMIZERS = {
    "SGD": torch.optim.SGD,
    "Momentum": lambda *given, **named: torch.optim.SGD(*given, momentum=0.9, **named),
    "AdamW": torch.optim.AdamW,
}


class BatchNorm(nn.Module):
    """With the running variance of Paddle, which torch's own divides by n - 1."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(WIDTH)), nn.Parameter(torch.zeros(WIDTH))
        self.register_buffer("_mean", torch.zeros(WIDTH))
        self.register_buffer("_variance", torch.ones(WIDTH))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean, variance = x.mean(0), x.var(0, correction=0)
        self._mean.lerp_(mean.detach(), 0.1)
        self._variance.lerp_(variance.detach(), 0.1)
        return (x - mean) / torch.sqrt(variance + 1e-5) * self.weight + self.bias


class Net(nn.Module):
    def __init__(self, case: DdpCase):
        super().__init__()
        self.first, self.last = nn.Linear(FEATURES, WIDTH), nn.Linear(WIDTH, CLASSES)
        self.norm = BatchNorm() if case.norm else nn.Identity()
        self.load_state_dict({name: torch.tensor(array.T, dtype=torch.float64) for name, array in first_weights(case).items()})

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.tanh(self.norm(self.first(x))))


def trained(case: DdpCase, rank: int) -> dict[str, nn.Module]:
    """The model and its averages."""
    net = Net(case)
    ddp = DistributedDataParallel(net, broadcast_buffers=False)
    optimizer = OPTIMIZERS[case.optimizer](net.parameters(), lr=case.lr, weight_decay=case.weight_decay)
    averages = {
        "ema": AveragedModel(net, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True),
        "swa": AveragedModel(net, use_buffers=True),
    }
    x, y = (torch.tensor(each) for each in samples_of(case))
    x, weights = x.double(), torch.tensor(case.class_weights or [1.0] * CLASSES)
    for step in micro_batches(case):
        optimizer.zero_grad()
        whole = np.concatenate(step)
        for index, batch in enumerate(step):
            own = part(batch, rank)
            with ddp.no_sync() if index + 1 < len(step) else nullcontext():
                # A rank without samples takes part in the sum, with a gradient of zero.
                values = nn.functional.cross_entropy(ddp(x[own]), y[own], weights, reduction="sum")
                (values * RANKS / weights[y[whole]].sum()).backward()
        for statistic in net.buffers():
            statistic *= sum(len(part(batch, rank)) for batch in step) / len(whole)
            distributed.all_reduce(statistic)
        if case.clip_norm is not None:
            nn.utils.clip_grad_norm_(net.parameters(), case.clip_norm)
        optimizer.step()
        for average in averages.values():
            average.update_parameters(net)
    return {"raw": net, **{name: average.module for name, average in averages.items()}}


def numbers(net: nn.Module) -> dict[str, list]:
    """float32 by name, in the order of Paddle's axes."""
    arrays = {name: value.numpy().T.astype("float32") for name, value in net.state_dict().items()}
    return {name: [float(str(each)) for each in array.flat] for name, array in arrays.items()}


def rank_main(rank: int, meeting: str) -> None:
    torch.set_default_dtype(torch.float64)
    distributed.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=RANKS)
    found = {name: {kind: numbers(net) for kind, net in trained(case, rank).items()} for name, case in CASES.items()}
    if rank == 0:
        runs = ",\n".join(
            f'  "{name}": {{\n' + ",\n".join(f'   "{kind}": {json.dumps(values)}' for kind, values in kinds.items()) + "\n  }"
            for name, kinds in found.items()
        )
        print(f'{{\n "torch": "{torch.__version__}",\n "runs": {{\n{runs}\n }}\n}}', flush=True)
    distributed.destroy_process_group()


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    with TemporaryDirectory() as folder:
        torch.multiprocessing.spawn(rank_main, (str(Path(folder) / "meeting"),), nprocs=RANKS)
