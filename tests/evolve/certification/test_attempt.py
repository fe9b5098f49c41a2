"""An attempt: its order in the log, what stops it, what it spends, and how often it certifies what is not so."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from vevolve import __version__
from vevolve.archive import Archive, certificates, checker
from vevolve.archive.events import Concluded, Examined, Registered, Unsealed
from vevolve.errors import ArchiveError, BadInput, UnknownName
from vevolve.evolve.certification import attempt as attempts
from vevolve.evolve.certification.attempt import Fault
from vevolve.evolve.certification.plan import Plan
from vevolve.types import Seed


def test_what_is_tested_stands_in_the_log_before_the_secret_of_the_documents_exists(
    archive: Archive, lab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows_when_drawn: list[int] = []
    secret = attempts.secrets.token_hex

    def draw(count: int) -> str:
        rows_when_drawn.append(archive.tip[0])
        return secret(count)

    monkeypatch.setattr(attempts.secrets, "token_hex", draw)
    found = lab.tried(archive, lab.steady(0.0))
    events = [entry.event for entry in archive.events(after=1)]
    assert rows_when_drawn == [found.seq]
    assert [type(one) for one in events[:2]] == [Registered, Unsealed] and isinstance(events[-1], Concluded)
    assert all(isinstance(one, Examined) for one in events[2:-1]) and len(events) == 3 + found.concluded.documents
    assert isinstance(events[1], Unsealed) and events[1].reason == "certify"
    archive.verify()


def test_documents_follow_from_the_secret_and_from_what_was_registered(archive: Archive, lab: Any) -> None:
    lab.tried(archive, lab.steady(0.0))
    rows = list(archive.events(after=1))
    nonce = rows[1].event.nonce  # type: ignore[union-attr]
    key = attempts.documents_key(nonce, rows[0].hash).derive("document", 0)
    assert rows[2].event.key == key.key.hex()  # type: ignore[union-attr]
    assert attempts.documents_key(nonce, "0" * 64).derive("document", 0) != key
    assert checker.derive(attempts.documents_key(nonce, rows[0].hash).key, "document", 0) == key.key


def test_a_clean_candidate_is_certified_as_soon_as_betting_allows_and_by_clopper_pearson_after_all(
    archive: Archive, lab: Any
) -> None:
    soon = lab.tried(archive, lab.steady(0.0))
    late = lab.tried(archive, lab.steady(0.0), method="clopper-pearson")
    assert soon.concluded.issued and late.concluded.issued
    assert soon.concluded.documents == 38 and late.concluded.documents == 60


def test_a_candidate_far_above_delta_is_refuted_after_a_few_documents(archive: Archive, lab: Any) -> None:
    found = lab.tried(archive, lab.one_bad_head(0.5)).concluded
    assert not found.issued and found.documents < 20
    assert "layer 7, KV head 0" in found.reason and "1 were shown to exceed it" in found.reason
    assert found.figures["pooled_rate"] < 0.2  # pooled, one bad head of four looks better than it is


def test_each_further_attempt_spends_less_and_all_together_spend_alpha(archive: Archive, lab: Any) -> None:
    levels = [lab.tried(archive, lab.steady(0.3)).registered.statement for _ in range(4)]
    assert [one.attempt for one in levels] == [1, 2, 3, 4]
    assert [one.level for one in levels] == [pytest.approx(6 * 0.05 / (math.pi**2 * k * k)) for k in (1, 2, 3, 4)]
    assert sum(6 / (math.pi**2 * k * k) for k in range(1, 10_000)) < 1


def test_an_attempt_that_was_given_up_counts(archive: Archive, lab: Any) -> None:
    def broken(keys: Any) -> Any:
        raise KeyboardInterrupt
        yield

    with pytest.raises(KeyboardInterrupt):
        attempts.attempt(archive, lab.CANDIDATE, lab.setting(), Plan(epsilon=0.1, delta=0.1), broken)
    assert lab.tried(archive, lab.steady(0.0)).registered.statement.attempt == 2


def test_a_crash_on_a_document_ends_the_attempt_without_a_certificate(archive: Archive, lab: Any) -> None:
    def crashes(keys: Any) -> Any:
        good = lab.examine(lab.steady(0.0))
        for number, key in enumerate(keys):
            yield Fault(status="crash", feedback="division by zero") if number == 35 else next(good([key]))

    plan = Plan(epsilon=0.1, delta=0.1)
    found = attempts.attempt(archive, lab.CANDIDATE, lab.setting(), plan, crashes).concluded
    assert not found.issued and found.reason == "crash on document 36: division by zero"


def test_too_few_documents_are_refused_with_the_number_needed_and_nothing_is_logged(archive: Archive, lab: Any) -> None:
    before = archive.tip
    with pytest.raises(BadInput, match="at least 34 documents with --method clopper-pearson"):
        lab.tried(archive, lab.steady(0.0), method="clopper-pearson", documents=33)
    assert archive.tip == before
    assert lab.tried(archive, lab.steady(0.0), method="clopper-pearson", documents=34).concluded.issued


@pytest.mark.parametrize("wrong", [{"epsilon": 0.0}, {"delta": 1.0}, {"delta_token": 1.2}, {"alpha": -0.1}])
def test_shares_outside_the_open_interval_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(BadInput, match="must lie between 0 and 1"):
        Plan(**{"epsilon": 0.1, "delta": 0.1, **wrong}).statement(1)


def test_an_unknown_method_is_refused_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'betting'"):
        Plan(epsilon=0.1, delta=0.1, method="beting").statement(1)


def test_a_small_delta_gets_as_many_documents_as_it_needs() -> None:
    assert Plan(epsilon=0.1, delta=0.1).statement(1).documents == 60
    assert Plan(epsilon=0.1, delta=0.02).statement(1).documents > 170


LAWS = {
    "units by themselves, at delta": (lambda lab: lab.steady(0.1), {}),
    "units by themselves, above delta": (lambda lab: lab.steady(0.13), {}),
    "whole documents, just above delta": (lambda lab: lab.clustered(0.101), {}),
    "whole documents, at .15": (lambda lab: lab.clustered(0.15), {}),
    "one bad head that the pooled rate hides": (lambda lab: lab.one_bad_head(0.101), {}),
    "tokens that differ too often": (lambda lab: lab.steady(0.0, 0.101), {}),
    "whole documents, by clopper-pearson": (lambda lab: lab.clustered(0.101), {"method": "clopper-pearson"}),
    "one bad head, by clopper-pearson": (lambda lab: lab.one_bad_head(0.101), {"method": "clopper-pearson"}),
}


@pytest.mark.parametrize("law", LAWS)
def test_1000_audits_of_false_claims_issue_certificates_no_more_often_than_stated(law: str, lab: Any) -> None:
    """Betting looks after every document; the level is that of a first attempt."""
    make, named = LAWS[law]
    statement = Plan(epsilon=0.1, delta=0.1, documents=45, **named).statement(1)
    draw, audits, columns = np.random.default_rng(17), 1000, len(lab.LAYERS) * lab.HEADS + 1
    law_of, draws = make(lab), np.empty((statement.documents, audits, columns))
    for number in range(statement.documents):
        for audit in range(audits):
            over, differs = law_of(draw)
            if statement.method == "betting":
                draws[number, audit, :-1] = over.mean(axis=-1).ravel()
                draws[number, audit, -1] = differs.mean()
            else:  # one unit of each head, at random
                draws[number, audit, :-1] = over[..., draw.integers(over.shape[-1])].ravel()
                draws[number, audit, -1] = differs[draw.integers(len(differs))]
    flat = draws.reshape(statement.documents, -1)
    passed = checker._passes(flat, 0.1, statement.level, statement.method).reshape(audits, columns).all(axis=1)
    assert passed.mean() <= statement.level + 3 * math.sqrt(statement.level * (1 - statement.level) / audits)


def test_a_draw_is_the_share_of_a_heads_units_or_one_unit_chosen_by_the_documents_key(lab: Any) -> None:
    draw = np.random.default_rng(3)
    over = {"3": ["11110000", "00000000"], "7": ["11111111", "10000000"]}
    documents = [{"key": draw.bytes(16).hex(), "over": over, "differs": "0001"} for _ in range(600)]
    shares = checker.draws_of({"method": "betting"}, documents)
    assert shares.tolist() == [[0.5, 0.0, 1.0, 0.125, 0.25]] * 600
    drawn = checker.draws_of({"method": "clopper-pearson"}, documents)
    assert set(np.unique(drawn)) == {0.0, 1.0}
    np.testing.assert_allclose(drawn.mean(axis=0), shares[0], atol=0.07)


def test_a_certificate_cannot_be_assembled_from_an_attempt_that_never_ended(archive: Archive, lab: Any) -> None:
    found = lab.tried(archive, lab.steady(0.0))
    with pytest.raises(ArchiveError, match="begins no attempt"):
        certificates.assemble(archive, found.seq + 1, lab.CANDIDATE, __version__)


def test_what_was_issued_and_what_failed_since_is_read_from_the_log(archive: Archive, lab: Any) -> None:
    first = lab.tried(archive, lab.steady(0.0)).seq
    assert list(certificates.issued(archive)) == [lab.CANDIDATE.id] and not certificates.refuted(archive)
    lab.tried(archive, lab.steady(0.5))
    assert certificates.refuted(archive) == {first} and certificates.standing(archive) == {}
    assert certificates.attempts(archive)[lab.CANDIDATE.id] == 2
    assert certificates.attempts_before(archive, lab.CANDIDATE.id, archive.tip[0]) == 2


def test_a_stricter_claim_that_fails_takes_no_certificate_back_and_a_weaker_one_that_passes_brings_none_back(
    archive: Archive, lab: Any
) -> None:
    assert (first := lab.tried(archive, lab.steady(0.0), delta=0.3)).concluded.issued
    assert not lab.tried(archive, lab.steady(0.5), delta=0.2).concluded.issued
    assert not lab.tried(archive, lab.steady(0.0, 0.9), delta=0.3, delta_token=0.2).concluded.issued
    assert not certificates.refuted(archive)
    assert not lab.tried(archive, lab.steady(0.9), delta=0.3).concluded.issued
    assert certificates.refuted(archive) == {first.seq} and certificates.standing(archive) == {}
    assert (weaker := lab.tried(archive, lab.steady(0.0), delta=0.4)).concluded.issued
    assert certificates.refuted(archive) == {first.seq}
    assert certificates.standing(archive) == {lab.CANDIDATE.id: {"64 tokens"}}
    assert lab.tried(archive, lab.steady(0.0), delta=0.2).concluded.issued
    assert not certificates.refuted(archive)
    assert not lab.tried(archive, lab.steady(0.9), delta=0.35, documents=80).concluded.issued
    assert first.seq in certificates.refuted(archive) and weaker.seq not in certificates.refuted(archive)


def test_what_fails_at_one_operating_point_or_model_or_layer_says_nothing_of_another(
    archive: Archive, lab: Any
) -> None:
    def tried(rate: float, point: str = "64 tokens", **generator: Any) -> bool:
        setting = lab.setting()
        changed = {"point": {"label": point}, "generator": setting.generator | generator}
        examine, plan = lab.examine(lab.steady(rate)), Plan(epsilon=0.1, delta=0.3)
        found = attempts.attempt(archive, lab.CANDIDATE, setting.model_copy(update=changed), plan, examine)
        return found.concluded.issued

    assert tried(0.0)
    assert not tried(0.9, point="32 tokens") and not tried(0.9, model="another")
    assert not tried(0.9, layers=[*lab.LAYERS, 9])
    assert certificates.standing(archive) == {lab.CANDIDATE.id: {"64 tokens"}}
    assert not tried(0.9, layers=[lab.LAYERS[0]])
    assert certificates.standing(archive) == {}


def test_as_many_documents_are_planned_as_usual_or_as_the_level_needs() -> None:
    again = Plan(epsilon=0.1, delta=0.1, usual=200)
    assert again.statement(2).documents == 200
    assert Plan(epsilon=0.1, delta=0.1, usual=10).statement(1).documents == 38


def test_seeds_of_the_checker_are_those_of_the_library() -> None:
    seed = Seed(b"0123456789abcdef")
    assert checker.derive(seed.key, "unit", "7", 0) == seed.derive("unit", "7", 0).key
