"""Propose: from a question to a program, with one repair of a reply that does not apply."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from vevolve.archive.events import Proposed
from vevolve.archive.fold import traits
from vevolve.evolve.ask import Choice
from vevolve.evolve.budget import Dollars
from vevolve.evolve.edits import Unapplied, apply
from vevolve.evolve.proposers.contract import Prompt, ProposalFailed, Proposer, Reply, Request
from vevolve.types import Candidate, Seed

REDRAWS = 16
"""How often a free proposer is asked anew for a program that is not known yet."""


@dataclass(frozen=True)
class Question:
    """Everything that one iteration asks for.

    Attributes:
        iteration: its number.
        choice: operation, and the ids of parents and donors.
        author: the name under which the outcome is told.
        proposer: who is asked.
        prompt: the question as text.
        mend: the prompt of a repair, from a reply's text and why it did not apply.
        parents: the programs of `choice.parents`.
        donors: the programs of `choice.donors`, and shipped ones.
        seed: the randomness of this iteration's requests.
    """

    iteration: int
    choice: Choice
    author: str
    proposer: Proposer
    prompt: Prompt
    mend: Callable[[str, str], Prompt]
    parents: tuple[Candidate, ...]
    donors: tuple[Candidate, ...]
    seed: Seed


@dataclass(frozen=True)
class Draft:
    """What came of a question.

    Attributes:
        candidate: the program; where the reply held none, the reply's text in its place.
        tree: the hash that finds duplicates; empty where there is no program.
        idea: one line on what changed.
        fault: why there is no program; empty where there is one.
        failed: the proposer answered neither the question nor, where it was asked for one, a repair with any text.
        empty: how many answers made no new program.
    """

    candidate: Candidate
    tree: str
    idea: str = ""
    fault: str = ""
    failed: bool = False
    empty: int = 0


def is_free(proposer: Proposer) -> bool:
    """Whether a proposer costs nothing, answers at once, and reads the programs of a request and not its prompt.

    It says so by an attribute `free = True`; the offline mutator need not say it. Such a proposer is asked in the order
    of iterations by a single thread, and asked again where it repeats a known program.
    """
    return getattr(proposer, "free", proposer.name == "offline") is True


def tree_hash(candidate: Candidate) -> str:
    """The hash of the syntax tree, or of the text where there is none. The archive finds it computed."""
    return traits(candidate)[0] or candidate.id


def bare(candidate: Candidate) -> Candidate:
    """The same program for whoever may derive much from it, such as a syntax tree: that goes when they are done."""
    return Candidate(candidate.source, candidate.params)


def propose(
    question: Question,
    *,
    known: Callable[[str], bool],
    paid: Mapping[int, Proposed],
    record: Callable[[Proposed], None],
    dollars: Dollars,
    estimate: float | None,
    run: str = "",
) -> Draft:
    """Ask, apply the reply, and ask once more where it does not apply.

    Args:
        question: what is asked.
        known: whether a tree hash is one that a free proposer should not repeat.
        paid: attempt -> the answer of an earlier session, used in place of a call.
        record: takes every answer at once, before anything else can fail or is asked.
        dollars: the budget, in which `estimate` is set aside for the first call.
        estimate: see `dollars`.
        run: which run asks.

    Raises:
        ProposerError: the proposer failed for good.
    """
    prompt, text, fault, empty = question.prompt, "", "", 0
    for attempt in (0, 1):
        event = paid.get(attempt)
        made: Draft | str
        if event is None:
            try:
                event, made = _call(question, attempt, prompt, known, dollars, estimate, run)
            except ProposalFailed as failure:
                event, made = _event(question, attempt, prompt, error=str(failure)), str(failure)
            record(event)
        else:
            made = event.error or _applied(question, event.reply)
        if isinstance(made, Draft):
            return made
        fault = made
        if not event.reply.strip():
            break
        text, empty = event.reply, empty + 1
        if attempt == 0 and 1 not in paid:
            prompt = question.mend(text, fault)
            estimate = question.proposer.estimate(prompt)
            if not dollars.reserve(estimate):
                break
    source = text or f"# No usable reply in iteration {question.iteration}.\n# {fault}\n"
    return Draft(Candidate(source), tree="", fault=fault, failed=not text, empty=empty)


def _call(
    question: Question,
    attempt: int,
    prompt: Prompt,
    known: Callable[[str], bool],
    dollars: Dollars,
    estimate: float | None,
    run: str,
) -> tuple[Proposed, Draft | str]:
    """One answer, and what it makes of the parent, or why it makes nothing."""
    began, usd = time.monotonic(), 0.0
    draws, calls = REDRAWS if is_free(question.proposer) else 1, 1
    reply = Reply(text="", model="")
    made: Draft | str = "no answer"
    parents = tuple(map(bare, question.parents))

    def afford() -> bool:
        nonlocal calls
        allowed = dollars.reserve(estimate)
        calls += allowed
        return allowed

    try:
        for draw in range(draws):
            reply = question.proposer.propose(
                Request(
                    iteration=question.iteration,
                    attempt=attempt,
                    operation=question.choice.operation,
                    prompt=prompt,
                    parents=parents,
                    donors=question.donors,
                    seed=question.seed.derive(attempt, draw),
                    run=run,
                    afford=afford,
                )
            )
            usd += reply.usd or 0.0
            made = _applied(question, reply.text)
            if isinstance(made, Draft) and not known(made.tree):
                break
    except ProposalFailed as failure:
        if failure.billed is None:
            raise
        reply, made, usd = failure.billed, str(failure), usd + (failure.billed.usd or 0.0)
    finally:
        dollars.settle(calls * (estimate or 0.0), usd)
    error = "" if isinstance(made, Draft) else made
    return _event(question, attempt, prompt, reply, seconds=time.monotonic() - began, error=error), made


def _applied(question: Question, text: str) -> Draft | str:
    """The program that a reply makes of the first parent, or why it makes none."""
    parent = question.parents[0]
    try:
        edit = apply(text, parent.source)
    except Unapplied as unapplied:
        return str(unapplied)
    candidate = Candidate(edit.source, parent.params)
    return Draft(candidate, tree_hash(candidate), edit.idea)


def _event(
    question: Question,
    attempt: int,
    prompt: Prompt,
    reply: Reply | None = None,
    *,
    seconds: float = 0.0,
    error: str = "",
) -> Proposed:
    reply = reply or Reply(text="", model="")
    return Proposed(
        iteration=question.iteration,
        attempt=attempt,
        proposer=question.proposer.name,
        model=reply.model,
        system=prompt.system,
        user=prompt.user,
        reply=reply.text,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        usd=reply.usd,
        seconds=seconds,
        error=error,
    )
