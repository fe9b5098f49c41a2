"""Decode attention over chosen tokens: what is checked, what is launched, and with which settings.

out = sum_i exp(s_i - log p_i) v_i / sum_i exp(s_i - log p_i), s_i = q . k_i * scale, over the ids of a KV head (its
group of query heads shares every key and value that is read) or of a query head. p_i is the inclusion probability of a
token that was sampled, 1 for one that was chosen: the estimator of vAttention (Desai et al. 2025, arXiv:2510.05688).
Without ids, all tokens: flash decoding (Dao et al. 2023), the case of density 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from vevolve.errors import BadInput
from vevolve.kernels.attend import tuning
from vevolve.kernels.attend.kernel import attend as kernel
from vevolve.kernels.attend.merge_kernel import INTERPRETED
from vevolve.kernels.attend.tuning import Choice
from vevolve.kernels.cache import Cache, one_device, whole, whole_query
from vevolve.kernels.launch import launch, options, overlaps, power_of_two


@dataclass(frozen=True)
class Workspace:
    """What the splits of a call leave for the one that merges. One call at a time may use it; a graph keeps its own.

    Attributes:
        partial: float32, sums of weighted values.
        stats: float32, maximum and mass of each.
        arrivals: int32, zero between calls.
    """

    partial: torch.Tensor
    stats: torch.Tensor
    arrivals: torch.Tensor

    @staticmethod
    def of(units: int, rows: int, width: int, splits: int, device: torch.device) -> Workspace:
        """Room for a call with these sizes."""
        return Workspace(
            torch.empty(units * splits * rows * width, dtype=torch.float32, device=device),
            torch.empty(units * splits * rows * 2, dtype=torch.float32, device=device),
            torch.zeros(units, dtype=torch.int32, device=device),
        )

    @staticmethod
    def enough(given: Workspace | None, units: int, rows: int, splits: int, query: torch.Tensor) -> Workspace:
        """The one that is given, or a new one, for a call with these sizes and this query.

        Raises:
            BadInput: no split, or the one that is given is of other types, too small, or on another device.
        """
        if splits < 1:
            raise BadInput(f"Expected at least one split, got {splits}.")
        width = query.shape[3]
        if given is None:
            return Workspace.of(units, rows, width, splits, query.device)
        whole("the workspace's sums", given.partial, torch.float32, (None,))
        whole("the workspace's stats", given.stats, torch.float32, (None,))
        whole("the workspace's arrivals", given.arrivals, torch.int32, (None,))
        one_device(query, given.partial, given.stats, given.arrivals)
        if (
            given.partial.numel() < units * splits * rows * width
            or given.stats.numel() < units * splits * rows * 2
            or given.arrivals.numel() < units
        ):
            raise BadInput(f"Expected a workspace for {units} units in {splits} splits, got one that is too small.")
        return given


def attend(
    query: torch.Tensor,
    cache: Cache,
    ids: torch.Tensor | None = None,
    log_prob: torch.Tensor | None = None,
    counts: torch.Tensor | None = None,
    *,
    grain: int = 1,
    scale: float | None = None,
    choice: Choice | None = None,
    workspace: Workspace | None = None,
    out: tuple[torch.Tensor, torch.Tensor] | None = None,
    checked: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attend from one query per head to chosen tokens.

    Args:
        query: [B, H, G, d], of the type of the cache, contiguous.
        cache: the layer's keys and values.
        ids: int32 [B, H, m], shared by the group, or [B, H, G, m]; -1 pads. None: all tokens.
        log_prob: float32, like ids: the natural logarithm of each one's inclusion probability. None: all are 1.
        counts: int32 [B, H] or [B, H, G]: how many of the m ids are meant. None: all.
        grain: tokens that an id stands for: id i means tokens grain * i to grain * (i + 1) - 1, a power of two.
        scale: of the scores; d ** -0.5 by default.
        choice: block, splits, warps and stages; by default what was tuned for this class of shapes.
        workspace: to reuse, from `workspace_for`; made anew by default, which costs a launch.
        out: where to write the results.
        checked: also look at the ids, probabilities, lengths and page table, which waits for the device.

    Returns:
        out [B, H, G, d] of the query's type, and the natural logarithm of the denominator, float32 [B, H, G]. A head
        for which no token is left gets NaN and -inf; an id that is given twice counts twice. Without `checked`, an id
        beyond the sequence's length is left out; lengths or counts beyond what there is, and a page table that points
        outside of the cache, read outside of it.

    Raises:
        BadInput: shapes, types, strides or alignment; with `checked` also contents.
    """
    check(query, cache, ids, log_prob, counts, grain)
    if checked:
        check_content(cache, ids, log_prob, counts, grain)
    batch, heads, group, width = query.shape
    single = ids is not None and ids.dim() == 4
    units, rows = (heads * group, 1) if single else (heads, group)
    choice = choice or chosen(query, cache, ids, grain)
    workspace = Workspace.enough(workspace, batch * units, rows, choice.splits, query)
    result, lse = results(query, out)
    none = cache.lengths
    launch(
        kernel,
        (choice.splits, batch * units),
        query,
        cache.keys,
        cache.values,
        none if ids is None else ids,
        none if log_prob is None else log_prob,
        none if counts is None else counts,
        cache.lengths,
        cache.looked_up,
        workspace.partial,
        workspace.stats,
        workspace.arrivals,
        result,
        lse,
        width**-0.5 if scale is None else scale,
        0 if ids is None else ids.shape[-1],
        choice.splits,
        *cache.strides,
        UNITS=units,
        SHARED_BY=group if single else 1,
        ROWS=rows,
        GRAIN=grain,
        DENSE=ids is None,
        WEIGHTED=log_prob is not None,
        COUNTED=counts is not None,
        SPLITS_PADDED=power_of_two(choice.splits),
        ROWS_PADDED=max(16, power_of_two(rows)),
        ROWS_MERGED=power_of_two(rows),
        MERGED=min(
            merged_at_once(power_of_two(rows) * power_of_two(width), choice.warps, 128), power_of_two(choice.splits)
        ),
        OVERLAP=overlaps(query.device),
        **compiled_for(query, cache, choice),
        **options(query.device),
    )
    return result, lse


