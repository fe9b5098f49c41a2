"""Eviction after the prompt: what is dropped before the question is seen is lost for good."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from vevolve.evaluators.contract import Function, Problem, Published, Stage, Workload
from vevolve.evaluators.kv_eviction import feedback, scores, session
from vevolve.evaluators.kv_eviction.contexts import Context
from vevolve.evaluators.kv_eviction.evict import prefill_passes
from vevolve.evaluators.kv_eviction.workload import SHARES, file_cases, shipped_cases, tiny_cases
from vevolve.types import Objective, Seed, Subject, Verdict

if TYPE_CHECKING:
    from vevolve.evaluators.inside.context import Context as Prefill
    from vevolve.evaluators.kv_eviction.inside import EvictionInside

TINY_SHARES = (Fraction(1, 32), Fraction(1, 4))


class KVEviction(Problem):
    """Score the tokens of a prompt in the KV cache before the question is seen; those that score low are lost for good.

    A candidate sees keys, values and queries of the prompt, layer by layer. The verifier keeps the best tokens of each
    head within a budget, drops the rest, and compares attention of the question and the answer with dense attention.
    """

    name = "kv_eviction"
    objectives = (
        # Below the smallest budget nothing is gained: a program that keeps no token at all must not win. An output of
        # zeros has error 1, so that worse than 2 is as bad as it gets.
        Objective("memory", "min", worst=1.0, best=0.03, scale="log10", unit="share of dense KV bytes"),
        Objective(
            "error",
            "min",
            worst=2.0,
            best=0.001,
            scale="log10",
            unit="relative L2, mean over heads of the 95th percentile",
        ),
    )
    functions = (
        Function(
            name="score",
            arguments=(
                "keys", "values", "queries", "repeat", "repeat_mass", "wo", "layer", "depth", "budget", "rope_base",
                "params", "rng", "future",
            ),
        ),
        Function(name="allot", arguments=("scores", "budget", "layers", "depth", "params"), required=False),
    )  # fmt: skip
    stages = (
        Stage(name="tiny"),
        Stage(name="search"),
        Stage(name="select", split="select", promotion=True),
    )
    arrays = "torch"
    default_seed = "snapkv"
    headline = "keep 1/4"
    # About 4 % less error over one halving of memory, as for sparse_decode.
    promotion_gain = 0.005
    shares = ("inside", "sparse_decode")
    published = (
        Published(name="SnapKV at 16k tokens", values={"memory": 1 / 8.2}, source="Li et al. 2024, arXiv:2404.14469"),
        Published(name="TOVA", values={"memory": 1 / 8}, source="Oren et al. 2024, arXiv:2401.06104"),
        Published(
            name="KVzip, with negligible loss of accuracy",
            values={"memory": 1 / 3.5},
            source="Kim et al. 2025, arXiv:2505.23416: 3 to 4 times less",
        ),
    )

    def examine(self, subject: Subject, workload: Workload) -> Verdict:
        """Evict at every budget, attend with what is left, and compare with dense attention."""
        cases: Sequence[Context] = workload.cases
        shares = TINY_SHARES if workload.stage.name == "tiny" else SHARES
        found = session.run(subject, cases, shares, workload.seed)
        figures = scores.points(found, workload.stage.split, prefill_passes(subject.candidate))
        tell = feedback.summarise(figures) if workload.stage.promotion else feedback.describe(found, figures)
        return self.verdict(*figures, feedback=tell, report=feedback.report(found))

    def workload(self, stage: Stage, seed: Seed) -> Workload:
        """The shipped contexts of the stage's split."""
        return Workload(stage, seed, tiny_cases() if stage.name == "tiny" else shipped_cases(stage.split))

    def workload_from(self, files: Sequence[Path], seed: Seed) -> Workload:
        """A user's own contexts, examined as the search split is. Raises `BadTrace` for a file that is none."""
        return Workload(self.stage("search"), seed, file_cases(files))

    def inside(self, subject: Subject, context: Prefill, label: str, seed: Seed) -> EvictionInside:
        """Cut every layer's context before the question is read."""
        from vevolve.evaluators.kv_eviction.inside import EvictionInside

        return EvictionInside(subject, context, label, seed)


problem = KVEviction()
