"""Judge a candidate inside a model: what it does to perplexity, to the next token, and to questions that need a place.

The context is read densely, then compressed before the question is seen; question and answer come after it. Only
questions that the dense model answers count, and how many those are is reported. A few exact matches are noise, so
the log-probability of the right answer stands beside them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from vevolve.errors import BadInput
from vevolve.evaluators.inside.cases import Case, cases
from vevolve.evaluators.inside.context import Context, Floats, prefill
from vevolve.evaluators.inside.continuation import Attention, Dense, continued
from vevolve.evaluators.sparse_decode.models import OFFLINE, Model, load
from vevolve.types import CandidateFault, Point, Seed, Subject, Verdict

if TYPE_CHECKING:
    from vevolve.evaluators.contract import Problem

DECLARED = Seed(hashlib.sha256(b"inside: the cases of the model stage").digest()[:16])
"""The cases are part of the stage, the same for every candidate, so their seed stands here."""


class Inside(Attention, Protocol):
    """A candidate's compression of one context, in a model."""

    @property
    def start(self) -> int:
        """The position of the first token after the context."""
        ...

    def abandon(self) -> None:
        """End its processes and ask nothing more."""
        ...

    def finish(self) -> dict[str, float]:
        """End its processes and return the values of the problem's objectives, and other figures, on this context.

        Raises `CandidateFault` where a question asked again got another answer.
        """
        ...


@dataclass(frozen=True)
class Outcome:
    """One case, dense and compressed.

    Attributes:
        case: what was asked.
        dense: log-probabilities [S, vocabulary] where a token of the answer is next, by the dense model.
        ours: by the model with the candidate in it.
        figures: the candidate's objectives on this context.
    """

    case: Case
    dense: Floats
    ours: Floats
    figures: dict[str, float]

    def gold(self, found: Floats) -> Floats:
        """The log-probability of each token of the answer."""
        return found[np.arange(len(self.case.answer)), list(self.case.answer)]

    def exact(self, found: Floats) -> bool:
        """Whether greedy decoding writes the answer."""
        return bool((found.argmax(axis=-1) == np.array(self.case.answer)).all())

    @property
    def kl(self) -> float:
        """The mean Kullback-Leibler divergence of the dense model's next token to ours, in nats."""
        return float((np.exp(self.dense) * (self.dense - self.ours)).sum(axis=-1).mean())

    @property
    def agreement(self) -> float:
        """The share of tokens whose first choice is the dense model's."""
        return float((self.dense.argmax(axis=-1) == self.ours.argmax(axis=-1)).mean())


def judge(
    problem: Problem, subject: Subject, label: str, seed: Seed, *, model: str | Model = OFFLINE, each: int = 2
) -> Verdict:
    """The verdict of the model stage, with one point: the operating point `label`.

    Args:
        problem: whose candidates compress; it must offer `inside`.
        subject: the candidate.
        label: the operating point, as the problem's own points are labelled.
        seed: of the candidate's randomness.
        model: the offline model, a folder, or a name on the Hugging Face hub.
        each: questions of every kind.

    Raises:
        BadInput: the problem has no model stage or no such operating point; the model cannot be loaded.
    """
    if not problem.headline:
        raise BadInput(f"{problem.name} has no model stage.")
    loaded = load(model) if isinstance(model, str) else model
    asked = cases(loaded, "select", DECLARED, each=each)
    try:
        outcomes = [_outcome(problem, subject, label, seed, loaded, case) for case in asked]
    except CandidateFault as fault:
        return problem.invalid(fault.feedback, fault.status).model_copy(update={"stage": "model"})
    figures = summary(outcomes)
    figures.update({name: _mean([outcome.figures[name] for outcome in outcomes]) for name in outcomes[0].figures})
    verdict = problem.verdict(
        Point(label=label, split="select", family="model", **figures),
        report={"model": loaded.name, "cases": [_row(outcome) for outcome in outcomes]},
    )
    return verdict.model_copy(update={"stage": "model", "feedback": _sentence(loaded.name, label, figures)})


def _outcome(problem: Problem, subject: Subject, label: str, seed: Seed, model: Model, case: Case) -> Outcome:
    context = prefill(model, case.context)
    ids, first = [*case.question, *case.answer][:-1], len(case.question) - 1
    dense = continued(context, ids, Dense(context))[first:]
    ours, figures = compressed(problem, subject, context, ids, label, seed)
    return Outcome(case, dense, ours[first:], figures)


def compressed(
    problem: Problem, subject: Subject, context: Context, ids: Sequence[int], label: str, seed: Seed
) -> tuple[Floats, dict[str, float]]:
    """Log-probabilities [S, vocabulary] after each of S tokens with the candidate in the model, and its figures."""
    inside: Inside = problem.inside(subject, context, label, seed.derive("inside", context.hash))
    try:
        found = continued(context, ids, inside, start=inside.start)
    except BaseException:
        inside.abandon()
        raise
    return found, inside.finish()


def summary(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """The figures of a point: of held-out text, and of the questions that the dense model answers."""
    text = [outcome for outcome in outcomes if outcome.case.task == "text"]
    questions = [outcome for outcome in outcomes if outcome.case.task != "text"]
    kept = [outcome for outcome in questions if outcome.exact(outcome.dense)]
    figures = {
        "perplexity": float(np.exp(-_mean([outcome.gold(outcome.ours).mean() for outcome in text]))),
        "perplexity_dense": float(np.exp(-_mean([outcome.gold(outcome.dense).mean() for outcome in text]))),
        "kl": _mean([outcome.kl for outcome in text]),
        "agreement": _mean([outcome.agreement for outcome in text]),
        "questions": len(questions),
        "questions_dense": len(kept),
    }
    if kept:
        figures["accuracy"] = _mean([outcome.exact(outcome.ours) for outcome in kept])
        figures["gold_logprob"] = _mean([outcome.gold(outcome.ours).mean() for outcome in kept])
        figures["gold_logprob_dense"] = _mean([outcome.gold(outcome.dense).mean() for outcome in kept])
    return figures


def _row(outcome: Outcome) -> dict[str, Any]:
    """One case as JSON."""
    return {
        "case": outcome.case.name,
        "task": outcome.case.task,
        "tokens": len(outcome.case.context),
        "solved_dense": outcome.exact(outcome.dense),
        "solved": outcome.exact(outcome.ours),
        "gold_logprob_dense": float(outcome.gold(outcome.dense).mean()),
        "gold_logprob": float(outcome.gold(outcome.ours).mean()),
        "kl": outcome.kl,
        "agreement": outcome.agreement,
        **outcome.figures,
    }


def _sentence(model: str, label: str, figures: dict[str, float]) -> str:
    text = (
        f"Inside {model} at {label}: perplexity {figures['perplexity']:.3g} (dense {figures['perplexity_dense']:.3g}), "
        f"KL {figures['kl']:.3g} nats, first choice as dense at {figures['agreement']:.0%} of tokens"
    )
    if "accuracy" in figures:
        known, failed = figures["questions_dense"], figures["questions"] - figures["questions_dense"]
        text += (
            f"; answers {figures['accuracy'] * known:.0f} of the {known:.0f} questions that the dense model answers "
            f"(which fails {failed:.0f} more), log-probability of the right answer "
            f"{figures['gold_logprob']:.3g} a token (dense {figures['gold_logprob_dense']:.3g})"
        )
    return text + "."


def _mean(values: Sequence[Any]) -> float:
    return float(np.mean([float(value) for value in values]))
