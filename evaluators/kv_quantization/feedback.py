"""What a candidate's author is told: where it is wrong, whether keys or values are to blame, and where bytes go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from vevolve.evaluators.kv_quantization.attention import Floats
from vevolve.evaluators.kv_quantization.claim import Claim
from vevolve.evaluators.kv_quantization.scores import Block, head_percentiles, mean_percentile
from vevolve.evaluators.kv_quantization.workload import Operating

MAX_LENGTH = 2400
"""Characters of a feedback text."""
WORST = 4
"""Heads, documents and tensors that are named."""
CLEARLY = 1.5
"""Where keys alone give this many times the error of values alone, or the reverse, they are to blame."""


def describe(found: Sequence[Block], wide: Mapping[Operating, float], claimed: Claim | None) -> str:
    """Text for a model: points, bytes by tensor, worst heads with their causes, documents, the claim."""
    own = [block for block in found if not block.case.family]
    points = list(dict.fromkeys(block.point for block in own))
    first = [block for block in own if block.point == points[0]]
    documents = len({block.case.document.hash for block in own})
    layers = sorted({block.layer for block in own})
    lines = [
        f"{documents} documents, layers {', '.join(map(str, layers))}. error: mean over (layer, KV head) of the 95th "
        "percentile of relative L2 error; keys only, values only: the same if the other were exact.",
        *(_point_line([block for block in own if block.point == point], wide.get(point)) for point in points),
        *_claim_lines(claimed),
        f"Bytes at {points[0].label}: {_bytes_line(first)}",
        f"Worst heads at {points[0].label} (p95; keys only; values only; relative MSE of K; of V):",
        *_head_lines(first),
        f"Documents at {points[0].label} (mean error, hardest first): {_document_line(first)}",
    ]
    text = "\n".join(lines)
    return text if len(text) <= MAX_LENGTH else text[: text.rindex("\n", 0, MAX_LENGTH)]


def summarise(found: Sequence[Block]) -> str:
    """One line a point and family. Of the stages whose breakdown no model is shown."""
    groups: dict[tuple[str, Operating], list[Block]] = {}
    for block in found:
        groups.setdefault((block.case.family, block.point), []).append(block)
    return "\n".join(f"{family or 'recorded'}: {_point_line(chosen)}" for (family, _), chosen in groups.items())


def _point_line(chosen: Sequence[Block], wide: float | None = None) -> str:
    keys = _percentile(chosen, lambda block: block.deviation.error_keys)
    values = _percentile(chosen, lambda block: block.deviation.error_values)
    needle = mean_percentile([block for block in chosen if block.case.needle])
    gain = np.mean([block.deviation.gain.mean() for block in chosen])
    worst = max(float(heads.max()) for heads in head_percentiles(chosen).values())
    return (
        f"{chosen[0].point.label}: used {np.mean([block.bits for block in chosen]):.3f}"
        + (f" ({wide:.3f} at d = 128)" if wide is not None else "")
        + f", error {mean_percentile(chosen) or 0.0:.4f}, keys only {keys:.4f}, values only {values:.4f}, "
        f"worst head {worst:.3f}"
        + (f", needle {needle:.4f}" if needle is not None else "")
        + f", q·k scaled by {1 + gain:.3f}"
    )


def _percentile(chosen: Sequence[Block], figure: Any) -> float:
    return mean_percentile(chosen, figure) or 0.0


def _claim_lines(claimed: Claim | None) -> list[str]:
    if claimed is None:
        return []
    verdict = "kept" if claimed.kept else "BROKEN"
    return [
        f"UNBIASED: inner products are off by {100 * claimed.gain:+.2f} % ± {100 * claimed.standard_error:.2f} % over "
        f"{claimed.draws} draws of rng: {verdict}."
    ]


def _bytes_line(chosen: Sequence[Block]) -> str:
    shares = tensor_shares(chosen)
    ranked = sorted(shares, key=lambda name: -shares[name])
    named = ", ".join(f"{name[:40]} {shares[name]:.3f}" for name in ranked[: 2 * WORST])
    payload = float(np.mean([block.bits for block in chosen])) - sum(shares.values())
    return f"{named} bits per element; names and dimensions {payload:.4f}"


def tensor_shares(chosen: Sequence[Block]) -> dict[str, float]:
    """Bits per element of K and V that each tensor of the code takes, mean over blocks."""
    total: dict[str, float] = {}
    for block in chosen:
        recorded = block.case.document.layers[block.layer]
        elements = 2 * recorded.heads * block.case.document.prompt * recorded.width
        for name, size in block.tensors.items():
            total[name] = total.get(name, 0.0) + 8 * size / elements / len(chosen)
    return total


def _head_lines(chosen: Sequence[Block]) -> list[str]:
    whole = head_percentiles(chosen)
    keys = head_percentiles(chosen, lambda block: block.deviation.error_keys)
    values = head_percentiles(chosen, lambda block: block.deviation.error_values)
    ranked = sorted(((float(whole[key][head]), key, head) for key in whole for head in range(key[2])), reverse=True)
    lines = []
    for error, key, head in ranked[:WORST]:
        blocks = [block for block in chosen if (block.case.document.model, block.layer) == key[:2]]
        off = [float(np.mean([mse[head] for mse in each])) for each in _mses(blocks)]
        lines.append(
            f"  layer {key[1]} head {head}: {error:.3f}; {keys[key][head]:.3f}; {values[key][head]:.3f}; {off[0]:.4f}; "
            f"{off[1]:.4f} - {_cause(float(keys[key][head]), float(values[key][head]))}"
        )
    return lines


def _mses(blocks: Sequence[Block]) -> tuple[list[Floats], list[Floats]]:
    return [block.deviation.key_mse for block in blocks], [block.deviation.value_mse for block in blocks]


def _cause(keys: float, values: float) -> str:
    if max(keys, values) < 0.01:
        return "fine"
    if keys > CLEARLY * values:
        return "keys: wrong logits"
    return "values" if values > CLEARLY * keys else "keys and values alike"


def _document_line(chosen: Sequence[Block]) -> str:
    errors: dict[str, list[float]] = {}
    for block in chosen:
        errors.setdefault(block.case.document.name, []).append(float(block.deviation.error.mean()))
    ranked = sorted(errors, key=lambda name: -float(np.mean(errors[name])))
    return ", ".join(f"{name[:40]} {np.mean(errors[name]):.3f}" for name in ranked[:WORST])


def report(found: Sequence[Block], claimed: Claim | None) -> dict[str, Any]:
    """The breakdown as plain JSON, keyed by family ("recorded" for the main workload), then by the cap's label."""
    families: dict[str, Any] = {}
    for block in found:
        families.setdefault(block.case.family or "recorded", {}).setdefault(block.point.label, []).append(block)
    figures = {
        family: {label: _breakdown(chosen) for label, chosen in points.items()} for family, points in families.items()
    }
    return {"points": figures} | ({"unbiased": claimed.model_dump()} if claimed else {})


def _breakdown(chosen: Sequence[Block]) -> dict[str, Any]:
    keys = head_percentiles(chosen, lambda block: block.deviation.error_keys)
    values = head_percentiles(chosen, lambda block: block.deviation.error_values)
    documents: dict[str, list[Block]] = {}
    for block in chosen:
        documents.setdefault(block.case.document.name, []).append(block)
    return {
        "layers": [
            {
                "model": key[0],
                "layer": key[1],
                "error": [_round(value) for value in errors],
                "error_keys": [_round(value) for value in keys[key]],
                "error_values": [_round(value) for value in values[key]],
            }
            for key, errors in head_percentiles(chosen).items()
        ],
        "documents": [
            {
                "name": name,
                "kind": blocks[0].case.document.kind,
                "tokens": blocks[0].case.document.tokens,
                "error_mean": _round(np.mean([block.deviation.error.mean() for block in blocks])),
                "bits": _round(np.mean([block.bits for block in blocks])),
            }
            for name, blocks in documents.items()
        ],
        "tensors": {name[:64]: _round(bits) for name, bits in tensor_shares(chosen).items()},
    }


def _round(value: Any) -> float:
    return float(f"{float(value):.5g}")
