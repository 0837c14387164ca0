"""What is said of a GPU and a build of Paddle."""

from __future__ import annotations

import pytest

from ppema.diagnosis.gpu_code import compared

LISTED = [(7, 5), (8, 0), (8, 6), (9, 0)]


@pytest.mark.parametrize(
    ("capability", "wheel", "listed", "result"),
    [
        # PyPI's paddlepaddle-gpu 2.6.2: a GTX 1080, a V100, a T4, an A100, an L4; but neither a P100 nor an H100 and later.
        *(((major, minor), "2.6.2", [], "ok") for major, minor in ((6, 1), (7, 0), (7, 5), (8, 0), (8, 9))),
        *(((major, minor), "2.6.2", [], "failed") for major, minor in ((5, 2), (6, 0), (9, 0), (10, 0), (12, 0))),
        # Another build of 2.6.2 is unknown.
        ((9, 0), "2.6.2.post120", [], "skipped"),
        # Paddle 3 lists for which architectures it was compiled, but not whether there is PTX.
        ((9, 0), "3.3.1", LISTED, "ok"),
        ((8, 9), None, LISTED, "ok"),
        ((6, 1), "3.3.1", LISTED, "warning"),
        ((12, 0), "3.3.1", LISTED, "warning"),
    ],
)
def test_whether_a_build_has_code_for_a_gpu(capability, wheel, listed, result):
    assert compared(capability, wheel, listed).result == result


def test_its_words():
    assert compared((9, 0), "2.6.2", []).detail == (
        "compute capability 9.0, and PyPI's paddlepaddle-gpu 2.6.2 holds code for 6.1, 7.0, 7.5, 8.0, 8.6, and no PTX: it can "
        "not run on this GPU; install a Paddle 3 from PaddlePaddle's own package index: docs/doctor.md"
    )
