"""What a candidate's author is told: where it is wrong, why, and where its bytes go. And the report behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vevolve.evaluators.sparse_decode.scores import Block, asked_steps, head_means, head_percentiles
from vevolve.types import Bound, Point

MAX_LENGTH = 2400
"""Characters of a feedback text."""
WORST = 4
"""Heads and documents that are named."""
LIGHT_MASS = 0.9
"""Below this share of the true softmax mass, what was not chosen explains an error."""


def describe(found: Sequence[Block], points: Sequence[Point], bounds: Sequence[Bound]) -> str:
    """Text for a model: points, worst heads and documents with their causes, traffic, violations."""
    own = [block for block in found if not block.case.family]
    labels = list(dict.fromkeys(block.point.label for block in own))
    middle = labels[min(1, len(labels) - 1)]
    chosen = [block for block in own if block.point.label == middle]
    documents = len({block.case.document.hash for block in own})
    layers = sorted({block.layer for block in own})
    lines = [
        f"{_count(documents, 'document')}, layer{'s' * (len(layers) > 1)} {', '.join(map(str, layers))}. "
        "error: mean over (layer, KV head) of the 95th "
        "percentile of relative L2 error; mean: over all units; needle: error on retrieval steps.",
        *(_point_line(point, own) for point in points if not point.family),
        *(_bound_line(bound, own) for bound in bounds),
        *(_traffic_line(label, own) for label in dict.fromkeys((labels[0], middle, labels[-1]))),
        f"Documents at {middle} (mean error, hardest first): {_document_line(chosen)}",
        f"Worst heads at {middle} (p95; share of true softmax mass chosen; estimated / true denominator):",
        *_head_lines(chosen),
    ]
    text = "\n".join(lines)
    return text if len(text) <= MAX_LENGTH else text[: text.rindex("\n", 0, MAX_LENGTH)]


def summarise(found: Sequence[Block], points: Sequence[Point]) -> str:
    """One line a point. Of the select stage, which no model is shown."""
    return "\n".join(
        f"{point.family or 'recorded'}: "
        + _point_line(point, [block for block in found if block.case.family == point.family])
        for point in points
    )


def _point_line(point: Point, found: Sequence[Block]) -> str:
    blocks = [block for block in found if block.point.label == point.label]
    used = float(np.mean([block.attended.mean() for block in blocks]))
    allowed = blocks[0].point.tokens
    budget = f"{used:.0f} of {allowed}" if allowed is not None else f"{used:.0f}"
    needle = (point.model_extra or {}).get("error_needle")
    return (
        f"{point.label}: attended {budget} a head, traffic {point['traffic']:.4f}, error {point['error']:.4f}, "
        f"mean {point['error_mean']:.4f}, worst head {point['error_worst']:.3f}"
        + (f", needle {needle:.3f}" if isinstance(needle, float) else "")
    )


def _head_lines(chosen: Sequence[Block]) -> list[str]:
    errors = head_percentiles(chosen)
    covered = head_means(chosen, lambda block: block.covered)
    mass = head_means(chosen, lambda block: block.mass)
    ranked = sorted(
        ((float(errors[key][head]), key, head) for key in errors for head in range(len(errors[key]))), reverse=True
    )
    return [
        f"  layer {key[1]} head {head}: {error:.3f}; {covered[key][head]:.2f}; {mass[key][head]:.2f} "
        f"- {_cause(error, float(covered[key][head]), float(mass[key][head]))}"
        for error, key, head in ranked[:WORST]
    ]


def _cause(error: float, covered: float, mass: float) -> str:
    """What the figures of a head say about its error."""
    if error < 0.01:
        return "fine"
    if covered >= LIGHT_MASS:
        return "heavy tokens are chosen; the light ones or the sample's weights are left"
    if mass < LIGHT_MASS:
        return "missed mass: neither chosen tokens nor sample or tail stand for it"
    if mass > 1 / LIGHT_MASS:
        return "missed mass, overestimated by sample or tail"
    return "missed mass; sample or tail stands for it, noisily"


def _document_line(chosen: Sequence[Block]) -> str:
    errors: dict[str, list[float]] = {}
    kinds: dict[str, str] = {}
    for block in chosen:
        errors.setdefault(block.case.document.name, []).append(float(block.error.mean()))
        kinds[block.case.document.name] = block.case.document.kind
    ranked = sorted(errors, key=lambda name: -float(np.mean(errors[name])))
    return ", ".join(f"{name[:40]} ({kinds[name]}) {np.mean(errors[name]):.3f}" for name in ranked[:WORST])


def _traffic_line(label: str, found: Sequence[Block]) -> str:
    shares = traffic_shares([block for block in found if block.point.label == label])
    rounds = max(block.rounds for block in found if block.point.label == label)
    parts = ", ".join(f"{name} {100 * share:.0f} %" for name, share in shares.items())
    return f"Traffic at {label}: {parts}; {rounds} read rounds."


def _bound_line(bound: Bound, found: Sequence[Block]) -> str:
    """What was seen of a promise, and whether these traces show it: fresh documents certify, computed bounds prove."""
    own = [block for block in found if (block.point.epsilon, block.point.delta) == (bound.epsilon, bound.delta)]
    standing = (
        "BROKEN"
        if bound.rate > bound.delta
        else "not shown on replay"
        if bound.upper > bound.delta
        else "holds on replay"
    )
    seen = f"error over {bound.epsilon:g} on {100 * bound.rate:.2f} % of units in {asked_steps(own)} steps"
    limit = f"at most {100 * bound.upper:.0f} % with {100 * bound.confidence:g} % confidence"
    return (
        f"{own[0].point.label}: {seen}, promised {100 * bound.delta:g} %: {standing} "
        f"({limit} over {_count(bound.documents, 'document')})."
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def traffic_shares(found: Sequence[Block]) -> dict[str, float]:
    """Shares of all bytes: index, reads of keys and values not attended, attended tokens, tail."""
    steps = [one for block in found for one in block.traffic]
    total = sum(one.total for one in steps)
    return {
        "index": sum(one.index for one in steps) / total,
        "reads": sum(one.reads for one in steps) / total,
        "attended": sum(one.gather for one in steps) / total,
        "tail": sum(one.tail for one in steps) / total,
    }


def report(found: Sequence[Block], build: Mapping[str, float]) -> dict[str, Any]:
    """The breakdown as plain JSON: errors by layer and head, figures by document, traffic, build time.

    Everything is keyed by family ("recorded" for the main workload), then by the operating point's label.
    """
    families: dict[str, Any] = {}
    for family in dict.fromkeys(block.case.family for block in found):
        own = [block for block in found if block.case.family == family]
        by_label = {
            label: [block for block in own if block.point.label == label]
            for label in dict.fromkeys(block.point.label for block in own)
        }
        families[family or "recorded"] = {label: _breakdown(chosen) for label, chosen in by_label.items()}
    return {"points": families, "approximate": {name: _round(value) for name, value in build.items()}}


def _breakdown(chosen: Sequence[Block]) -> dict[str, Any]:
    covered = head_means(chosen, lambda block: block.covered)
    means = head_means(chosen, lambda block: block.error)
    documents: dict[str, list[Block]] = {}
    for block in chosen:
        documents.setdefault(block.case.document.name, []).append(block)
    return {
        "layers": [
            {
                "model": key[0],
                "layer": key[1],
                "error": [_round(value) for value in errors],
                "error_mean": [_round(value) for value in means[key]],
                "covered": [_round(value) for value in covered[key]],
            }
            for key, errors in head_percentiles(chosen).items()
        ],
        "documents": [
            {
                "name": name,
                "kind": blocks[0].case.document.kind,
                "tokens": blocks[0].case.document.tokens,
                "error_mean": _round(np.mean([block.error.mean() for block in blocks])),
                "traffic": _round(np.mean([one.share for block in blocks for one in block.traffic])),
            }
            for name, blocks in documents.items()
        ],
        "traffic": {name: _round(share) for name, share in traffic_shares(chosen).items()},
    }


def _round(value: Any) -> float:
    return float(f"{float(value):.5g}")
