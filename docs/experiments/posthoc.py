"""The table in docs/post-hoc.md: post-hoc averages against the same averages tracked in training.

    python docs/experiments/posthoc.py

Trains configs/digits_posthoc.yml on one thread, with the averages to compare with tracked beside it, into runs/posthoc; prints
the table. A second time it finds the run done and only compares.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402

from ppema.config import load_config  # noqa: E402
from ppema.environment import choose_threads, load_paddle  # noqa: E402

WIDTHS = {"w03": 0.03, "w07": 0.07, "w15": 0.15, "w20": 0.20}
HALF_LIVES = {"h05": "0.5 epochs", "h2": "2 epochs"}
OVERRIDES = [
    "output=runs/posthoc",
    "runtime.threads=1",
    "train.epochs=32",
    "train.snapshot_every=1 epoch",
    *(f"averages.{name}={{sigma_rel: {width}}}" for name, width in WIDTHS.items()),
    *(f"averages.{name}={{half_life: {length}}}" for name, length in HALF_LIVES.items()),
]
TRACKED = ("narrow", "wide")


def main() -> None:
    config = load_config(ROOT / "configs/digits_posthoc.yml", OVERRIDES)
    choose_threads(config.runtime.threads)
    load_paddle()
    from ppema.run.average import PostHoc
    from ppema.run.lengths import parse
    from ppema.run.setup import checkpoints_of
    from ppema.run.snapshots import snapshots_of
    from ppema.training import train

    train(config)
    checkpoint = checkpoints_of(config).find("last")
    snapshots = [only(each, TRACKED) for each in snapshots_of(config).until(None)]
    trained = [name for name in checkpoint.weights("raw") if name.endswith((".w_0", ".b_0"))]

    def flat(weights):
        return np.concatenate([np.ravel(weights[name]).astype("float64") for name in trained])

    def apart(a, b):
        return np.linalg.norm(a - b) / np.linalg.norm(b)

    print("| average | raw weights | nearest tracked | 8 snapshots | 16 | 32 |\n|---|---|---|---|---|---|")
    for name in (*WIDTHS, *HALF_LIVES):
        kind, text = ("sigma_rel", str(WIDTHS[name])) if name in WIDTHS else ("half_life", HALF_LIVES[name])
        (length,) = parse(kind, name, text, snapshots[-1].horizon)
        direct = flat(checkpoint.weights(name))
        nearest = min(apart(flat(checkpoint.weights(tracked)), direct) for tracked in TRACKED)
        cells = [f"{apart(flat(checkpoint.weights('raw')), direct):.2g}", f"{nearest:.2g}"]
        for count in (8, 16, 32):
            built = PostHoc(snapshots[len(snapshots) // count - 1 :: len(snapshots) // count]).build(length.shape, str(length))
            cells.append(f"{apart(flat(built.arrays), direct):.1e} ({built.error:.1e})")
        print(f"| {kind} {text} | {' | '.join(cells)} |")


def only(snapshot, names):
    """The snapshot without the averages that are there to compare with."""
    averages = {name: snapshot.manifest.averages[name] for name in names}
    return type(snapshot)(snapshot.path, snapshot.manifest.model_copy(update={"averages": averages}))


if __name__ == "__main__":
    main()
