"""Certificates in the views, with attempts whose documents come out by a known law."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.archive.web.conftest import started, story

from vevolve import __version__
from vevolve.archive import Archive, checker, report
from vevolve.archive.web.views.candidate import sentence
from vevolve.evaluators.contract import Sealed
from vevolve.evolve.certification.attempt import Fault, Outcome, Setting, attempt
from vevolve.evolve.certification.plan import Plan
from vevolve.types import Bound, Containment, Seed

Serve = Callable[[Path], Any]
Certified = tuple[Path, str, int]
"""A run, a candidate of it, and the row of the log that registered the attempt at it."""
LAYERS, HEADS, GROUP, STEPS = (3, 7), 2, 2, 4


def tried(archive: Archive, id: str, rate: float) -> Outcome:
    """An attempt at a candidate of which every unit violates by itself with this chance."""

    def examine(keys: Iterable[Seed]) -> Iterator[Sealed | Fault]:
        for key in keys:
            draw = np.random.default_rng(key.integer).random((len(LAYERS), HEADS, STEPS * GROUP)) < rate
            over = {
                str(layer): ["".join(map(str, head.astype(int))) for head in draw[place]]
                for place, layer in enumerate(LAYERS)
            }
            yield Sealed(
                hash=hashlib.sha256(key.key).hexdigest(),
                source="<b>a law</b>",
                stratum="prose",
                over=over,
                differs="0000",
            )

    setting = Setting(
        problem="sparse_decode",
        problem_hash="c0ffee",
        point={"label": "64 tokens", "tokens": 64, "epsilon": None, "delta": None},
        generator={
            "name": "a law", "version": 1, "split": "sealed", "model": "none", "loaded_as": "none", "tokens": 64,
            "steps": STEPS, "layers": list(LAYERS), "heads": HEADS, "group": GROUP,
        },
        versions={"vevolve": __version__},
        containment=Containment(level="L2"),
    )  # fmt: skip
    return attempt(archive, archive.record(id).candidate, setting, Plan(epsilon=0.1, delta=0.3), examine)


@pytest.fixture
def run(tmp_path: Path) -> Certified:
    """The last candidate was certified at its second operating point."""
    with Archive.create(tmp_path / "r", started()) as archive:
        id = story(archive)[3]
        outcome = tried(archive, id, 0.002)
        assert outcome.concluded.issued
    return tmp_path / "r", id, outcome.seq


def test_a_candidate_shows_its_certificate_as_a_sentence_with_every_document(run: Certified, serve: Serve) -> None:
    path, id, seq = run
    served = serve(path)
    (one,) = served.data(f"/run/r/c/{id}.json")["attempts"]
    assert (one["issued"], one["refuted"], one["seq"], one["point"]) == (True, False, seq, "64 tokens")
    assert "in each of the 4 KV heads of layers 3, 7" in one["claim"] and one["figures"]["heads_passed"] == 4
    assert len(one["documents"]) > 5
    assert all(0 <= document["over"] <= document["worst"] <= 1 for document in one["documents"])
    text = served.ask(f"/run/r/c/{id}")[2]
    assert "4 of 4 KV heads passed" in text and "&lt;b&gt;a law&lt;/b&gt;" in text and "<b>a law" not in text
    assert f'href="/run/r/certificate-{seq}.json"' in text


def test_the_evidence_that_the_page_hands_out_is_accepted_by_the_checker(run: Certified, serve: Serve) -> None:
    path, id, seq = run
    served = serve(path)
    certificate = served.data(f"/run/r/certificate-{seq}.json")
    assert certificate["candidate"]["id"] == id and checker.check(certificate)["passes"]
    assert served.ask(f"/run/r/certificate-{seq + 1}.json")[0] == 404
    certificate["log"]["rows"][3]["event"]["differs"] = "0001"
    with pytest.raises(checker.Rejected):
        checker.check(certificate)


def test_only_the_operating_point_that_was_certified_is_marked(run: Certified, serve: Serve) -> None:
    path, id, _ = run
    served = serve(path)
    drawn = served.data("/run/r/points.json")
    marked = [
        (drawn["candidates"][drawn["owner"][k]][0], drawn["labels"][drawn["label"][k]]) for k in drawn["certified"]
    ]
    assert marked == [(id[:16], "64 tokens")]
    page = served.data("/run/r.json")
    assert page["counters"]["certificates"] == 1
    assert {(one["candidate"]["id"], one["label"]) for one in page["points"] if one["certified"]} <= {(id, "64 tokens")}
    assert served.data(f"/run/r/c/{id}.json")["certified"] == ["64 tokens"]
    assert [row["id"] for row in served.data("/run/r/table.json?certified=1")["rows"]] == [id]
    assert "certified</span>" in served.ask("/run/r/table")[2]


def test_a_certificate_that_a_later_attempt_did_not_support_is_marked_nowhere_and_said_so(
    run: Certified, serve: Serve
) -> None:
    path, id, _ = run
    with Archive.open(path, write=True) as archive:
        assert not tried(archive, id, 0.9).concluded.issued
        facts = report.facts(archive, "r")
    served = serve(path)
    latest, first = served.data(f"/run/r/c/{id}.json")["attempts"]
    assert (latest["issued"], first["issued"], first["refuted"]) == (False, True, True)
    assert "were shown to exceed it" in latest["reason"]
    text = served.ask(f"/run/r/c/{id}")[2]
    assert "not supported by a later attempt" in text and "Not certified" in text
    assert served.data("/run/r/points.json")["certified"] == []
    assert served.data("/run/r.json")["counters"]["certificates"] == 0
    assert facts["certificates"][0]["refuted"] and "did not support it" in report.markdown(facts)


@pytest.mark.parametrize(
    ("rate", "upper", "told"), [(0.2, 0.5, "broken"), (0.05, 0.3, "not shown on replay"), (0.0, 0.1, "holds on replay")]
)
def test_what_recorded_documents_show_is_called_replay_and_neither_proved_nor_certified(
    rate: float, upper: float, told: str
) -> None:
    text = sentence(Bound(epsilon=0.05, delta=0.1, split="search", rate=rate, documents=6, upper=upper))
    assert f"all heads pooled, promised in at most 10%: {told}." in text
    assert "proved" not in text and "certified" not in text


def test_a_report_tells_the_certificate_and_what_it_rests_on(run: Certified) -> None:
    path, _, seq = run
    with Archive.open(path) as archive:
        facts = report.facts(archive, "r")
    (one,) = facts["certificates"]
    assert f"rows {seq} to " in one["evidence"] and not one["refuted"]
    for text in (report.html(facts), report.markdown(facts)):
        assert "4 of 4 KV heads passed" in text and "64 tokens" in text
    assert json.dumps(facts)


def test_a_certified_point_has_a_ring_on_the_plot(run: Certified, serve: Serve, page: Any) -> None:
    served = serve(run[0])
    page.goto(f"{served.url}/run/r/scatter")
    page.wait_for_function("() => document.querySelector('[data-plot]').dataset.drawn")
    assert page.locator("a:has(.ring)").count() == 1
    assert ", certified" in page.locator("a:has(.ring)").get_attribute("aria-label")
    page.get_by_role("button", name="certified").click()
    page.wait_for_function("() => !document.querySelector('.ring')")
    assert page.locator(".ring").count() == 0 and not page.faults
