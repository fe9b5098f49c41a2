"""What a candidate's author is told: where it is wrong, and what it lost. And the report behind it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from vevolve.evaluators.kv_eviction.scores import head_means, head_percentiles
from vevolve.evaluators.kv_eviction.session import Block
from vevolve.types import Point

MAX_LENGTH = 2400
"""Characters of a feedback text."""
WORST = 4
"""Heads that are named."""


def describe(found: Sequence[Block], points: Sequence[Point]) -> str:
    """Text for a model: points, then the worst heads, the contexts and the needles at the middle budget."""
    middle = points[len(points) // 2].label
    chosen = [block for block in found if block.budget.label == middle]
    layers = sorted({block.layer for block in found})
    names = {block.case.document.hash for block in found}
    lines = [
        f"{len(names)} contexts, layers {', '.join(map(str, layers))}. error: mean over (layer, KV head) of the 95th "
        "percentile of relative L2 error; lost: share of the true attention mass on evicted tokens; needle: error on "
        "the steps that answer.",
        *map(_point_line, points),
        f"Contexts at {middle}, hardest first: {'; '.join(_context_lines(chosen))}",
        f"Worst heads at {middle} (p95; share of attention lost; tokens kept):",
        *_head_lines(chosen),
        *_where_lines(chosen),
    ]
    text = "\n".join(lines)
    return text if len(text) <= MAX_LENGTH else text[: text.rindex("\n", 0, MAX_LENGTH)]


def summarise(points: Sequence[Point]) -> str:
    """One line a point. Of the select stage, which no model is shown."""
    return "\n".join(map(_point_line, points))


def _point_line(point: Point) -> str:
    extra = point.model_extra or {}
    needle, kept = extra.get("error_needle"), extra.get("needle_kept")
    return (
        f"{point.label}: {point['tokens']:.0f} tokens a head, memory {point['memory']:.4f}, error "
        f"{point['error']:.4f}, mean {point['error_mean']:.4f}, worst head {point['error_worst']:.3f}, lost "
        f"{100 * point['lost']:.1f} %"
        + (f", needle {needle:.3f}" if isinstance(needle, float) else "")
        + (f" with {100 * kept:.0f} % of its tokens kept" if isinstance(kept, float) else "")
    )


def _context_lines(chosen: Sequence[Block]) -> list[str]:
    contexts: dict[str, list[Block]] = {}
    for block in chosen:
        contexts.setdefault(block.case.document.name, []).append(block)
    ranked = sorted(contexts.values(), key=lambda own: -float(np.mean([block.error.mean() for block in own])))
    return [
        f"{own[0].case.document.name[:40]} ({own[0].case.document.kind}) error "
        f"{np.mean([block.error.mean() for block in own]):.3f}, lost "
        f"{100 * np.mean([block.lost.mean() for block in own]):.0f} %" + _needle_words(own)
        for own in ranked
    ]


def _needle_words(own: Sequence[Block]) -> str:
    shares = [block.found for block in own if block.found is not None]
    if not shares:
        return ""
    whole = np.concatenate(shares)
    return f", needle kept whole by {np.count_nonzero(whole == 1)} of {whole.size} heads ({100 * whole.mean():.0f} %)"


def _head_lines(chosen: Sequence[Block]) -> list[str]:
    errors, lost = head_percentiles(chosen), head_means(chosen, lambda block: block.lost)
    counts = {
        key: np.mean([block.counts for block in chosen if (block.case.document.model, block.layer) == key], axis=0)
        for key in errors
    }
    ranked = sorted(
        ((float(errors[key][head]), key, head) for key in errors for head in range(len(errors[key]))), reverse=True
    )
    return [
        f"  layer {key[1]} head {head}: {error:.3f}; {100 * lost[key][head]:.0f} %; {counts[key][head]:.0f}"
        for error, key, head in ranked[:WORST]
    ]


def _where_lines(chosen: Sequence[Block]) -> list[str]:
    """Whether the question or the answer suffers more, where both are known."""
    own = [block for block in chosen if block.case.answer_steps < block.case.document.steps]
    if not own:
        return []
    question = np.mean([block.error[: -block.case.answer_steps].mean() for block in own])
    answer = np.mean([block.error[-block.case.answer_steps :].mean() for block in own])
    return [f"Where a needle is asked for: mean error {question:.3f} while the question is read, {answer:.3f} after."]


def report(found: Sequence[Block]) -> dict[str, Any]:
    """The breakdown as plain JSON, by the operating point's label."""
    labels = dict.fromkeys(block.budget.label for block in found)
    return {
        "points": {
            "recorded": {label: _breakdown([one for one in found if one.budget.label == label]) for label in labels}
        }
    }


def _breakdown(chosen: Sequence[Block]) -> dict[str, Any]:
    means, lost = head_means(chosen, lambda block: block.error), head_means(chosen, lambda block: block.lost)
    return {
        "layers": [
            {
                "model": key[0],
                "layer": key[1],
                "error": [_round(value) for value in errors],
                "error_mean": [_round(value) for value in means[key]],
                "lost": [_round(value) for value in lost[key]],
            }
            for key, errors in head_percentiles(chosen).items()
        ],
        "documents": [
            {
                "name": block.case.document.name,
                "kind": block.case.document.kind,
                "layer": block.layer,
                "tokens": block.case.document.prompt,
                "kept": [int(count) for count in block.counts],
                "bytes": block.nbytes,
                "error_mean": _round(block.error.mean()),
                "lost": _round(block.lost.mean()),
                "needle_kept": None if block.found is None else _round(block.found.mean()),
            }
            for block in chosen
        ],
    }


def _round(value: Any) -> float:
    return float(f"{float(value):.5g}")
