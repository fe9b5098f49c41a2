"""Which block, splits, warps and stages: tuned once for each class of shapes on each GPU, and kept in a file.

What was measured on an H200 ships beside this file. `tune` measures more and keeps them in the user's cache folder; a
call never measures, so that no call is suddenly slow.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from vevolve.kernels.launch import cores

SHIPPED = Path(__file__).with_name("tuned.json")
FOLDER = "VEVOLVE_KERNEL_CACHE"
"""Environment variable: the folder in which choices are kept; ~/.cache/vevolve by default."""
FEWEST = 32
"""Tokens of a split below which merging costs more than it saves."""


@dataclass(frozen=True)
class Choice:
    """Settings of a launch.

    Attributes:
        block: tokens that a program takes at a time.
        splits: programs that share the tokens of a unit.
        warps: of 32 threads.
        stages: of the pipeline that fetches blocks ahead.
    """

    block: int
    splits: int
    warps: int
    stages: int


def shape_class(query: torch.Tensor, units: int, rows: int, listed: int, grain: int, paged: bool, dense: bool) -> str:
    """The name of a class of shapes: sizes that vary from step to step are rounded up to a power of two.

    Args:
        query: for its type, width and device.
        units: lists of ids in the batch.
        rows: query heads that share one.
        listed: tokens of a list.
        grain: tokens of an id.
        paged: whether there is a page table.
        dense: whether all tokens are read.
    """
    words = (
        _device(query.device),
        str(query.dtype).removeprefix("torch."),
        f"d{query.shape[-1]}",
        f"u{1 << (units - 1).bit_length()}",
        f"r{rows}",
        f"m{1 << (listed - 1).bit_length()}",
        "dense" if dense else f"g{grain}",
        "paged" if paged else "whole",
    )
    return "/".join(words)


def choose(key: str, units: int, listed: int, device: torch.device) -> Choice:
    """The choice for a class of shapes: tuned, or else a guess that fills the GPU about twice."""
    if (found := _kept().get(key)) is not None:
        return found
    if device.type != "cuda":
        return Choice(block=16, splits=max(1, min(3, listed // 16)), warps=4, stages=1)
    splits = max(1, min(64, 2 * cores(device) // units, listed // FEWEST))
    return Choice(block=64, splits=splits, warps=4, stages=2)


def candidates(units: int, listed: int, processors: int, width: int) -> list[Choice]:
    """The settings that `tune` tries: those that fill the GPU one to eight times and fit its memory."""
    fills = sorted({max(1, min(fill * processors // units, listed // 16, 128)) for fill in (1, 2, 3, 4, 6, 8)})
    blocks = [(32, 2), (32, 4), (64, 4), (128, 4), (128, 8)]
    return [
        Choice(block, splits, warps, stages)
        for splits in fills
        for block, warps in blocks
        for stages in (1, 2, 3, 4)
        if block * width * 4 * stages <= 128 << 10
    ]


def tune(
    key: str, settings: Iterable[Choice], measure: Callable[[Choice], float], keep: bool = True
) -> tuple[Choice, dict[Choice, float]]:
    """Measure settings for a class of shapes and keep the fastest.

    Args:
        key: what `shape_class` returned.
        settings: to try.
        measure: seconds of a setting; raises where it does not compile or fit.
        keep: write the choice to the user's cache.

    Raises:
        RuntimeError: none of the settings runs.
    """
    times: dict[Choice, float] = {}
    last: Exception | None = None
    for choice in settings:
        try:
            times[choice] = measure(choice)
        except Exception as error:
            last = error
    if not times:
        raise RuntimeError(f"none of the settings runs for {key}: {last}") from last
    best = min(times, key=lambda choice: times[choice])
    if keep:
        _write(key, best)
    return best, times


@functools.cache
def _kept() -> dict[str, Choice]:
    """Shipped choices, overlaid by the user's. A file that is damaged counts as absent: it can only cost time."""
    found: dict[str, Choice] = {}
    for path in (SHIPPED, _file()):
        try:
            stored = json.loads(path.read_text())
            found |= {key: Choice(**value) for key, value in stored.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            continue
    return found


def _write(key: str, choice: Choice) -> None:
    path = _file()
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        stored = json.loads(path.read_text())
    except (OSError, ValueError):
        stored = {}
    stored[key] = asdict(choice)
    fresh = path.with_suffix(f".{os.getpid()}")
    fresh.write_text(json.dumps(stored, indent=1, sort_keys=True) + "\n")
    fresh.replace(path)
    _kept.cache_clear()


def _file() -> Path:
    folder = os.environ.get(FOLDER)
    return (Path(folder) if folder else Path.home() / ".cache" / "vevolve") / "attend.json"


@functools.cache
def _device(device: torch.device) -> str:
    return torch.cuda.get_device_name(device).replace("/", "-") if device.type == "cuda" else device.type
