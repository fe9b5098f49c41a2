"""The loop: totals, order, duplicates, repairs, budgets, stops and failures."""

from __future__ import annotations

import logging
import threading
from collections import Counter

import pytest

from vevolve.archive import Archive
from vevolve.archive.events import Asked, Compared, Ended, Proposed, Selected, Told
from vevolve.errors import ProposerError
from vevolve.evolve import loop as loop_module
from vevolve.evolve.programs import Programs
from vevolve.evolve.proposers.contract import ProposalFailed, Reply

SHUFFLED = 0.01
"""Seconds that a call or an examination may take at most, drawn anew each time."""


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_a_run_reaches_its_total_and_says_so(plane, tmp_path):
    archive, events = plane.run(tmp_path, plane.settings(evaluations=30))
    assert archive.totals().evaluations == 30
    assert [told.iteration for told in of(events, Told)] == list(range(len(of(events, Told))))
    assert events[-1] == Ended(reason="all 30 evaluations are done", budget="evaluations")
    assert [entry.event for entry in archive.events(after=1)] == events
    statuses = {told.verdict.status for told in of(events, Told)}
    assert statuses >= {"ok", "crash", "wrong", "duplicate", "unapplied"}, "the double shows every kind of outcome"
    archive.verify()


def test_evolution_gains(plane, tmp_path):
    archive, events = plane.run(tmp_path, plane.settings(evaluations=60))
    seed = archive.hypervolume("search", upto=0)
    assert archive.hypervolume("search") > 2 * seed
    assert any(selected.promoted for selected in of(events, Selected))


@pytest.mark.parametrize("lag", [1, 3, 8])
@pytest.mark.parametrize("free", [False, True], ids=["hosted", "free"])
def test_what_is_told_depends_neither_on_delays_nor_on_the_number_of_workers(plane, tmp_path, lag, free):
    config = plane.settings(evaluations=25, lag=lag)
    calm, _ = plane.run(tmp_path / "calm", config, plane.Model(free=free))
    wild, _ = plane.run(
        tmp_path / "wild", config, plane.Model(free=free, delay=SHUFFLED), workers=plane.crew(3, SHUFFLED)
    )
    assert plane.story(calm) == plane.story(wild)
    assert len(plane.story(calm)) > 28


def test_a_question_knows_what_was_told_lag_iterations_before_and_nothing_later(plane, tmp_path):
    _, events = plane.run(tmp_path, plane.settings(evaluations=40, lag=5), plane.Model(delay=SHUFFLED))
    born = {}
    for event in events:
        if isinstance(event, Told):
            born.setdefault(plane.Candidate(event.source).id, event.iteration)
    asked = of(events, Asked)
    assert all(born[parent] <= max(0, ask.iteration - 5) for ask in asked for parent in (*ask.parents, *ask.donors))
    assert any(born[ask.parents[0]] == ask.iteration - 5 for ask in asked)


def test_model_calls_are_in_flight_up_to_the_lag_with_a_single_worker(plane, tmp_path):
    all_asked = threading.Event()

    def together(request):
        if len(model.requests) == 6:
            all_asked.set()
        assert all_asked.wait(60)
        return plane.wander(request)

    model = plane.Model(together, delay=SHUFFLED)
    plane.run(tmp_path, plane.settings(evaluations=30, lag=6), model)
    assert model.most_at_once == 6


def test_selections_stand_in_order_and_at_most_lag_iterations_late(plane, tmp_path):
    archive, events = plane.run(tmp_path, plane.settings(evaluations=40, lag=4), workers=plane.crew(2, SHUFFLED))
    gained = [told.iteration for told in of(events, Told) if told.hypervolume_gain > 0]
    assert [selected.iteration for selected in of(events, Selected)] == gained
    assert len(gained) > 3
    told = -1
    for event in events:
        if isinstance(event, Told):
            told = event.iteration
        elif isinstance(event, Selected):
            assert told == event.iteration + 3 or told == of(events, Told)[-1].iteration
    assert {record.id for record in archive.records() if record.promoted}


def test_promotion_asks_for_a_gain_on_every_family(plane, tmp_path):
    def mirror(request):
        # The second is better on the main workload and, there being nothing else, worse on the other family.
        return plane.fenced(plane.program(0.3, 0.8) if request.iteration == 1 else plane.program(0.8, 0.3))

    _, events = plane.run(tmp_path, plane.settings(evaluations=2, lag=1), plane.Model(mirror))
    assert [selected.promoted for selected in of(events, Selected)] == [True, True, True]

    def shrink(request):
        return plane.fenced(plane.program(0.8 - 0.1 * request.iteration, 0.8 if request.iteration < 2 else 0.85))

    _, events = plane.run(tmp_path / "b", plane.settings(evaluations=2, lag=1), plane.Model(shrink))
    verdicts = of(events, Selected)
    assert {point.family for point in verdicts[0].verdict.points} == {"", "other"}


