"""How kernels follow each other: on GPUs that can, one starts while its predecessor ends and waits for it inside."""

from __future__ import annotations

import functools
from typing import Any

import torch


@functools.cache
def overlaps(device: torch.device) -> bool:
    """Whether programmatic dependent launch is there: from compute capability 9.0 on."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (9, 0)


@functools.cache
def cores(device: torch.device) -> int:
    """Multiprocessors of a GPU; 0 where there is none."""
    return torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 0


def options(device: torch.device) -> dict[str, bool]:
    """Arguments of a launch whose kernel begins with `griddepcontrol.wait`."""
    return {"launch_pdl": True} if overlaps(device) else {}


def power_of_two(count: int) -> int:
    """The least power of two that is not below a count."""
    return 1 << max(count - 1, 0).bit_length()


def launch(kernel: Any, grid: tuple[int, ...], *arguments: Any, **named: Any) -> None:
    """Launch a kernel. Triton's own form, `kernel[grid](...)`, adds parameters that no type checker knows."""
    kernel[grid](*arguments, **named)
