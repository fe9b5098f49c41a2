"""The GPU of this machine, as the protocols of latency ask for it (`vevolve.evaluators.latency`).

Where there is none, nothing is timed, and no figure stands in for a time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import time
from collections.abc import Callable, Generator
from typing import Any

from vevolve.errors import SandboxUnavailable, VEvolveError
from vevolve.evaluators.latency import Device
from vevolve.kernels.timing_figures import Roofline
from vevolve.sandbox import Limits, Sandbox, profiles

LIMITS = Limits(memory_bytes=16 << 30, call_s=60, total_s=600, candidate_s=600)
"""A candidate is handed caches of a gigabyte."""
READ_GIGABYTES = 8
"""Read to find the rate of the memory; fewer where fewer are free."""
PAUSE_S = 0.5
"""Between two tries for a device that another process times on."""


def absent() -> str:
    """Why nothing can be timed here, in a few words; "" where a GPU is."""
    if not profiles.gpus():
        return "no NVIDIA GPU here: no /dev/nvidia0 with /dev/nvidiactl and /dev/nvidia-uvm"
    try:
        import torch
    except ImportError as error:
        return f"PyTorch cannot be imported: {error}"
    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} here cannot use the GPU"
    from vevolve.kernels import timing_device

    try:
        timing_device.conditions()
    except VEvolveError as error:
        return str(error).rstrip(".")
    return ""


def name() -> str:
    """What the driver calls the GPU. Raises `SandboxUnavailable` where there is none."""
    return str(_conditions()["name"])


def gpu(
    limits: Limits = LIMITS, allow_degraded: bool = False, waiting: Callable[[str], object] = lambda _: None
) -> Device:
    """This machine's first GPU. It is held only while something is timed.

    Args:
        limits: of candidates' processes.
        allow_degraded: go on where the sandbox is below its minimum level.
        waiting: told once, in words, where it has to wait for another process that times.

    Raises:
        SandboxUnavailable: there is none, or another than the one that PyTorch uses.
    """
    if why := absent():
        raise SandboxUnavailable(f"Latency cannot be measured: {why}.")
    import torch

    from vevolve.sandbox.compiler import Compiler

    profile, found = profiles.gpu(profiles.gpus()[0]), _conditions()
    properties: Any = torch.cuda.get_device_properties(0)
    if not found["uuid"].endswith(str(properties.uuid)):
        raise SandboxUnavailable(
            f"Latency cannot be measured: the driver's first GPU is {found['uuid']}, PyTorch's GPU-{properties.uuid}; "
            "leave CUDA_VISIBLE_DEVICES unset, or hide all but one."
        )
    sandbox = functools.partial(Sandbox, "torch", limits, allow_degraded=allow_degraded)
    return Device(
        on_device=functools.partial(sandbox, profile=profile),
        on_cpu=sandbox,
        compiler=Compiler,
        alone=functools.partial(_alone, found["uuid"], waiting),
        capability=10 * properties.major + properties.minor,
        quiet=lambda: _quiet()(),
        roofline=_roofline,
        conditions=_told,
    )


@functools.cache
def _quiet() -> Callable[[], float]:
    from vevolve.kernels.timing_device import Quiet

    return Quiet()


@functools.cache
def _roofline() -> Roofline:
    import torch

    from vevolve.kernels import timing_device

    free, _ = torch.cuda.mem_get_info()
    found = timing_device.roofline(gigabytes=max(1, min(READ_GIGABYTES, free >> 31)))
    torch.cuda.empty_cache()
    return found


@contextlib.contextmanager
def _alone(uuid: str, waiting: Callable[[str], object]) -> Generator[None, None, None]:
    """Hold the GPU. Raises `SandboxUnavailable` where it has no memory left for what this process does on it."""
    import torch

    from vevolve.kernels import timing_device

    with contextlib.ExitStack() as held:
        said = False
        while True:
            try:
                held.enter_context(timing_device.alone(uuid))
            except VEvolveError as error:
                if not said:
                    waiting(f"Waiting for the GPU. {error}")
                said = True
                time.sleep(PAUSE_S)
            else:
                break
        try:
            yield
        except torch.OutOfMemoryError as error:
            told = str(error).partition(". ")[0]
            raise SandboxUnavailable(f"Latency cannot be measured: {told}. Others may be using the GPU.") from error


def _told() -> dict[str, str]:
    from vevolve.kernels import timing_device

    beside = timing_device.others(0, {os.getpid()})
    return {
        **_conditions(),
        "read_tb_s": f"{_roofline().measured / 1e12:.3f}",
        "others": "; ".join(beside) or "none told of",
    }


def _conditions() -> dict[str, str]:
    from vevolve.kernels import timing_device

    try:
        return timing_device.conditions()
    except VEvolveError as error:
        raise SandboxUnavailable(f"Latency cannot be measured: {error}") from error