def test_a_duplicate_costs_no_examination_and_does_not_count(plane, tmp_path):
    examined: list[str] = []

    def same(request):
        number = 1 if request.iteration % 2 else request.iteration
        return plane.fenced(plane.program(0.5, 0.5 + number / 100, note=str(request.iteration)))

    archive, events = plane.run(
        tmp_path, plane.settings(evaluations=6, lag=1), plane.Model(same), workers=plane.crew(1, 0, examined)
    )
    statuses = Counter(told.verdict.status for told in of(events, Told)[1:])
    assert statuses == {"ok": 6, "duplicate": 4}
    assert archive.totals().evaluations == 6
    selections = len(of(events, Selected))
    assert len(examined) == 1 + 6 + selections
    assert (
        "iteration 1" in next(told for told in of(events, Told) if told.verdict.status == "duplicate").verdict.feedback
    )


def test_a_free_proposer_draws_again_what_is_known(plane, tmp_path):
    def narrow(request):
        return plane.fenced(plane.program(0.5, 0.5 + (request.seed.integer % 12) / 100))

    config = plane.settings(evaluations=10)
    _, paid = plane.run(tmp_path / "paid", config, plane.Model(narrow))
    _, free = plane.run(tmp_path / "free", config, plane.Model(narrow, free=True))
    many, few = (sum(told.verdict.status == "duplicate" for told in of(events, Told)) for events in (paid, free))
    assert few < many
    assert few <= 2


def test_a_reply_that_does_not_apply_gets_one_repair_and_then_becomes_a_row(plane, tmp_path):
    def stubborn(request):
        if request.iteration == 1:
            return "no program here" if request.attempt == 0 else plane.fenced(plane.program(0.5, 0.5))
        return f"nothing, {request.iteration}.{request.attempt}" if request.iteration == 2 else plane.wander(request)

    model = plane.Model(stubborn)
    _, events = plane.run(tmp_path, plane.settings(evaluations=4), model)
    told = {event.iteration: event for event in of(events, Told)}
    assert told[1].verdict.status == "ok"
    assert (told[2].verdict.status, told[2].source) == ("unapplied", "nothing, 2.1")
    asked = [(request.iteration, request.attempt) for request in model.requests]
    assert asked.count((1, 1)) == asked.count((2, 1)) == 1
    assert (2, 2) not in asked
    second = next(request for request in model.requests if (request.iteration, request.attempt) == (1, 1))
    assert "no program here" in second.prompt.user
    exchanges = [event for event in of(events, Proposed) if event.iteration == 2]
    assert [bool(event.error) for event in exchanges] == [True, True]


def test_a_call_that_failed_once_becomes_a_row_and_the_run_goes_on(plane, tmp_path):
    def moody(request):
        if request.iteration == 2:
            raise ProposalFailed("five timeouts in a row")
        if request.iteration == 3:
            raise ProposalFailed("cut off", Reply(text="half a", model="double", usd=0.5))
        return plane.wander(request)

    archive, events = plane.run(tmp_path, plane.settings(evaluations=5), plane.Model(moody))
    told = {event.iteration: event for event in of(events, Told)}
    assert told[2].verdict.status == told[3].verdict.status == "unapplied"
    assert told[2].verdict.feedback == "five timeouts in a row"
    assert told[2].source.strip()
    assert archive.totals().evaluations == 5
    assert archive.totals().usd == pytest.approx(1.0), "both cut-off answers were billed"


def test_a_proposer_that_fails_for_good_ends_the_run_with_its_reason(plane, tmp_path):
    def revoked(request):
        if request.iteration == 4:
            raise ProposerError("OPENAI_API_KEY was refused")
        return plane.wander(request)

    config = plane.settings(evaluations=20, lag=2)
    with pytest.raises(ProposerError, match="OPENAI_API_KEY"):
        plane.run(tmp_path, config, plane.Model(revoked))
    archive = Archive.open(tmp_path)
    *_, last = archive.events()
    assert last.event == Ended(reason="a proposer failed: OPENAI_API_KEY was refused")
    assert [entry.event.iteration for entry in archive.events(kinds=("told",))] == [0, 1, 2, 3]
    resumed, _ = plane.run(tmp_path, config)
    straight, _ = plane.run(tmp_path / "straight", config)
    assert [line for line in plane.story(resumed) if line["kind"] == "told"] == [
        line for line in plane.story(straight) if line["kind"] == "told"
    ]


