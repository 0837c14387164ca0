"""The table in docs/post-hoc.md: averages built from snapshots against the same averages tracked in training.

    python docs/experiments/posthoc_table.py

Trains configs/digits_posthoc.yml twice on one thread, into runs/posthoc: once with snapshots of its two averages, once with
the averages to compare with, whose raw weights are the same, bit for bit. Prints the table; what is trained already is
trained no more.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# In place of this folder.
sys.path[0] = str(ROOT)

import numpy as np  # noqa: E402

from ppema.config import load_config  # noqa: E402
from ppema.environment import choose_threads, load_paddle  # noqa: E402

# By the name of the average that is tracked: what it is.
LENGTHS = {
    "w03": ("sigma_rel", "0.03"),
    "w07": ("sigma_rel", "0.07"),
    "w15": ("sigma_rel", "0.15"),
    "w20": ("sigma_rel", "0.20"),
    "h05": ("half_life", "0.5 epochs"),
    "h2": ("half_life", "2 epochs"),
}
EPOCHS = 32
COUNTS = (8, 16, 32)


def trained(folder: str, *overrides: str):
    """The config of the run in runs/posthoc/<folder>, once it is over."""
    from ppema.training.loop import train

    common = [f"output=runs/posthoc/{folder}", "runtime.threads=1", f"train.epochs={EPOCHS}"]
    config = load_config(ROOT / "configs/digits_posthoc.yml", [*common, *overrides])
    train(config)
    return config


def main() -> None:
    choose_threads(1)
    load_paddle()
    from ppema.checkpoint.paths import checkpoints_of
    from ppema.posthoc.combine import PostHoc
    from ppema.posthoc.lengths import parse
    from ppema.posthoc.snapshots import snapshots_of

    direct = ", ".join(f"{name}: {{{kind}: {text}}}" for name, (kind, text) in LENGTHS.items())
    snapshots = snapshots_of(trained("snapshots")).until(None)
    checkpoint = checkpoints_of(
        trained("direct", f"averages={{{direct}}}", "train.snapshot_every=null", "train.monitor=raw/loss")
    ).find("last")
    assert [each.step for each in snapshots][-1] == checkpoint.manifest.state.step
    raw = checkpoint.weights("raw")
    # Weights, biases, γ and β: without BatchNorm's statistics, whose scale is another.
    names = [name for name in raw if name.endswith((".w_0", ".b_0"))]

    def distance(a, b) -> float:
        """‖a - b‖/‖b‖ over all of them."""
        first, second = (np.concatenate([np.ravel(each[name]).astype("float64") for name in names]) for each in (a, b))
        return float(np.linalg.norm(first - second) / np.linalg.norm(second))

    print("| average | raw weights | nearer of the two | " + " | ".join(f"{count} snapshots" for count in COUNTS) + " |")
    print("|---" * (3 + len(COUNTS)) + "|")
    for name, (kind, text) in LENGTHS.items():
        (length,) = parse(kind, name, text, snapshots[-1].horizon)
        wanted = checkpoint.weights(name)
        cells = [
            f"{distance(raw, wanted):.3f}",
            f"{min(distance(snapshots[-1].average(t), wanted) for t in ('narrow', 'wide')):.3f}",
        ]
        for count in COUNTS:
            every = len(snapshots) // count
            built = PostHoc(snapshots[every - 1 :: every]).build(length.shape, str(length))
            cells.append(f"{distance(built.arrays, wanted):.1e} ({built.error:.1e})")
        print(f"| {kind} {text} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
