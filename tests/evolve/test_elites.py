"""Elites: what is promoted meets its incumbent on fresh documents, and only what wins beyond luck counts as better."""

from __future__ import annotations

import json
import sqlite3
import time
from concurrent.futures import Future

import pytest

from vevolve.archive import Archive
from vevolve.archive.elites import elites
from vevolve.archive.events import Compared, Proposed, Selected, Told
from vevolve.errors import ArchiveError, WorkerFailure
from vevolve.evaluators.confidence.discoveries import Discoveries, share
from vevolve.evaluators.contract import Problem, load
from vevolve.evaluators.fresh import COST, STAGE, generator
from vevolve.evolve import comparison
from vevolve.evolve.ask import NOT_EVALUATED
from vevolve.evolve.flights import Comparison
from vevolve.evolve.line import AGES, ALPHA, SHARE, TRIAL, Line
from vevolve.evolve.programs import Programs
from vevolve.evolve.promotion import ABREAST, Promotions, decided
from vevolve.types import Candidate, Objective, Point, Seed, Verdict

SHUFFLED = 0.005
AXES = (
    Objective("left", "min", worst=1.0, best=0.001, scale="log10"),
    Objective("right", "min", worst=1.0, best=0.001, scale="log10"),
)


def of(archive, kind):
    return [entry.event for entry in archive.events(kinds=(kind,))]


@pytest.fixture(scope="module")
def whole(plane, tmp_path_factory):
    """A run with comparisons, and its events."""
    config = plane.settings(evaluations=60, lag=3, confirm=12)
    return plane.run(tmp_path_factory.mktemp("elites"), config)


def test_comparisons_are_made_and_some_make_elites(whole):
    archive, _ = whole
    found = [event for event in of(archive, "compared") if isinstance(event, Compared)]
    fresh = [event for event in found if not event.aged]
    assert len(fresh) >= 4
    assert any(event.elite for event in fresh)
    assert {len(event.gains) for event in fresh if not event.elite} <= {TRIAL, 2 * TRIAL, 12}
    assert all(
        event.evidence * event.level >= 1 > comparison.evidence(event.gains[:-ABREAST], event.claimed) * event.level
        for event in fresh
        if event.elite and len(event.gains) < 12
    )
    assert all(len(set(event.workloads)) == len(event.gains) for event in found), "each document has a name"
    archive.verify()


def test_the_levels_are_those_of_the_online_procedure_in_the_order_of_the_log(whole):
    archive, _ = whole
    made = tests = 0
    for event in of(archive, "compared"):
        if event.aged:
            continue
        tests += 1
        assert event.level == pytest.approx(ALPHA * share(tests) * (made + 1), rel=1e-12)
        assert event.elite == (event.evidence * event.level >= 1)
        assert event.evidence == pytest.approx(comparison.evidence(event.gains, event.claimed))
        made += event.elite
    assert tests == elites(archive).tests
    assert made == elites(archive).made


def test_a_comparison_speaks_of_a_claim_that_was_logged_before(whole):
    archive, _ = whole
    claims: dict[str, tuple[str, tuple[str, ...], float]] = {}
    elite = {elites(archive).first}
    for entry in archive.events(kinds=("selected", "compared")):
        event = entry.event
        if isinstance(event, Selected) and event.incumbent:
            assert event.promoted and event.incumbent in elite, "an incumbent is an elite by then"
            assert event.claimed > 0
            claims[event.candidate] = (event.incumbent, event.claims, event.claimed)
        elif isinstance(event, Compared):
            assert claims[event.candidate] == (event.incumbent, event.claims, event.claimed)
            if event.elite:
                elite.add(event.candidate)
    assert len(claims) >= 4


@pytest.mark.parametrize("free", [False, True], ids=["hosted", "free"])
def test_elites_depend_neither_on_delays_nor_on_the_number_of_workers(plane, tmp_path, free):
    config = plane.settings(evaluations=40, lag=4, confirm=12)
    calm, _ = plane.run(tmp_path / "calm", config, plane.Model(free=free))
    wild, _ = plane.run(
        tmp_path / "wild", config, plane.Model(free=free, delay=SHUFFLED), workers=plane.crew(4, SHUFFLED)
    )
    assert plane.story(calm) == plane.story(wild)
    assert len(of(calm, "compared")) > 3
    assert elites(calm).compared == elites(wild).compared