def test_dollars_count_calls_in_flight(plane, tmp_path):
    model = plane.Model(
        usd=1.0,
        estimated=1.0,
        delay=SHUFFLED,
        reaction=lambda request: plane.fenced(plane.program(0.5, 0.5 + request.iteration / 100)),
    )
    archive, events = plane.run(tmp_path, plane.settings(evaluations=50, usd=5.5), model)
    assert len(model.requests) == 5
    assert archive.totals().usd == 5
    assert events[-1].reason.startswith("$5.5 are spent")


def test_what_a_call_did_not_cost_is_free_for_others(plane, tmp_path):
    model = plane.Model(
        usd=0.5, estimated=2.0, reaction=lambda request: plane.fenced(plane.program(0.5, 0.5 + request.iteration / 100))
    )
    plane.run(tmp_path, plane.settings(evaluations=50, usd=5.0), model)
    assert len(model.requests) == 7, "seven cost 3.5, and an eighth might cost 2 more"
    assert model.most_at_once <= 2


def test_what_a_call_may_cost_again_is_set_aside_before_it_is_made_again(plane, tmp_path):
    asked: list[bool] = []

    def late(request):
        while len(asked) < 9:  # each try may be billed without an answer
            asked.append(request.afford())
            if not asked[-1]:
                break
        raise ProposalFailed("no answer in time", Reply(text="", model="double", usd=float(len(asked))))

    archive, events = plane.run(
        tmp_path, plane.settings(evaluations=50, lag=1, usd=4.5), plane.Model(late, estimated=1.0)
    )
    assert asked == [True, True, True, False], "with the first, four calls at a dollar each"
    assert archive.totals().usd == 4.0
    assert events[-1].budget == "usd"


def test_seconds_end_a_run_and_add_up_over_sessions(plane, tmp_path):
    config = plane.settings(evaluations=100_000, seconds=0.4)
    archive, events = plane.run(tmp_path, config, plane.Model(delay=SHUFFLED))
    assert events[-1].reason == "0.4 seconds are over"
    _, again = plane.run(tmp_path, config, plane.Model(delay=SHUFFLED))
    assert [event.kind for event in again] == ["ended"]
    longer = plane.settings(evaluations=archive.totals().evaluations + 4, seconds=archive.seconds() + 100)
    _, more = plane.run(tmp_path, longer, plane.Model(delay=SHUFFLED))
    assert len(of(more, Told)) > 3 and more[-1].budget == "evaluations"


def test_a_run_whose_model_has_nothing_new_ends(plane, tmp_path):
    model = plane.Model(lambda request: plane.fenced(plane.program(0.5, 0.5, note=str(request.iteration))))
    archive, events = plane.run(tmp_path, plane.settings(evaluations=50), model)
    assert events[-1].reason == "no new program in 64 iterations"
    assert archive.totals().evaluations == 1


# ------------------------------------------------------------------------------------- proposers that are of no use


def silent(request):
    raise ProposalFailed("it answered 500: broken. Given up after 5 retries.")


@pytest.mark.parametrize("delay", [0.0, SHUFFLED], ids=["prompt", "shuffled"])
def test_a_proposer_that_always_fails_ends_the_run_after_a_few_calls(plane, tmp_path, delay):
    model = plane.Model(silent, delay=delay)
    with pytest.raises(ProposerError, match=r"model failed 4 times in a row, the last time so: it answered 500"):
        plane.run(tmp_path, plane.settings(evaluations=500), model)
    assert len(model.requests) < 4 + 8
    with Archive.open(tmp_path) as archive:
        *_, last = archive.events()
        assert last.event.reason.startswith("a proposer failed: model failed 4 times in a row")
    resumed, _ = plane.run(tmp_path, plane.settings(evaluations=5))
    assert resumed.totals().evaluations == 5, "a session counts failures anew"


def test_a_proposer_that_is_given_up_is_named_once(plane, tmp_path):
    def named(request):
        raise ProposalFailed("openai:m: no connection to http://127.0.0.1:1.")

    with pytest.raises(ProposerError) as error:
        plane.run(tmp_path, plane.settings(evaluations=50), plane.Model(named, name="openai:m"))
    told = "openai:m failed 4 times in a row, the last time so: no connection to http://127.0.0.1:1."
    assert str(error.value).startswith(told)


