"""A replay answers from the record of a real archive."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.evolve.proposers.conftest import request, settings

from vevolve.archive import Archive
from vevolve.archive.events import Proposed, Started
from vevolve.errors import BadInput, UnknownName
from vevolve.evolve.proposers.contract import Prompt, ProposalFailed, Proposer
from vevolve.evolve.proposers.open import open_proposer
from vevolve.types import Containment, Objective


def recorded(iteration: int, attempt: int = 0, reply: str = "Idea: x", **changes) -> Proposed:
    asked = {"system": "You improve programs.", "user": "Improve it."}
    fields = {"proposer": "openai:m", "model": "m-1", "usd": 0.5, "input_tokens": 7, **asked, **changes}
    return Proposed(iteration=iteration, attempt=attempt, reply=reply, **fields)


@pytest.fixture
def replay(tmp_path: Path) -> Proposer:
    started = Started(
        run="r",
        version="0",
        problem="p",
        problem_hash="h",
        objectives=(Objective("error", "min", worst=1.0),),
        seed="s",
        seed_commitment="c",
        config={},
        containment=Containment(),
    )
    with Archive.create(tmp_path / "run", started) as archive:
        archive.append(
            recorded(1),
            recorded(1, 1, reply="Idea: mended", error=""),
            recorded(2, reply="no blocks", error="holds neither"),
            recorded(3, reply="", error="openai:m answered 500"),
            recorded(4, system="", user=""),
        )
    return open_proposer(f"replay:{tmp_path / 'run'}", settings())


def test_a_reply_is_given_again_for_the_same_request_at_no_cost(replay, caplog):
    reply = replay.propose(request(1))
    assert (reply.text, reply.model, reply.usd, reply.input_tokens) == ("Idea: x", "m-1", 0.0, 0)
    assert replay.propose(request(1, 1)).text == "Idea: mended"
    assert replay.estimate(Prompt(system="", user="")) == 0.0
    assert caplog.text == ""


def test_a_reply_that_did_not_apply_is_given_again(replay):
    assert replay.propose(request(2)).text == "no blocks"


def test_a_request_without_a_record_fails_and_says_so(replay):
    with pytest.raises(ProposalFailed, match="holds no reply for iteration 9, attempt 0"):
        replay.propose(request(9))
    with pytest.raises(ProposalFailed, match="got no reply for iteration 3, attempt 0: openai:m answered 500"):
        replay.propose(request(3))


def test_another_question_is_answered_with_a_warning_that_says_where_it_parts(replay, caplog):
    with caplog.at_level(logging.WARNING):
        assert replay.propose(request(1, user="Improve it.\nNow.")).text == "Idea: x"
    assert "the question of iteration 1, attempt 0 is another one: line 3 was '' and is 'Now.'" in caplog.text


def test_a_record_without_a_question_is_not_compared(replay, caplog):
    replay.propose(request(4))
    assert caplog.text == ""


def test_a_run_that_is_not_there_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnknownName):
        open_proposer("replay:nowhere", settings())
    with pytest.raises(BadInput, match="replay:RUN"):
        open_proposer("replay:", settings())
