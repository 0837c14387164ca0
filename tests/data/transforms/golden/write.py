"""Writes torchvision.npz: what torchvision makes of the images of support.transforms. Run it where torchvision is installed.

PYTHONPATH=tests:. python tests/data/transforms/golden/write.py
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from support.transforms import images
from torchvision.transforms import InterpolationMode, RandAugment, autoaugment  # pyright: ignore[reportMissingImports]
from torchvision.transforms import functional as F  # noqa: N812  # pyright: ignore[reportMissingImports]

BATCH = torch.from_numpy(images(n=2))
NEAREST, BILINEAR = InterpolationMode.NEAREST, InterpolationMode.BILINEAR


def main() -> None:
    found = {
        "pad": F.pad(BATCH, [1, 2, 3, 0], fill=0.5),
        "reflect": F.pad(BATCH, [2, 1], padding_mode="reflect"),
        "symmetric": F.pad(BATCH, [3], padding_mode="symmetric"),
        "edge": F.pad(BATCH, [3], padding_mode="edge"),
        "center_crop": F.center_crop(BATCH, [10, 4]),
        "resize_down": F.resize(BATCH, [4, 5], antialias=True),
        "resize_plain": F.resize(BATCH, [4, 5], antialias=False),
        "resize_up": F.resize(BATCH, [12, 20]),
        "resize_shorter": F.resize(BATCH, [5]),
        "resize_nearest": F.resize(BATCH, [5, 13], InterpolationMode.NEAREST_EXACT),
        "resized_crop": F.resized_crop(BATCH, 1, 2, 5, 6, [4, 4], antialias=True),
        "rotate": F.rotate(BATCH, 33, NEAREST, center=[3, 5]),
        "affine": F.affine(BATCH, 25, [2, -1], 1.2, [10, -15], NEAREST),
        "affine_inside": F.affine(BATCH, 8, [0, 0], 2.0, [5, 0], BILINEAR),
        "brightness": F.adjust_brightness(BATCH, 1.4),
        "contrast": F.adjust_contrast(BATCH, 0.3),
        "saturation": F.adjust_saturation(BATCH, 1.7),
        "hue": F.adjust_hue(BATCH, -0.3),
        "grey": F.rgb_to_grayscale(BATCH, 3),
        "normalize": F.normalize(BATCH, [0.4, 0.5, 0.6], [0.2, 0.3, 0.4]),
    }
    size = (BATCH.shape[2], BATCH.shape[3])
    for name, (strengths, signed) in RandAugment()._augmentation_space(31, size).items():
        of_bytes = name in ("Posterize", "Equalize", "Solarize")
        batch = torch.round(BATCH * 255).to(torch.uint8) if of_bytes else BATCH
        strength = float(strengths[9].item()) if strengths.ndim else 0.0
        made = autoaugment._apply_op(batch, name, -strength if signed else strength, NEAREST, [0.0] * 3)
        found[name] = made.float() / 255 if of_bytes else made
    np.savez_compressed(Path(__file__).with_name("torchvision.npz"), **{name: each.numpy() for name, each in found.items()})


if __name__ == "__main__":
    main()
