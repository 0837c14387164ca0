"""Runs on data with bad batches."""

from __future__ import annotations

import numpy as np

from support.configs import blobs, data_section, loader

SECTIONS = {
    "averages": "{ema: {decay: 0.9}, quick: {decay: 0.99, thres_steps: true, update_every: 3, precision: compensated}}",
    "train": "{epochs: 3, log_every: 5 steps, eval_every: 100 %, save_every: 100 %}",
}


def bad_batches(folder, *bad, value=np.nan):
    """48 samples in 6 batches; those in `bad` have a `value`. Returns a function that loads the config of runs on them."""
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(48, 1, 8, 8)).astype("float32"), rng.integers(0, 3, 48)
    for batch in bad:
        images[8 * batch + 3, 0, 2, 5] = value
    np.savez(folder / "data.npz", images=images, labels=labels)
    npz = f"{{name: npz, path: {folder / 'data.npz'}, inputs: [images], target: labels, batch_size: 8}}"
    return loader(folder, data=data_section(npz, blobs("samples: 8, batch_size: 8", "test")), **SECTIONS)
