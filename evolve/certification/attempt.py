"""One attempt at a certificate: register it, then draw the documents, examine, conclude. Every step is in the log.

The order is the point. What is tested, and how, stands in the log before the secret exists that the documents follow
from; and their key is bound to the hash of that row, so that the same documents cannot be had under another claim.
An attempt counts once it is registered, whatever becomes of it.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from vevolve.archive import Archive, checker
from vevolve.archive.certificates import attempts
from vevolve.archive.events import Concluded, Examined, Registered, Statement, Unsealed
from vevolve.evaluators.confidence import betting, fixed
from vevolve.evaluators.contract import Sealed
from vevolve.evolve.certification.plan import Plan
from vevolve.types import Candidate, Containment, Seed, Value


class Fault(Value):
    """A candidate crashed or broke a rule on a document."""

    status: str
    feedback: str


class Setting(Value):
    """Where and with what an attempt takes place.

    Attributes:
        problem: the name by which the problem is loaded.
        problem_hash: of all that judges.
        point: the operating point.
        generator: of the documents.
        versions: of the programs that take part.
        containment: of the candidate.
    """

    problem: str
    problem_hash: str
    point: dict[str, Any]
    generator: dict[str, Any]
    versions: dict[str, str]
    containment: Containment


class Examine(Protocol):
    """Examines a candidate on the documents of keys, in the order of these, maybe several at once."""

    def __call__(self, keys: Iterable[Seed]) -> Iterator[Sealed | Fault]:
        """The outcomes, in order; those not asked for are dropped."""
        ...


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        seq: the row of the log that registered it.
        registered: what was tested.
        concluded: what was found.
    """

    seq: int
    registered: Registered
    concluded: Concluded


def documents_key(nonce: str, registration: str) -> Seed:
    """What all documents of an attempt follow from: the secret, bound to the hash of the row that registered it."""
    return Seed(hmac.new(bytes.fromhex(nonce), registration.encode(), hashlib.sha256).digest()[:16])


def attempt(
    archive: Archive,
    candidate: Candidate,
    setting: Setting,
    plan: Plan,
    examine: Examine,
    *,
    purpose: Literal["certify", "audit"] = "certify",
    reason: str = "",
    earlier: int = 0,
    tell: Callable[[int, int, Sequence[Examined]], None] = lambda done, planned, found: None,
) -> Outcome:
    """Try to certify a candidate.

    Args:
        archive: open for writing; the log.
        candidate: the program.
        setting: where it takes place.
        plan: what is to be certified.
        examine: draws and examines documents.
        purpose: a first test, or a test of a certificate that was issued before.
        reason: why sealed documents are opened; it stands in the log.
        earlier: attempts that this log may not know of, such as the certificate's that is audited.
        tell: called with the number of documents done, that planned, and what was found on them.

    Raises:
        BadInput, UnknownName: the plan cannot succeed; nothing is logged then.
    """
    statement = plan.statement(max(attempts(archive)[candidate.id], earlier) + 1)
    registered = Registered(candidate=candidate.id, purpose=purpose, statement=statement, **dict(setting))
    archive.append(registered)
    seq, registration = archive.tip
    nonce = secrets.token_hex(16)
    archive.append(Unsealed(candidate=candidate.id, reason=reason or purpose, nonce=nonce))
    keys = [documents_key(nonce, registration).derive("document", number) for number in range(statement.documents)]
    found: list[Examined] = []
    fault: Fault | None = None
    for key, sealed in zip(keys, examine(keys), strict=True):
        if isinstance(sealed, Fault):
            fault = sealed
            break
        found.append(Examined(candidate=candidate.id, document=len(found), key=key.key.hex(), **dict(sealed)))
        archive.append(found[-1])
        tell(len(found), statement.documents, found)
        if decided(statement, found):
            break
    concluded = _conclude(candidate.id, statement, found, fault)
    archive.append(concluded)
    return Outcome(seq, registered, concluded)


def decided(statement: Statement, found: Sequence[Examined]) -> bool:
    """Whether more documents cannot change the outcome, or need not."""
    documents = [one.model_dump() for one in found]
    draws, limits = checker.draws_of(statement.model_dump(), documents), _limits(statement, documents[0])
    if statement.method == "betting":
        capital = betting.log_capital(draws, limits)
        least = -math.log(statement.level)
        if (capital.max(axis=0) >= least).all() or _refuted(statement, draws, limits).any():
            return True
        # Where even clean documents from here on would not lift the capital far enough, the rest is not drawn.
        clean = np.zeros((statement.documents - len(draws), draws.shape[1]))
        return bool((betting.log_capital(np.vstack([draws, clean]), limits).max(axis=0) < least).any())
    allowed = np.array([fixed.failures_allowed(statement.documents, rate, statement.level) for rate in limits])
    return bool((draws.sum(axis=0) > allowed).any())


def _limits(statement: Statement, document: dict[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What each column of the draws may have in the mean: delta for every head, delta_token for the tokens."""
    heads = sum(len(found) for found in document["over"].values())
    return np.array([*[statement.delta] * heads, statement.delta_token])


def _refuted(statement: Statement, draws: Any, limits: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which columns have a mean above their limit, with confidence: each a test of its own at the level."""
    return np.asarray(betting.log_capital(1 - draws, 1 - limits).max(axis=0) >= -math.log(statement.level))


def _conclude(candidate: str, statement: Statement, found: Sequence[Examined], fault: Fault | None) -> Concluded:
    if not found:
        what = "no document was examined" if fault is None else f"{fault.status} on document 1: {fault.feedback}"
        return Concluded(candidate=candidate, issued=False, documents=0, reason=what)
    documents = [one.model_dump() for one in found]
    figures = checker.figures(statement.model_dump(), documents)
    whole = statement.method == "betting" or len(found) == statement.documents
    issued = fault is None and whole and bool(figures["passes"])
    if fault is not None:
        reason = f"{fault.status} on document {len(found) + 1}: {fault.feedback}"
    elif issued:
        reason = f"every head and the tokens passed after {len(found)} documents"
    else:
        reason = _failure(statement, documents, figures)
    return Concluded(candidate=candidate, issued=issued, documents=len(found), reason=reason, figures=figures)


def _failure(statement: Statement, documents: list[dict[str, Any]], figures: dict[str, Any]) -> str:
    heads, passed = figures["heads"], figures["heads_passed"]
    draws, limits = checker.draws_of(statement.model_dump(), documents), _limits(statement, documents[0])
    above = _refuted(statement, draws, limits)
    parts: list[str] = []
    if passed < heads:
        parts.append(
            f"{heads - passed} of {heads} KV heads were not shown to stay within delta {statement.delta:g} "
            f"({int(above[:-1].sum())} were shown to exceed it); the worst, {figures['worst_head']}, violates in "
            f"{figures['worst_head_rate']:.1%} of its units"
        )
    if not figures["tokens_passed"]:
        shown = "shown to exceed" if above[-1] else "not shown to stay within"
        parts.append(f"tokens differ at {figures['token_rate']:.1%} of steps, {shown} {statement.delta_token:g}")
    count, planned = len(documents), statement.documents
    rest = "" if count == planned else f"; the other {planned - count} of the {planned} planned could not change that"
    return f"after {count} documents: {'; '.join(parts)}{rest}"
