"""KV quantisation: the prompt's cache as bytes, judged by attention over what they decode to."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vevolve.evaluators.contract import Function, Problem, Published, Stage, Workload
from vevolve.evaluators.kv_quantization import claim, codec, feedback, scores
from vevolve.evaluators.kv_quantization.attention import deviation
from vevolve.evaluators.kv_quantization.scores import Block
from vevolve.evaluators.kv_quantization.workload import CAPS, Operating, places, prompt, tiny_cases, wide_prompt
from vevolve.evaluators.sparse_decode.session import parameters
from vevolve.evaluators.sparse_decode.workload import Case, family_cases, file_cases, shipped_cases
from vevolve.types import Objective, Seed, Subject, Verdict

if TYPE_CHECKING:
    from vevolve.evaluators.inside.context import Context as Prefill
    from vevolve.evaluators.kv_quantization.inside import QuantizedInside

TINY_CAPS = (2.75, 8.75)
ARGUMENTS = ("age", "shape", "layer", "budget", "rope_base", "params", "rng")


class KvQuantization(Problem):
    """Write the keys and values of a prompt in few bytes, so that attention over what is read back stays right.

    A candidate encodes K and V of one layer into a few tensors; another process, which gets these bytes and nothing
    else, decodes them. The verifier attends to the decoded prompt at every decode step and compares with dense
    attention.
    """

    name = "kv_quantization"
    # Zeros, which need no byte, have error 1, so nothing is won there; nor by fewer than one bit, which is eviction's.
    objectives = (
        Objective(
            "bits", "min", worst=16.0, best=1.0, scale="log10", unit="bits per element of K and V, everything counted"
        ),
        Objective(
            "error",
            "min",
            worst=1.0,
            best=0.0001,
            scale="log10",
            unit="relative L2, mean over heads of the 95th percentile",
        ),
    )
    functions = (
        Function(name="encode", arguments=("keys", "values", *ARGUMENTS)),
        Function(name="decode", arguments=("code", *ARGUMENTS)),
    )
    stages = (
        Stage(name="tiny"),
        Stage(name="search"),
        Stage(name="select", split="select", promotion=True),
    )
    arrays = "torch"
    default_seed = "kivi"
    headline = "3.75 bits"
    # About 4 % less error over one doubling of bits, as in `sparse_decode`.
    promotion_gain = 0.005
    shares = ("inside", "sparse_decode")
    published = (
        Published(
            name="KIVI, b = 2, groups of 32, without its residual",
            values={"bits": 3.0},
            source="KIVI (arXiv:2402.02750): 2 + 2 * 16 / 32",
        ),
        Published(
            name="TurboQuant, MSE mode, b = 2, d = 128",
            values={"bits": 2.125},
            source="TurboQuant (arXiv:2504.19874), and 16 bits for each norm, which it leaves out",
        ),
    )

    def examine(self, subject: Subject, workload: Workload) -> Verdict:
        """Encode and decode every prompt at every cap, attend to what came back, and count the bytes."""
        cases: Sequence[Case] = workload.cases
        stage = workload.stage
        operating = tuple(map(Operating, TINY_CAPS if stage.name == "tiny" else CAPS))
        found = [block for point in operating for block in _blocks(subject, cases, point, workload.seed)]
        if stage.name == "tiny":
            return self.verdict(*scores.points(found, {}, stage.split), feedback=feedback.summarise(found))
        wide = _wide(subject, operating, workload.seed)
        claimed = claim.examine(subject, CAPS[0], workload.seed)
        return self.verdict(
            *scores.points(found, wide, stage.split),
            feedback=feedback.summarise(found) if stage.promotion else feedback.describe(found, wide, claimed),
            report=feedback.report(found, claimed),
        )

    def workload(self, stage: Stage, seed: Seed) -> Workload:
        """The shipped traces of the stage's split; promotion adds both synthetic families."""
        if stage.name == "tiny":
            return Workload(stage, seed, tiny_cases())
        families = family_cases() if stage.promotion else ()
        return Workload(stage, seed, (*shipped_cases(stage.split), *families))

    def workload_from(self, files: Sequence[Path], seed: Seed) -> Workload:
        """A user's own traces, examined as the search split is. Raises `BadTrace` for a file that is none."""
        return Workload(self.stage("search"), seed, file_cases(files))

    def inside(self, subject: Subject, context: Prefill, label: str, seed: Seed) -> QuantizedInside:
        """Encode and decode every layer's context before the question is read."""
        from vevolve.evaluators.kv_quantization.inside import QuantizedInside

        return QuantizedInside(subject, context, label, seed)


def _blocks(subject: Subject, cases: Sequence[Case], point: Operating, seed: Seed) -> list[Block]:
    """Every prompt of a workload at one cap."""
    asked = list(places(cases))
    prompts = [prompt(cases[place.case].document, place.layer) for place in asked]
    return [
        Block(
            case=cases[place.case],
            layer=place.layer,
            point=point,
            bits=one.bits,
            tensors=one.tensors,
            deviation=deviation(cases[place.case].document, place.layer, one.keys, one.values),
        )
        for place, one in zip(asked, codec.compress(subject, prompts, point.cap, seed), strict=True)
    ]


def _wide(subject: Subject, operating: Sequence[Operating], seed: Seed) -> dict[Operating, float]:
    """Bits per element of a declared prompt of 2,048 tokens with d = 128, where most published figures stand."""
    wide, params = wide_prompt(), parameters(subject.candidate)
    with subject.fresh() as process:
        return {
            point: codec.bits_of(wide, codec.encode(process, wide, codec.Terms(point.cap, params, seed)))
            for point in operating
        }


problem = KvQuantization()