def test_a_run_cut_off_around_a_comparison_goes_on_as_if_never_cut(plane, tmp_path, whole):
    archive, events = whole
    story = plane.story(archive)
    places = [place for place, event in enumerate(events) if isinstance(event, Compared)]
    claims = [place for place, event in enumerate(events) if isinstance(event, Selected) and event.incumbent]
    cuts = sorted({places[0], places[len(places) // 2] + 1, claims[0] + 1, claims[-1] + 1})
    config = plane.settings(evaluations=60, lag=3, confirm=12)
    for kept in cuts:
        directory = tmp_path / f"cut{kept}"
        with plane.begin(directory, config) as begun:
            begun.append(*events[:kept])
        resumed, _ = plane.run(directory, config)
        assert plane.story(resumed) == story, f"cut after {kept} events"
        resumed.close()


def test_a_stop_waits_for_no_comparison_at_the_end_and_a_resume_makes_it(plane, tmp_path):
    config = plane.settings(evaluations=40, lag=100, confirm=12)
    workers = plane.crew(2)
    with plane.begin(tmp_path / "cut", config) as begun:
        loop = plane.loop_of(begun, config, [plane.Model()], workers)

        def meet(meeting):
            loop.stop()
            return Future()  # never answered

        workers.meet = meet
        events = list(loop.events())
    workers.close()
    assert events[-1].reason == "stopped by the user"
    assert any(isinstance(event, Selected) and event.incumbent for event in events)
    assert not any(isinstance(event, Compared) for event in events)
    resumed, _ = plane.run(tmp_path / "cut", config)
    straight, _ = plane.run(tmp_path / "straight", config)
    assert plane.story(resumed) == plane.story(straight)
    assert of(resumed, "compared")


@pytest.mark.parametrize("document", [0, 3])
def test_a_document_that_breaks_the_harness_ends_the_run_and_a_resume_makes_its_comparison_anew(
    plane, tmp_path, document, whole
):
    config = plane.settings(evaluations=60, lag=3, confirm=12)
    workers = plane.crew(2)
    examine, met = workers.meet, []
    with plane.begin(tmp_path, config) as begun:
        loop = plane.loop_of(begun, config, [plane.Model()], workers)

        def meet(meeting):
            met.append(meeting)
            if len(met) != document + 1:
                return examine(meeting)
            broken = Future()
            broken.set_exception(WorkerFailure("two actors are gone"))
            return broken

        workers.meet = meet
        with pytest.raises(WorkerFailure, match="two actors"):
            list(loop.events())
    workers.close()
    resumed, _ = plane.run(tmp_path, config)
    assert "the harness failed: two actors are gone" in [event.reason for event in of(resumed, "ended")]
    archive, _ = whole
    assert plane.story(resumed) == plane.story(archive)


@pytest.mark.parametrize("how", ["the user", "seconds"])
@pytest.mark.parametrize("answered", [False, True], ids=["never answered", "answered"])
def test_an_end_waits_for_no_comparison_though_iterations_stand_behind_it_and_no_other_document_is_met(
    plane, tmp_path, how, answered
):
    config = plane.settings(evaluations=40, lag=3, confirm=12, seconds=1e6)
    workers = plane.crew(2)
    examine, met = workers.meet, []
    with plane.begin(tmp_path / "cut", config) as begun:
        loop = plane.loop_of(begun, config, [plane.Model()], workers, grace=120.0)

        def meet(meeting):
            met.append((meeting.fresh.key, meeting.fresh.number))
            if how == "seconds":
                loop._clock.earlier += 1e6
            else:
                loop.stop()
            return examine(meeting) if answered else Future()

        workers.meet = meet
        events = list(loop.events())
        assert loop._deadline is None or time.monotonic() < loop._deadline, "it ended before its grace was over"
    workers.close()
    assert how in events[-1].reason
    assert [number for _, number in met] == list(range(ABREAST))
    assert len({key for key, _ in met}) == 1
    assert not any(isinstance(event, Compared) for event in events)
    resumed, _ = plane.run(tmp_path / "cut", plane.settings(evaluations=40, lag=3, confirm=12))
    straight, _ = plane.run(tmp_path / "straight", plane.settings(evaluations=40, lag=3, confirm=12))
    assert plane.story(resumed) == plane.story(straight)


def test_what_is_asked_does_not_depend_on_comparisons(plane, tmp_path, whole):
    archive, _ = whole
    without, _ = plane.run(tmp_path, plane.settings(evaluations=60, lag=3, confirm=0))
    told = [event.source for event in of(without, "told")]
    assert told == [event.source for event in of(archive, "told")]
    prompts, others = ({(one.system, one.user) for one in of(run, "proposed")} for run in (archive, without))
    assert len(prompts) > 50 and prompts == others
    assert not of(without, "compared")
    assert not any(event.incumbent for event in of(without, "selected"))


def test_no_prompt_holds_anything_of_select_or_of_fresh_documents(plane, whole):
    archive, _ = whole
    text = "\n".join(
        event.system + event.user + event.reply for event in of(archive, "proposed") if isinstance(event, Proposed)
    )
    hidden = importable(plane).HIDDEN
    assert len(text) > 10_000
    assert hidden not in text
    told = {float(number) for number in plane.numbers(text)}
    secret = {number for event in of(archive, "compared") for number in (*event.gains, event.evidence, event.lower)}
    secret -= {0.0, 0.5, 1.0}
    assert len(secret) > 20
    assert not secret & told
    # With their zeros: a program's own number of four digits may be one of these by chance.
    assert not {f"{number:#.6g}" for number in secret} & set(plane.numbers(text))


def importable(plane):
    import sys

    problem = load(str(plane.FOLDER))
    return sys.modules[type(problem).__module__]


@pytest.mark.parametrize("field", ["elite", "evidence", "gains", "incumbent"])
def test_an_elite_that_was_tampered_with_breaks_the_chain(plane, tmp_path, field):
    archive, _ = plane.run(tmp_path, plane.settings(evaluations=25, lag=3, confirm=8))
    archive.close()
    db = sqlite3.connect(archive.path)
    seq, text = db.execute("SELECT seq, event FROM events WHERE kind = 'compared' ORDER BY seq LIMIT 1").fetchone()
    event = json.loads(text)
    event[field] = {"elite": not event["elite"], "evidence": 1e6, "gains": [1.0] * 8, "incumbent": "0" * 64}[field]
    changed = json.dumps(event, sort_keys=True, separators=(",", ":"))
    db.execute("UPDATE events SET event = ? WHERE seq = ?", (changed, seq))
    db.commit()
    db.close()
    with Archive.open(tmp_path) as opened, pytest.raises(ArchiveError, match=f"row {seq} of the log was changed"):
        opened.verify()


# ------------------------------------------------------------------------------------------- promotions by themselves


class Fated(Problem):
    """Every program is as good as every other on `select`; fresh documents fall as `fates` says."""

    name = "fated"
    objectives = AXES

    def fresh(self, key):
        raise NotImplementedError("drawn by the double that examines")


class Stage:
    """Promotions of a run that is written by hand: what a document brings is decided by its number."""

    def __init__(self, plane, folder, wins, confirm=12):
        self.archive = plane.begin(folder, plane.settings(confirm=confirm))
        self.meetings = []
        self.wins = wins
        config = plane.settings(lag=1, confirm=confirm)
        self.promotions = Promotions(
            self.archive, plane.SECRET, Fated(), Programs(self.archive), config, self.examine, self.meet
        )
        self.ids = [self.tell(0, 0.9), self.tell(1, 0.6)]

    def tell(self, number, x):
        source = f"X = {x}\n"
        verdict = Verdict(valid=True, points=(Point(label="only", left=x, right=x),))
        self.append(
            Told(iteration=number, source=source, operation="seed", proposer="p", verdict=verdict, hypervolume_gain=1.0)
        )
        return Candidate(source).id

    def append(self, event):
        self.archive.append(event)
        self.promotions.take(event)
        self.promotions.begin()

    def examine(self, job, then, iteration):
        x = job.candidate.constants["X"]
        then(Verdict(valid=True, points=(Point(label="only", split="select", left=x, right=x),), problem="p"))

    def meet(self, meeting, then, iteration):
        self.meetings.append(meeting)
        values = 0.4 if self.wins(meeting.fresh.number) else 0.6, 0.5
        points = [Point(label="only", split="sealed", left=value, right=value) for value in values]
        then(tuple(Verdict(valid=True, points=(point,), problem="p") for point in points))

    def settle(self):
        """Tell what is done, and return it."""
        told = []
        while (one := self.promotions.due(float("inf"))) is not None:
            assert one.done
            told.append(self.promotions.outcome(one))
            self.append(told[-1])
        return told

    def age(self, to, status="wrong"):
        number = self.promotions._line.told
        while number < to:
            number += 1
            self.append(
                Told(
                    iteration=number,
                    source=f"X = {number}",
                    operation="mutate",
                    proposer="p",
                    verdict=Verdict(valid=False, status=status),
                )
            )


ENOUGH = 6
"""Documents that the first challenger has to win when it wins them all: the e-value is 42.3, of 40.5 needed."""


def test_one_that_wins_every_fresh_document_is_an_elite_and_its_words_say_so(plane, tmp_path):
    stage = Stage(plane, tmp_path, wins=lambda number: True)
    first, second, compared = stage.settle()
    assert (first.promoted, first.incumbent) == (True, "")
    assert (second.promoted, second.incumbent, second.claims) == (True, stage.ids[0], ("only",))
    assert compared.elite and len(compared.gains) == ENOUGH and min(compared.gains) > 0
    assert compared.lower > 0
    found = elites(stage.archive)
    records = {record.id: record for record in stage.archive.records()}
    assert [found.place(records[id]) for id in stage.ids] == ["first", "elite"]
    assert f"won {ENOUGH} of {ENOUGH} fresh documents" in str(found.compared[stage.ids[1]])


def test_one_that_loses_half_of_its_trial_costs_no_further_documents(plane, tmp_path):
    stage = Stage(plane, tmp_path, wins=lambda number: number % 2 == 0)
    *_, compared = stage.settle()
    assert not compared.elite and len(compared.gains) == TRIAL
    record = next(record for record in stage.archive.records() if record.id == stage.ids[1])
    assert record.promoted
    assert elites(stage.archive).place(record) == "unconfirmed"


def test_both_meet_the_same_documents_which_no_other_pair_meets(plane, tmp_path):
    stage = Stage(plane, tmp_path, wins=lambda number: True)
    stage.settle()
    drawn = [meeting.fresh for meeting in stage.meetings]
    assert {(one.candidate.id, one.incumbent.id) for one in stage.meetings} == {tuple(reversed(stage.ids))}
    assert [fresh.number for fresh in drawn] == list(range(ENOUGH))
    assert len({fresh.own for fresh in drawn}) == ENOUGH, "and each has randomness of its own"
    other = plane.SECRET.derive("fresh", stage.ids[0], stage.ids[1])
    assert all(fresh.key != other for fresh in drawn)


def test_an_elite_that_loses_on_documents_it_had_not_met_is_demoted_as_it_ages(plane, tmp_path):
    stage = Stage(plane, tmp_path, wins=lambda number: number < ENOUGH)
    *_, compared = stage.settle()
    assert compared.elite
    places, met = [], []
    for age in AGES[:3]:
        stage.age(compared.told + age)
        for event in stage.settle():
            places.append(event.elite)
            met.append(event.aged)
    assert met[: len(places)] == [AGES[0], AGES[1]], "one that is demoted is compared no more"
    assert places == [True, False], "four lost documents may be chance; eight are not"
    assert [meeting.fresh.number for meeting in stage.meetings] == list(range(ENOUGH + 2 * TRIAL))
    found = elites(stage.archive)
    assert found.compared[stage.ids[1]].place == "demoted"
    assert found.incumbents == [stage.ids[0]]


def test_an_elite_that_goes_on_winning_stays_one_and_its_evidence_grows(plane, tmp_path):
    stage = Stage(plane, tmp_path, wins=lambda number: True)
    *_, compared = stage.settle()
    stage.age(compared.told + AGES[0])
    (again,) = stage.settle()
    assert again.elite and again.aged == AGES[0]
    assert again.evidence > 10 * compared.evidence
    assert again.lower > compared.lower
    (one,) = elites(stage.archive).standing
    assert (len(one.gains), len(one.later)) == (ENOUGH, TRIAL)
    assert (one.evidence, one.standing) == (compared.evidence, again.evidence)


def test_what_made_an_elite_is_still_shown_where_later_documents_take_its_evidence_back(plane, tmp_path):
    stage = Stage(plane, tmp_path, wins=lambda number: number < ENOUGH)
    *_, compared = stage.settle()
    stage.age(compared.told + AGES[0])
    (again,) = stage.settle()
    (one,) = elites(stage.archive).standing
    assert again.elite and again.evidence * compared.level < 1 <= one.evidence * one.level
    assert f"e-value {compared.evidence:.3g}" in str(one) and f"({again.evidence:.3g} with those since)" in str(one)


def test_an_age_that_falls_while_an_elite_waits_is_made_up_for(plane, tmp_path):
    stage = Stage(plane, tmp_path, wins=lambda number: True)
    *_, compared = stage.settle()
    stage.age(compared.told + AGES[1])  # the first age is due and was not told yet
    (first,) = stage.settle()
    stage.age(stage.promotions._line.told + 1)
    (second,) = stage.settle()
    assert [first.aged, second.aged] == [AGES[0], AGES[1]]
    stage.age(stage.promotions._line.told + 1)
    assert stage.settle() == []


def test_comparisons_wait_until_enough_was_evaluated_for_their_documents(plane, tmp_path):
    stage = Stage(plane, tmp_path, wins=lambda number: True)
    line = stage.promotions._line
    line._earned = 0.5  # documents an iteration
    stage.settle()
    assert (line._met, line.told) == (ENOUGH, 1), "the first was affordable, and overdrew"
    stage.ids.append(stage.tell(2, 0.4))
    assert [event.incumbent for event in stage.settle()] == [stage.ids[1]], "selected, and not compared"
    stage.age(2 * ENOUGH)
    assert stage.settle() == []
    assert elites(stage.archive).compared.keys() == {stage.ids[1]}
    assert not stage.promotions, "a run may end meanwhile"
    stage.age(2 * ENOUGH + 1)
    (late,) = stage.settle()
    assert (late.candidate, late.told) == (stage.ids[2], 2 * ENOUGH + 1)


def test_who_waits_for_a_comparison_follows_from_the_log_alone(plane, tmp_path):
    stage = Stage(plane, tmp_path, wins=lambda number: True)
    stage.promotions._line._earned = 0.5
    stage.settle()
    for number in (2, 3):
        stage.tell(number, 1 / (number + 1))
    stage.settle()
    folded = Line(Fated(), plane.settings(lag=1, confirm=12))
    folded._earned = 0.5
    for entry in stage.archive.events(kinds=("told", "selected", "compared")):
        folded.take(entry.event)
    line = stage.promotions._line
    assert [event.candidate for event in folded._postponed] == [event.candidate for event in line._postponed]
    assert len(folded._postponed) == 2 and (folded._met, folded.told) == (line._met, line.told)


def test_what_was_compared_when_documents_were_cheaper_is_compared_no_second_time(plane, tmp_path):
    stage = Stage(plane, tmp_path, wins=lambda number: True)
    stage.promotions._line._earned = 100.0
    stage.settle()
    stage.tell(2, 0.4)
    stage.settle()
    folded = Line(Fated(), plane.settings(lag=1, confirm=12))
    folded._earned = 0.5
    for entry in stage.archive.events(kinds=("told", "selected", "compared")):
        folded.take(entry.event)
    assert len(folded.elites.compared) == folded.elites.tests == 2
    assert folded._met > folded._earned * folded.told, "more than may be spent by now"
    assert not folded.waiting and not folded._postponed


def test_programs_that_were_never_examined_pay_for_no_documents(plane, tmp_path):
    stage = Stage(plane, tmp_path, wins=lambda number: True)
    stage.promotions._line._earned = 0.5
    stage.settle()
    stage.ids.append(stage.tell(2, 0.4))
    stage.settle()
    stage.age(4 * ENOUGH, status="duplicate")
    assert stage.settle() == []
    stage.age(6 * ENOUGH)
    assert [event.candidate for event in stage.settle()] == [stage.ids[2]]


def test_a_whole_run_spends_no_more_on_documents_than_their_share_and_what_was_under_way(whole):
    archive, _ = whole
    earned, met, evaluated, most = SHARE / COST, 0, 0, 0
    for entry in archive.events(kinds=("told", "compared")):
        event = entry.event
        if isinstance(event, Told):
            evaluated += event.operation != "seed" and event.verdict.status not in NOT_EVALUATED
        else:
            met += len(event.gains)
            most = max(most, met - earned * evaluated)
    assert met > 2 * 12
    assert most <= 3 * 12, "at most as many as could begin before the first of them was told"


def test_a_promoted_program_is_unconfirmed_from_the_moment_it_waits_for_its_comparison(plane, tmp_path):
    stage = Stage(plane, tmp_path, wins=lambda number: True)
    for _ in range(2):
        stage.append(stage.promotions.outcome(stage.promotions.due(float("inf"))))
    records = {record.id: record for record in stage.archive.records()}
    assert not of(stage.archive, "compared")
    assert [elites(stage.archive).place(records[id]) for id in stage.ids] == ["first", "unconfirmed"]


# ------------------------------------------------------------------------------------------------------- by document


def points(*pairs):
    return [Point(label=str(place), left=left, right=right) for place, (left, right) in enumerate(pairs)]


def test_a_gain_is_the_change_of_the_hypervolume_when_claimed_points_are_swapped():
    incumbent = points((0.1, 0.4), (0.2, 0.2))
    better = points((0.1, 0.2), (0.2, 0.3))
    assert comparison.gain(better, incumbent, ["0"], AXES) == pytest.approx(0.30103 * 0.30103, rel=1e-4)
    assert comparison.gain(better, incumbent, ["1"], AXES) < 0
    assert comparison.gain(incumbent, incumbent, ["0", "1"], AXES) == 0
    assert comparison.gain(incumbent, better, ["0"], AXES) == pytest.approx(
        -(0.30103 * 0.30103 + 0.69897 * (0.69897 - 0.52288)), rel=1e-4
    )


def test_a_challenger_that_breaks_on_a_document_loses_all_of_it_and_gains_nothing_where_its_incumbent_breaks():
    good = Verdict(valid=True, points=tuple(points((0.1, 0.4), (0.4, 0.1))))
    bad = Verdict(valid=False, status="crash")
    own = 2 * 1 * 0.39794 - 0.39794**2
    assert comparison.outcome(bad, good, ["0"], AXES) == pytest.approx(-own, rel=1e-4)
    assert comparison.outcome(good, bad, ["0"], AXES) == 0
    assert comparison.outcome(bad, bad, ["0"], AXES) == 0


def test_a_point_that_the_incumbent_leaves_out_on_a_document_gains_nothing_there():
    fuller = points((0.1, 0.4), (0.4, 0.1))
    assert comparison.gain(fuller, fuller[:1], ["0", "1"], AXES) == 0
    assert comparison.gain(fuller[:1], fuller, ["0", "1"], AXES) < 0


def test_a_claim_of_next_to_nothing_is_not_worth_documents():
    assert comparison.worth_documents(0.01, points((0.1, 0.1)), AXES)
    assert not comparison.worth_documents(0.9e-4, points((0.1, 0.1)), AXES)
    assert not comparison.worth_documents(0.0, (), AXES)


def test_points_without_a_counterpart_make_no_claim():
    assert comparison.common(points((0.1, 0.1), (0.2, 0.2)), points((0.3, 0.3)), ["0", "1"]) == ("0",)


def test_equal_challengers_become_elites_no_more_often_than_stated():
    import numpy as np

    draw = np.random.default_rng(7)
    runs = 0
    for _ in range(300):
        stream = Discoveries(ALPHA)
        for _ in range(25):
            gains, met, claimed = draw.standard_normal(48).tolist(), ABREAST, abs(draw.standard_normal()) / 2
            while met < 48 and not decided(gains[:met], claimed, 1 / stream.level, 48):
                met += ABREAST
            _, stream = stream.test(comparison.evidence(gains[:met], claimed))
        runs += stream.made > 0
    assert runs / 300 <= ALPHA + 3 * (ALPHA * (1 - ALPHA) / 300) ** 0.5


def test_what_is_not_on_its_way_ends_at_the_next_look_and_at_no_other_document():
    gains, enough, most = [1.0, 1.0, 0.5, -0.3, -0.9] * 10, 500.0, 48
    ends = [met for met in range(1, most) if decided(gains[:met], 1.0, enough, most)]
    capital = [comparison.evidence(gains[:met], 1.0) for met in range(1, most)]
    on_its_way = [found >= enough ** ((met / most) ** 3) for met, found in enumerate(capital, 1)]
    assert max(capital) < enough
    assert ends == [met for met in (TRIAL, 8, 16, 24, 32, 40) if not on_its_way[met - 1]]
    assert any(capital[met - 1] > 1 for met in ends), "it had won more than it lost"
    assert ends[0] > TRIAL, "a good beginning is given the time to show more"


@pytest.mark.parametrize("met", range(1, 13))
def test_a_clear_winner_is_on_its_way_at_every_look_until_it_has_won(met):
    gains, enough = [1.0] * met, 500.0
    assert decided(gains, 1.0, enough, 48) == (comparison.evidence(gains, 1.0) >= enough)


FAILURES = (0.02, 0.05, 0.1, 0.2)


class Failing:
    """Promotions without a loop: the verdict on a document follows from the randomness of its examination.

    Two equal programs answer by the luck of that seed, each its own way. The incumbent fails on a share of documents.
    """

    def __init__(self, plane, folder, share):
        self.stage = Stage(plane, folder, wins=lambda number: True, confirm=48)
        self.share = share
        self.promotions = self.stage.promotions
        self.promotions._hand_over = self.meet

    def meet(self, meeting, then, iteration):
        import random

        chance = random.Random(meeting.fresh.own.integer)
        broken, *luck = [chance.random() for _ in range(3)]
        points = [Point(label="only", split="sealed", left=x, right=x) for x in (0.4 + 0.2 * one for one in luck)]
        challenger, incumbent = (Verdict(valid=True, points=(point,), problem="p") for point in points)
        if broken < self.share:
            incumbent = Verdict(valid=False, status="timeout", problem="p")
        then((challenger, incumbent))

    def elites(self, runs):
        """How many of so many comparisons at one level make an elite, and how many documents they met."""
        made, met = 0, 0
        for run in range(runs):
            self.promotions._secret = Seed(run.to_bytes(16, "big"))
            one = Comparison(1, self.stage.ids[1], self.stage.ids[0], ("only",), 0.1, due=9, enough=43)
            self.promotions._meet(one)
            assert one.done
            made += comparison.evidence(one.gains, one.claimed) >= 43
            met += len(one.gains)
        return made, met


@pytest.mark.parametrize("share", [0.0, *FAILURES])
def test_equal_programs_whose_luck_or_failure_is_that_of_a_document_become_elites_no_more_often_than_stated(
    plane, tmp_path, share
):
    runs = 300
    made, met = Failing(plane, tmp_path, share).elites(runs)
    assert met > 2 * TRIAL * runs / 2, "comparisons took place"
    assert made / runs <= 1 / 43 + 3 * (1 / 43 / runs) ** 0.5


def test_problems_without_cheap_documents_compare_nothing():
    assert generator(load("circle_packing")) is None
    assert generator(load("kv_eviction")) is None
    assert generator(load("sparse_decode")) is not None
    assert generator(load("kv_quantization")) is not None
    assert STAGE.split == "sealed" and STAGE.promotion
