"""Print the mean and the gradient of torch's losses on the inputs below: torch.json.

    python tests/losses/record_torch.py > tests/losses/torch.json

in a Python with torch. The tests do not need it.
"""

from __future__ import annotations

import json

import numpy as np

rng = np.random.default_rng(0)
LOGITS = np.round(rng.normal(size=(6, 4)) * 3, 3).astype("float32")
MAPS = np.ascontiguousarray(LOGITS.reshape(2, 3, 2, 2))
NUMBERS = np.round(rng.normal(size=(6, 4)), 3).astype("float32")
LABELS = np.array([0, 3, 1, 2, 2, 1])
PIXELS = np.array([[[0, 2], [255, 1]], [[1, 1], [255, 0]]])
YES = np.array([[0, 1, 1, 0]] * 3 + [[1, 1, 0, 0]] * 3)

# Our name and arguments; predictions and targets; torch's name and arguments.
CASES = [
    ("cross_entropy", {}, "LOGITS", "LABELS", "CrossEntropyLoss", {}),
    ("cross_entropy", {"class_weights": [1, 2, 0.5, 3]}, "LOGITS", "LABELS", "CrossEntropyLoss", {"weight": [1, 2, 0.5, 3]}),
    (
        "cross_entropy",
        {"class_weights": [1, 2, 0.5, 3], "ignore_index": 2, "label_smoothing": 0.1},
        "LOGITS",
        "LABELS",
        "CrossEntropyLoss",
        {"weight": [1, 2, 0.5, 3], "ignore_index": 2, "label_smoothing": 0.1},
    ),
    (
        "cross_entropy",
        {"class_weights": [1, 2, 0.5], "ignore_index": 255, "axis": 1},
        "MAPS",
        "PIXELS",
        "CrossEntropyLoss",
        {"weight": [1, 2, 0.5], "ignore_index": 255},
    ),
    (
        "binary_cross_entropy",
        {"pos_weight": [1, 2, 0.5, 3]},
        "LOGITS",
        "YES",
        "BCEWithLogitsLoss",
        {"pos_weight": [1, 2, 0.5, 3]},
    ),
    ("smooth_l1", {"beta": 0.5}, "LOGITS", "NUMBERS", "SmoothL1Loss", {"beta": 0.5}),
    ("huber", {"delta": 0.5}, "LOGITS", "NUMBERS", "HuberLoss", {"delta": 0.5}),
    ("mae", {}, "LOGITS", "NUMBERS", "L1Loss", {}),
    ("mse", {}, "LOGITS", "NUMBERS", "MSELoss", {}),
]


def recorded() -> list[dict[str, object]]:
    """The mean and its gradient, for each case."""
    import torch

    found = []
    for _, _, predictions, targets, theirs, args in CASES:
        p = torch.tensor(globals()[predictions], requires_grad=True)
        t = torch.tensor(globals()[targets])
        args = {
            key: torch.tensor(value, dtype=torch.float32) if isinstance(value, list) else value for key, value in args.items()
        }
        t = t.float() if targets == "YES" else t
        loss = getattr(torch.nn, theirs)(**args)(p, t)
        loss.backward()
        found.append({"torch": torch.__version__, "loss": theirs, "mean": loss.item(), "gradient": p.grad.tolist()})
    return found


if __name__ == "__main__":
    print("[\n" + ",\n".join(json.dumps(each) for each in recorded()) + "\n]")
