"""Whether a build of Paddle holds code for a GPU. No machine of ours has a GPU: nobody has seen these lines at work."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from ppema.diagnosis.finding import Finding
from ppema.diagnosis.paddle_checks import loaded_place

Capability = tuple[int, int]
# Read from the fat binaries of PyPI's paddlepaddle-gpu 2.6.2, for CUDA 11.8. They hold no PTX, which later GPUs could compile.
PYPI_VERSION = "2.6.2"
PYPI_CODE: tuple[Capability, ...] = ((6, 1), (7, 0), (7, 5), (8, 0), (8, 6))
ADVICE = "install a Paddle 3 from PaddlePaddle's own package index: docs/doctor.md"


def code(device: str) -> Finding:
    """Compare the compute capability of the GPU with what is known of the build."""
    place = loaded_place(device)
    import paddle
    from paddle import version

    if isinstance(place, paddle.CPUPlace):
        return Finding("skipped", "the device is a CPU")
    index = place.get_device_id()
    capability = paddle.device.cuda.get_device_capability(index)
    try:
        wheel = importlib.metadata.version("paddlepaddle-gpu")
    except importlib.metadata.PackageNotFoundError:
        wheel = None
    # Paddle 3 writes down for which architectures it was compiled: 86 is 8.6. 2.6 has no such list.
    listed = getattr(version, "cuda_archs", list)() or []
    return compared(capability, wheel, [divmod(int(each), 10) for each in listed])


def compared(capability: Capability, wheel: str | None, listed: Sequence[Capability]) -> Finding:
    """The finding for a GPU of that compute capability.

    wheel: the version of the installed distribution paddlepaddle-gpu, or None. listed: what the build says that it was compiled
    for. Code for a capability runs on GPUs of the same major number, and of the same or a higher minor number.
    """
    gpu = f"compute capability {_words([capability])}"
    if wheel == PYPI_VERSION:
        known = f"PyPI's paddlepaddle-gpu {PYPI_VERSION} holds code for {_words(PYPI_CODE)}, and no PTX"
        if _runs(capability, PYPI_CODE):
            return Finding("ok", f"{gpu}; {known}")
        return Finding("failed", f"{gpu}, and {known}: it can not run on this GPU; {ADVICE}")
    if not listed:
        return Finding("skipped", f"{gpu}; this build does not say for which GPUs it was compiled: see the next row")
    known = f"the build was compiled for {_words(listed)}"
    if _runs(capability, listed):
        return Finding("ok", f"{gpu}; {known}")
    return Finding("warning", f"{gpu}, and {known}: without PTX it can not run on this GPU; {ADVICE}")


def _runs(capability: Capability, compiled: Sequence[Capability]) -> bool:
    return any(major == capability[0] and minor <= capability[1] for major, minor in compiled)


def _words(capabilities: Sequence[Capability]) -> str:
    return ", ".join(f"{major}.{minor}" for major, minor in capabilities)