def test_failures_with_a_program_between_them_go_on(plane, tmp_path):
    def moody(request):
        return silent(request) if request.iteration % 4 else plane.fenced(plane.program(0.5, request.iteration / 100))

    archive, _ = plane.run(tmp_path, plane.settings(evaluations=8), plane.Model(moody))
    assert archive.totals().evaluations == 8


def test_an_answer_that_does_not_apply_is_no_failure_nor_is_one_whose_repair_fails(plane, tmp_path):
    def tried(request):
        match request.iteration % 10:
            case 2 | 3 | 6 | 7 | 9:
                return silent(request)
            case 4:
                raise ProposalFailed("sent an answer that cannot be read", Reply(text="", model="double", usd=0.5))
            case 5:
                return f"{request.iteration}.{request.attempt}: a diff that fits nowhere"
            case 8:
                return silent(request) if request.attempt else f"{request.iteration}: a diff that fits nowhere"
        return plane.fenced(plane.program(0.5, 0.5 + request.iteration / 1000))

    archive, _ = plane.run(tmp_path / "mixed", plane.settings(evaluations=6, lag=1), plane.Model(tried))
    assert archive.totals().evaluations == 6

    def without_a_program(request):
        return "words alone" if request.iteration % 3 == 0 and request.attempt == 0 else silent(request)

    model = plane.Model(without_a_program)
    _, events = plane.run(tmp_path / "words", plane.settings(evaluations=50, lag=1), model)
    assert events[-1].reason == "16 answers of model in a row made no new program"
    assert max(told.iteration for told in of(events, Told)) == 16 * 3


def test_a_proposer_that_fails_beside_others_is_asked_no_more(plane, tmp_path, caplog):
    def tale(folder, delay):
        bad, good = plane.Model(silent, name="bad", delay=delay), plane.Model(name="good", delay=delay)
        archive, _ = plane.run(folder, plane.settings(evaluations=40), bad, good)
        return plane.story(archive), len(bad.requests)

    story, calls = tale(tmp_path / "calm", 0.0)
    assert calls < 4 + 8
    assert [line["proposer"] for line in story if line["kind"] == "told"][-20:] == ["good"] * 20
    assert caplog.text.count("bad failed 4 times in a row") == 1
    assert tale(tmp_path / "wild", SHUFFLED)[0] == story, "who is asked depends on no timing"


def test_answers_that_never_hold_a_program_end_the_run_within_the_budget(plane, tmp_path):
    babble = plane.Model(lambda request: f"I am number {request.iteration}.", usd=0.25, estimated=0.5)
    archive, events = plane.run(tmp_path / "few", plane.settings(evaluations=500), babble)
    assert events[-1].reason == "16 answers of model in a row made no new program"
    assert 16 <= len(babble.requests) <= 16 + 2 * 7
    assert archive.totals().usd == 0.25 * len(babble.requests)
    archive, events = plane.run(tmp_path / "poor", plane.settings(evaluations=500, usd=2.0), babble)
    assert 1.5 < archive.totals().usd <= 2.0
    assert events[-1].budget == "usd"


def test_a_free_proposer_with_nothing_to_offer_is_not_given_up_for_it(plane, tmp_path):
    _, events = plane.run(tmp_path, plane.settings(evaluations=50), plane.Model(silent, free=True))
    assert events[-1].reason == "no new program in 64 iterations"