def compiled_for(query: torch.Tensor, cache: Cache, choice: Choice) -> dict[str, Any]:
    """What every kernel that attends to rows of a cache is compiled for."""
    return {
        "WIDTH": cache.width,
        "WIDTH_PADDED": power_of_two(cache.width),
        "PAGE": 1 if cache.table is None else cache.page,
        "PAGED": cache.table is not None,
        "PRECISION": "ieee" if query.dtype == torch.float32 else "tf32",
        "WIDEN": INTERPRETED and query.dtype == torch.bfloat16,
        "BLOCK": choice.block,
        "STAGES": choice.stages,
        "num_warps": choice.warps,
    }


def results(
    query: torch.Tensor, out: tuple[torch.Tensor, torch.Tensor] | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Where answers [B, H, G, d] of the query's type and float32 [B, H, G] are written: `out`, or new tensors.

    Raises:
        BadInput: `out` is of other shapes or types, not contiguous, or on another device.
    """
    if out is None:
        return torch.empty_like(query), torch.empty(query.shape[:3], dtype=torch.float32, device=query.device)
    whole("out", out[0], query.dtype, tuple(query.shape))
    whole("the denominator's logarithm", out[1], torch.float32, tuple(query.shape[:3]))
    one_device(query, *out)
    return out


def merged_at_once(elements: int, warps: int, registers: int = 64) -> int:
    """Splits whose sums of so many elements are merged at once, a power of two: as many as so many registers hold."""
    return max(1, min(32, registers * 32 * warps // elements))


def chosen(query: torch.Tensor, cache: Cache, ids: torch.Tensor | None = None, grain: int = 1) -> Choice:
    """The tuned settings for a call with these arguments."""
    key, units, listed = class_of(query, cache, ids, grain)
    return tuning.choose(key, units, listed, query.device)


def class_of(
    query: torch.Tensor, cache: Cache, ids: torch.Tensor | None = None, grain: int = 1
) -> tuple[str, int, int]:
    """The class of shapes of a call with these arguments, its lists of ids, and the tokens of a list."""
    batch, heads, group, _ = query.shape
    units, rows = (heads * group, 1) if ids is not None and ids.dim() == 4 else (heads, group)
    paged = cache.table is not None
    listed = cache.capacity if ids is None else ids.shape[-1] * grain
    key = tuning.shape_class(query, batch * units, rows, listed, grain, paged, ids is None)
    return key, batch * units, listed


def workspace_for(query: torch.Tensor, cache: Cache, ids: torch.Tensor | None = None, grain: int = 1) -> Workspace:
    """A workspace for calls with these arguments, to keep: filling its counters costs a launch."""
    heads, single = query.shape[1], ids is not None and ids.dim() == 4
    rows = 1 if single else query.shape[2]
    units = query.shape[0] * heads * (query.shape[2] if single else 1)
    return Workspace.of(units, rows, query.shape[3], chosen(query, cache, ids, grain).splits, query.device)


def check(
    query: torch.Tensor,
    cache: Cache,
    ids: torch.Tensor | None,
    log_prob: torch.Tensor | None,
    counts: torch.Tensor | None,
    grain: int,
) -> None:
    """Everything that can be told without the device. Raises BadInput."""
    cache.check()
    if query.dim() != 4:
        raise BadInput(f"Expected a query of shape [B, H, G, d], got {list(query.shape)}.")
    batch, heads, group, _ = query.shape
    whole_query(query, cache.keys.dtype, (cache.batch, cache.heads, cache.width), cache.keys)
    one_device(query, ids, log_prob, counts)
    if grain < 1 or grain & (grain - 1):
        raise BadInput(f"Expected a grain of a power of two of tokens, got {grain}.")
    if ids is None:
        if log_prob is not None or counts is not None or grain != 1:
            raise BadInput("Expected ids where log_prob, counts or a grain is given.")
        return
    shape = (batch, heads, None) if ids.dim() == 3 else (batch, heads, group, None)
    whole("ids", ids, torch.int32, shape)
    if not ids.shape[-1]:
        raise BadInput("Expected at least one token for each head, got none: attention over nothing has no value.")
    if log_prob is not None:
        whole("log_prob", log_prob, torch.float32, tuple(ids.shape))
    if counts is not None:
        whole("counts", counts, torch.int32, tuple(ids.shape[:-1]))


def check_content(
    cache: Cache, ids: torch.Tensor | None, log_prob: torch.Tensor | None, counts: torch.Tensor | None, grain: int
) -> None:
    """What only the device can tell. Raises BadInput."""
    cache.check_content()
    if ids is None:
        return
    listed = ids.shape[-1]
    if counts is not None and (int(counts.min()) < 0 or int(counts.max()) > listed):
        raise BadInput(f"Expected counts of 0 to {listed}, got {int(counts.min())} to {int(counts.max())}.")
    meant = ids >= 0
    if counts is not None:
        meant &= torch.arange(listed, device=ids.device) < counts[..., None]
    most = (cache.lengths - 1) // grain
    beyond = (ids > most.view(-1, *[1] * (ids.dim() - 1))) | (ids < -1)
    if counts is not None:
        beyond &= torch.arange(listed, device=ids.device) < counts[..., None]
    if bool(beyond.any()):
        place = beyond.nonzero()[0].tolist()
        room = int(most[place[0]])
        raise BadInput(
            f"Expected ids of 0 to {room}, or -1, in sequence {place[0]}, got {int(ids[tuple(place)])} at {place}."
        )
    if not bool(meant.any(dim=-1).all()):
        place = (~meant.any(dim=-1)).nonzero()[0].tolist()
        raise BadInput(f"Expected at least one token for each head, got none at {place}: nothing has no attention.")
    if log_prob is not None and not bool(((log_prob <= 0) & log_prob.isfinite() | ~meant).all()):
        raise BadInput("Expected logarithms of probabilities in (0, 1], got one that is positive or not finite.")
