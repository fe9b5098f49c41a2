"""Fresh synthetic documents for `kv_quantization`: those of `sparse_decode`, whose families it shares."""

from __future__ import annotations

from collections.abc import Sequence

from vevolve.evaluators.contract import Workload
from vevolve.evaluators.fresh import STAGE
from vevolve.evaluators.fresh.sparse_decode import draw
from vevolve.evaluators.kv_quantization import codec, scores
from vevolve.evaluators.kv_quantization.attention import deviation
from vevolve.evaluators.kv_quantization.problem import problem
from vevolve.evaluators.kv_quantization.workload import CAPS, Operating, places, prompt
from vevolve.evaluators.sparse_decode.workload import Case
from vevolve.types import Subject, Verdict

COST = 0.6


def examine(subject: Subject, workload: Workload, labels: Sequence[str]) -> Verdict:
    """Encode, decode and attend as on any other document, at the caps of these labels (all where there are none).

    The declared prompts of other widths, which serve for figures beside the objectives, are left out. Nor is anything
    encoded or decoded again: that finds what a process remembers of other prompts, and here it sees but one.
    """
    cases: Sequence[Case] = workload.cases
    asked = list(places(cases))
    prompts = [prompt(cases[place.case].document, place.layer) for place in asked]
    found = [
        scores.Block(
            case=cases[place.case],
            layer=place.layer,
            point=point,
            bits=one.bits,
            tensors=one.tensors,
            deviation=deviation(cases[place.case].document, place.layer, one.keys, one.values),
        )
        for point in map(Operating, CAPS)
        if not labels or point.label in labels
        for place, one in zip(asked, codec.compress(subject, prompts, point.cap, workload.seed, alone=0), strict=True)
    ]
    return problem.verdict(*scores.points(found, {}, STAGE.split))


__all__ = ["COST", "draw", "examine"]