def test_a_silence_says_once_what_is_waited_for(plane, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(loop_module, "QUIET_S", 0.02)
    spoken = threading.Event()
    handler = logging.Handler()
    handler.emit = lambda record: spoken.set()
    logging.getLogger("vevolve").addHandler(handler)

    def slow(request):
        assert spoken.wait(120)
        return plane.wander(request)

    slow_model = plane.Model(slow)
    slow_model.place = "the mailbox /box"
    try:
        plane.run(tmp_path, plane.settings(evaluations=3, lag=3), slow_model)
    finally:
        logging.getLogger("vevolve").removeHandler(handler)
    assert "Waiting for answers of the mailbox /box: 3 requests." in caplog.text


# -------------------------------------------------------------------------------------------------- how a run ends


class Box:
    """Answers each question but some, which wait until it is closed: a person who has gone home."""

    def __init__(self, plane, kept):
        self.model, self.kept, self.closed = plane.Model(name="box"), kept, threading.Event()
        self.name, self.place, self.open_ended = "box", "the box", True

    def propose(self, request):
        if request.iteration in self.kept:
            self.closed.wait(120)
            raise ProposalFailed("closed")
        return self.model.propose(request)

    def estimate(self, prompt):
        return 0.0


def test_a_question_without_an_answer_stays_open_when_the_seconds_are_over_and_a_resume_takes_it_up(plane, tmp_path):
    straight, _ = plane.run(tmp_path / "straight", plane.settings(evaluations=9, lag=3), Box(plane, ()))
    box, workers = Box(plane, (4, 5)), plane.crew()
    config = plane.settings(evaluations=9, lag=3, seconds=1000.0)
    with plane.begin(tmp_path / "left", config) as archive:
        loop = plane.loop_of(archive, config, [box], workers)
        drafted = loop._drafted

        def last(flight, draft):
            drafted(flight, draft)
            if flight.iteration == 6:  # the one that is asked last, as those before it wait for an answer
                loop._clock.earlier += 1000.0

        loop._drafted = last
        events = list(loop.events())
    workers.close()
    assert not box.closed.is_set(), "nobody waits for the answer"
    box.closed.set()
    archive = Archive.open(tmp_path / "left")
    assert events[-1] == Ended(reason="1000 seconds are over; questions left open in the box: 2", budget="seconds")
    assert [told.iteration for told in of(events, Told)] == [0, 1, 2, 3]
    assert [asked.iteration for asked in archive.unfinished()] == [4, 5, 6]
    box = Box(plane, ())
    resumed, _ = plane.run(tmp_path / "left", plane.settings(evaluations=9, lag=3, seconds=100.0), box)
    assert plane.story(resumed) == plane.story(straight)
    assert 6 not in [request.iteration for request in box.model.requests], "its answer was kept"


def test_a_stop_leaves_a_question_open_and_takes_in_what_others_were_paid_for(plane, tmp_path):
    beside, stopped = threading.Event(), threading.Event()

    def slow(request):
        if request.iteration == 3:  # asked beside the question that stays open
            beside.set()
            assert stopped.wait(120)
        return Reply(text=plane.wander(request), model="double", usd=0.25)

    class Mixed(Box):
        def propose(self, request):
            if request.iteration == 2:
                assert beside.wait(120)
                loop.stop()
                stopped.set()
            return super().propose(request)

    paid, box = plane.Model(slow, name="paid"), Mixed(plane, (2,))
    config, workers = plane.settings(evaluations=20, lag=3), plane.crew()
    with plane.begin(tmp_path, config) as archive:
        loop = plane.loop_of(archive, config, [paid, box], workers)
        loop._questions._drawn = lambda seed, tired: box if loop._next == 2 else paid
        events = list(loop.events())
        box.closed.set()
        assert [told.iteration for told in of(events, Told)] == [0, 1]
        assert {one.iteration for one in of(events, Proposed)} == {1, 3}
        assert archive.totals().usd == 0.25 * len(paid.requests)
    workers.close()


def test_a_stop_finishes_what_is_in_flight(plane, tmp_path):
    stopped = threading.Event()

    def held(request):
        # The question of 14 can be asked once 10 is told; 11 to 13 are then in flight, and 15 has to wait for 11.
        if request.iteration == 14:
            loop.stop()
            stopped.set()
        elif request.iteration > 10:
            assert stopped.wait(120)
        return plane.wander(request)

    workers = plane.crew()
    config = plane.settings(evaluations=500, lag=4)
    with plane.begin(tmp_path, config) as archive:
        loop = plane.loop_of(archive, config, [plane.Model(held)], workers)
        events = list(loop.events())
        assert events[-1] == Ended(reason="stopped by the user")
        assert not archive.unfinished()
        assert [told.iteration for told in of(events, Told)] == list(range(15))
    workers.close()


def test_a_stop_waits_no_longer_than_its_grace(plane, tmp_path):
    let_go, gone = threading.Event(), threading.Event()

    def endless(request):
        if request.iteration > 2:
            let_go.wait(60)
            gone.set()
        return plane.wander(request)

    workers = plane.crew()
    config = plane.settings(evaluations=500, lag=4)
    with plane.begin(tmp_path, config) as archive:
        loop = plane.loop_of(archive, config, [plane.Model(endless)], workers, grace=0.2)
        for event in loop.events():
            if isinstance(event, Told) and event.iteration == 1:
                loop.stop()
        assert [asked.iteration for asked in archive.unfinished()]
        assert not gone.is_set(), "it ended before any of the answers came"
    let_go.set()
    workers.close()


def test_leaving_the_iteration_ends_the_run_in_order(plane, tmp_path):
    workers = plane.crew()
    config = plane.settings(evaluations=500)
    with plane.begin(tmp_path, config) as archive:
        events = plane.loop_of(archive, config, [plane.Model()], workers).events()
        for event in events:
            if isinstance(event, Told) and event.iteration == 3:
                break
        events.close()
        *_, last = archive.events()
        assert last.event == Ended(reason="stopped by the user")
    workers.close()
    resumed, _ = plane.run(tmp_path, plane.settings(evaluations=20))
    assert resumed.totals().evaluations == 20


def test_prompts_hold_nothing_of_the_select_split(plane, tmp_path):
    _, events = plane.run(tmp_path, plane.settings(evaluations=40))
    selected = [event for event in of(events, Selected) if event.verdict.valid]
    assert selected and all("0.73519" in event.verdict.feedback for event in selected)
    prompts = [event.system + event.user for event in of(events, Proposed)]
    assert len(prompts) > 40
    assert any("left" in prompt and "0.8" in prompt for prompt in prompts)
    for prompt in prompts:
        assert "0.735" not in prompt
        assert "hidden" not in prompt


def test_references_are_neither_parents_nor_donors_nor_gains(plane, tmp_path):
    def boast(request):
        best = request.iteration == 1
        source = plane.program(0.35, 0.35) if best else plane.program(0.7, 0.5 + request.iteration / 100)
        return plane.fenced(source + ("\nREFERENCE = True\n" if best else ""))

    archive, events = plane.run(tmp_path, plane.settings(evaluations=25), plane.Model(boast))
    told = {event.iteration: event for event in of(events, Told)}
    best = plane.Candidate(told[1].source).id
    assert told[1].verdict.valid
    assert told[1].hypervolume_gain == 0
    assert all(best not in (*asked.parents, *asked.donors) for asked in of(events, Asked))
    assert archive.record(best).reference


def test_what_fails_is_mended_when_nothing_is_valid(plane, tmp_path):
    seed = plane.program(0.05, 0.05)
    file = tmp_path / "bad.py"
    file.write_text(seed)

    def mend(request):
        assert request.operation == "repair"
        assert "below .1" in request.prompt.user
        return plane.fenced(plane.program(0.01 * request.iteration, 0.02))

    model = plane.Model(mend)
    archive, events = plane.run(tmp_path / "run", plane.settings(seed=str(file), evaluations=9, lag=2), model)
    assert archive.totals().valid == 0
    assert {told.verdict.status for told in of(events, Told)} == {"wrong"}


def test_a_question_that_waits_for_dollars_is_not_asked_after_a_stop(plane, tmp_path):
    model = plane.Model(usd=0.1, estimated=1.0, delay=0.05)
    workers = plane.crew()
    config = plane.settings(evaluations=500, usd=2.0)
    with plane.begin(tmp_path, config) as archive:
        loop = plane.loop_of(archive, config, [model], workers)
        events = []
        for event in loop.events():
            events.append(event)
            if isinstance(event, Told) and event.iteration == 0:
                loop.stop()
    workers.close()
    assert len(of(events, Asked)) <= 2, "two calls were in flight, and the others waited"
    assert events[-1] == Ended(reason="stopped by the user")


def test_what_is_remembered_of_a_program_is_what_the_archive_tells(plane, tmp_path):
    config, workers = plane.settings(evaluations=25), plane.crew()
    with plane.begin(tmp_path, config) as archive:
        loop = plane.loop_of(archive, config, [plane.Model(plane.wander)], workers)
        list(loop.events())
        remembered = dict(loop._programs._kept)
        assert len(remembered) > 15
        assert {id: Programs(archive).named(id) for id in remembered} == remembered
        assert any(one.shown.points for one in remembered.values())
    workers.close()


def test_programs_are_remembered_as_text_alone_though_an_examination_in_this_process_parses_them(plane, tmp_path):
    config, workers = plane.settings(evaluations=25, lag=3, confirm=12), plane.crew()
    with plane.begin(tmp_path, config) as archive:
        loop = plane.loop_of(archive, config, [plane.Model()], workers)
        events = list(loop.events())
        remembered = [one.candidate for one in loop._programs._kept.values()]
    workers.close()
    assert of(events, Selected) and of(events, Compared), "the same programs are examined again and again"
    assert len(remembered) > 15
    assert not any({"tree", "functions", "constants"} & vars(one).keys() for one in remembered)
