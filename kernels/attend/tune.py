"""Tune attention on a GPU for which no choice is shipped, and keep what was fastest for all calls to come."""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton.testing  # type: ignore[import-untyped]

from vevolve.errors import BadInput
from vevolve.kernels.attend import tuning
from vevolve.kernels.attend.attend import Workspace, attend, check, class_of
from vevolve.kernels.attend.tuning import Choice
from vevolve.kernels.cache import Cache
from vevolve.kernels.launch import cores


def tune_attend(
    query: torch.Tensor,
    cache: Cache,
    ids: torch.Tensor | None = None,
    log_prob: torch.Tensor | None = None,
    counts: torch.Tensor | None = None,
    *,
    grain: int = 1,
    measure: Callable[[Callable[[], object]], float] | None = None,
    keep: bool = True,
) -> Choice:
    """Measure block, splits, warps and stages for calls like this one, and keep the fastest.

    Up to 120 settings are compiled and timed.

    `attend`, and `VAttention` for what it attends to, find the choice from then on, in this process and in others, for
    every call of this class of shapes. It stands in `~/.cache/vevolve/attend.json`, or in the folder that
    VEVOLVE_KERNEL_CACHE names, and goes before what is shipped.

    Args:
        query: as of `attend`, like all arguments up to `grain`.
        cache: see there.
        ids: see there.
        log_prob: see there.
        counts: see there.
        grain: see there.
        measure: the time of a call; by default Triton's `do_bench`, a median with the L2 cache cleared before each.
        keep: write the choice to the file.

    Returns:
        The fastest choice.

    Raises:
        BadInput: as `attend`, or there is no GPU to measure on and no `measure`.
        RuntimeError: none of the settings runs.
    """
    check(query, cache, ids, log_prob, counts, grain)
    if measure is None:
        if query.device.type != "cuda":
            raise BadInput(f"Expected tensors on an NVIDIA GPU, got some on {query.device}: nothing to measure there.")
        measure = _median
    key, units, listed = class_of(query, cache, ids, grain)
    rows = query.shape[0] * query.shape[1] * query.shape[2] // units
    timed = measure

    def time(choice: Choice) -> float:
        room = Workspace.of(units, rows, query.shape[3], choice.splits, query.device)

        def call() -> object:
            return attend(query, cache, ids, log_prob, counts, grain=grain, choice=choice, workspace=room)

        return timed(call)

    settings = tuning.candidates(units, listed, max(1, cores(query.device)), query.shape[3])
    return tuning.tune(key, settings, time, keep)[0]


def _median(call: Callable[[], object]) -> float:
    return float(triton.testing.do_bench(call, return_mode="median"))
