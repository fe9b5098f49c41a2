"""The GPU of this machine, held alone, as the protocols of latency ask for it (`vevolve.evaluators.latency`).

Where there is none, nothing is timed, and no figure stands in for a time.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Generator
from typing import Any

from vevolve.errors import SandboxUnavailable, VEvolveError
from vevolve.evaluators.latency import Device
from vevolve.sandbox import Limits, Sandbox, profiles

LIMITS = Limits(memory_bytes=16 << 30, call_s=60, total_s=600, candidate_s=600)
"""A candidate is handed caches of a gigabyte."""
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
    return ""


def name() -> str:
    """What the driver calls the GPU. Raises `SandboxUnavailable` where there is none."""
    return str(_conditions()["name"])


@contextlib.contextmanager
def gpu(
    limits: Limits = LIMITS, allow_degraded: bool = False, waiting: Callable[[str], object] = lambda _: None
) -> Generator[Device, None, None]:
    """This machine's GPU, held against all other timings; waits while another process holds it.

    Args:
        limits: of candidates' processes.
        allow_degraded: go on where the sandbox is below its minimum level.
        waiting: told once, in words, where it has to wait.

    Raises:
        SandboxUnavailable: there is none, or candidates cannot be contained on it.
    """
    if why := absent():
        raise SandboxUnavailable(f"Latency cannot be measured: {why}.")
    profile = profiles.gpu(profiles.gpus()[0])
    before = _conditions()
    with contextlib.ExitStack() as held:
        _hold(held, before["uuid"], waiting)
        import torch

        from vevolve.kernels import timing_device
        from vevolve.sandbox.compiler import Compiler

        properties: Any = torch.cuda.get_device_properties(0)
        if not before["uuid"].endswith(str(properties.uuid)):
            raise SandboxUnavailable(
                f"Latency cannot be measured: the driver's first GPU is {before['uuid']}, PyTorch's GPU-"
                f"{properties.uuid}; leave CUDA_VISIBLE_DEVICES unset, or hide all but one."
            )
        beside = timing_device.others(0, ())
        roofline = timing_device.roofline()
        torch.cuda.empty_cache()
        major, minor = torch.cuda.get_device_capability()
        sandbox = functools.partial(Sandbox, "torch", limits, allow_degraded=allow_degraded)
        told = {"read_tb_s": f"{roofline.measured / 1e12:.3f}", "beside": "; ".join(beside) or "none known"}
        yield Device(
            on_device=functools.partial(sandbox, profile=profile),
            on_cpu=sandbox,
            compiler=Compiler,
            capability=10 * major + minor,
            quiet=timing_device.Quiet(),
            roofline=roofline,
            conditions=lambda: _conditions() | told | {"clocks.sm before": before["clocks.sm"]},
        )


def _hold(held: contextlib.ExitStack, uuid: str, waiting: Callable[[str], object]) -> None:
    from vevolve.kernels import timing_device

    said = False
    while True:
        try:
            held.enter_context(timing_device.alone(uuid))
        except VEvolveError as error:
            if not said:
                waiting(f"Waiting for the GPU: {error}")
            said = True
            time.sleep(PAUSE_S)
        else:
            return


def _conditions() -> dict[str, str]:
    from vevolve.kernels import timing_device

    try:
        return timing_device.conditions()
    except VEvolveError as error:
        raise SandboxUnavailable(f"Latency cannot be measured: {error}") from error
