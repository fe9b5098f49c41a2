"""The verdict on a candidate: figures, bounds, feedback, splits."""

from dataclasses import replace

import numpy as np
import pytest

from vevolve.errors import BadInput
from vevolve.evaluators.contract import Workload
from vevolve.evaluators.examination import check_interface, examine, examine_workload
from vevolve.evaluators.sparse_decode import feedback, scores, session, traces, workload
from vevolve.evaluators.sparse_decode import problem as module
from vevolve.evaluators.sparse_decode.attention import reference
from vevolve.evaluators.sparse_decode.problem import problem
from vevolve.evaluators.sparse_decode.workload import Case
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Bound, Candidate, CandidateFault, Seed, Verdict

DENSE = """
import torch
VERIFIED = True
REFERENCE = True
def select(query, cache):
    ids = torch.arange(cache.n).expand(len(query), -1)
    return ids, torch.ones(ids.shape)
"""
TOP = """
import torch
VERIFIED = True
def select(query, cache, budget):
    everything = torch.arange(cache.n).expand(len(query), -1)
    scores = (query @ cache.keys(everything).mT / query.shape[-1] ** 0.5).softmax(dim=-1).sum(dim=1)
    ids = scores.sort(dim=1, descending=True, stable=True).indices[:, : budget.tokens or 300]
    return ids, torch.ones(ids.shape)
"""
FIELDS = {
    "label", "split", "family", "tokens", "traffic", "density", "error", "error_mean", "error_worst", "error_needle",
    "index_bits", "rounds", "steps", "traffic_32k", "traffic_128k",
}  # fmt: skip


def by_label(verdict):
    return {point.label: point for point in verdict.points}


def test_dense_attention_has_no_error_and_traffic_one(make_document, examine):
    verdict = examine(DENSE, make_document())
    assert verdict.valid
    assert len(verdict.points) == 8
    for point in verdict.points:
        assert point["error"] < 1e-6
        assert point["traffic"] == pytest.approx(1)
        assert point["density"] == pytest.approx(1)
        assert point["traffic_32k"] <= 1
    assert [bound.rate for bound in verdict.bounds] == [0, 0, 0]


def test_a_program_that_is_no_reference_is_held_to_the_budget(make_document, examine):
    verdict = examine(DENSE.replace("REFERENCE = True", ""), make_document())
    assert (verdict.valid, verdict.status) == (False, "wrong")
    assert "distinct tokens" in verdict.feedback


def test_points_hold_the_figures_that_readers_rely_on(make_document, examine):
    verdict = examine(TOP, make_document(), make_document(1, kind="needle"))
    assert {*verdict.points[0].model_dump()} == FIELDS
    assert [point.label for point in verdict.points] == [
        "32 tokens", "64 tokens", "128 tokens", "256 tokens", "512 tokens",
        "eps=.05 delta=.05", "eps=.1 delta=.1", "eps=.25 delta=.25",
    ]  # fmt: skip
    tokens = [(point.model_extra or {})["tokens"] for point in verdict.points]
    assert tokens == [32, 64, 128, 256, 512, None, None, None]


def test_a_point_says_on_how_many_steps_it_stands(make_document, examine):
    verdict = examine(TOP, make_document(tokens=90, steps=8), make_document(1, tokens=90, steps=5, layers=(0, 1)))
    assert [point["steps"] for point in verdict.points] == [13] * 5 + [4] * 3


def test_the_objective_is_the_mean_over_heads_of_the_95th_percentile(make_document, examine):
    documents = [make_document(0, layers=(1, 3), steps=4), make_document(1, layers=(1, 3), steps=4, kind="needle")]
    point = by_label(examine(TOP, *documents))["64 tokens"]

    def errors(document, layer, head):
        recorded, dense, found = document.layers[layer], reference(document, layer), []
        for step in range(document.steps):
            n = document.prompt + step + 1
            logits = np.einsum("gd,nd->gn", recorded.queries[head, :, step], recorded.keys[head, :n]) / 4.0
            weights = np.exp(logits)
            ids = np.argsort(-(weights / weights.sum(axis=1, keepdims=True)).sum(axis=0))[:64]
            out = weights[:, ids] @ recorded.values[head, ids] / weights[:, ids].sum(axis=1, keepdims=True)
            exact = dense.outputs[step, head]
            found.extend(np.linalg.norm(out - exact, axis=1) / np.linalg.norm(exact, axis=1))
        return found

    units = {
        (layer, head): [errors(document, layer, head) for document in documents] for layer in (1, 3) for head in (0, 1)
    }
    percentiles = [np.percentile(np.concatenate(found), 95) for found in units.values()]
    assert point["error"] == pytest.approx(np.mean(percentiles), rel=1e-4)
    assert point["error_worst"] == pytest.approx(max(percentiles), rel=1e-4)
    assert point["error_mean"] == pytest.approx(np.mean(list(units.values())), rel=1e-4)
    needle = [np.percentile(found[1], 95) for found in units.values()]
    assert point["error_needle"] == pytest.approx(np.mean(needle), rel=1e-4)


def test_without_needle_documents_there_is_no_needle_error(make_document, examine):
    point = examine(TOP, make_document()).points[0]
    assert (point.model_extra or {})["error_needle"] is None


def test_traffic_and_density_of_a_window_are_what_arithmetic_says(make_document, examine):
    source = """
import torch
def build(keys):
    return {"codes": keys.half()[:, :, :2], "unread": keys}
def select(query, index, cache, budget):
    index["codes"]
    ids = torch.arange(cache.n - 30, cache.n).expand(len(query), -1)
    cache.keys(ids - 10)
    return ids, torch.ones(ids.shape), (torch.zeros(len(query), query.shape[1], 2), torch.zeros(len(query), 2, 16))
"""
    document = make_document(tokens=702)  # prompt 700, and n = 701 and 702
    point = examine(source, document).points[0]
    header = 96  # what the index's frame takes beyond its tensors, in whole sectors
    found = [
        (header + 2 * 700 * 2 * 2 + 2 * (30 * 64 + 10 * 32) + 160) / (2 * 2 * n * 32) for n in (701, 702)
    ]  # codes are 2 halfs a token and head; a tail of 2 * 2 * 2 + 2 * 2 * 16 elements fills 144 bytes
    assert point["traffic"] == pytest.approx(np.mean(found), abs=64 / (2 * 2 * 700 * 32))
    assert point["density"] == pytest.approx(np.mean([30 / 701, 30 / 702]))
    assert point["index_bits"] == pytest.approx(2 * 16 + 16 * 32)
    assert point["rounds"] == 2


def test_violations_are_counted_by_document(make_document, examine):
    verdict = examine(TOP, make_document(), make_document(1), make_document(2))
    for bound in verdict.bounds:
        assert bound.documents == 3
        assert bound.rate <= bound.upper <= 1
        assert bound.split == "search"
    strict, _, loose = verdict.bounds
    assert (strict.epsilon, strict.delta, loose.epsilon) == (0.05, 0.05, 0.25)
    assert strict.rate >= loose.rate
    assert strict.rate > 0


def test_only_verified_programs_are_asked_at_epsilon_and_delta(make_document, examine):
    plain = examine(TOP.replace("VERIFIED = True", "VERIFIED = 1"), make_document())
    assert len(plain.points) == 5
    assert plain.bounds == ()


def test_a_verdict_repeats_and_survives_json(make_document, examine):
    documents = make_document(), make_document(1, kind="needle")
    one, two = examine(TOP, *documents), examine(TOP, *documents)
    assert (one.points, one.bounds, one.feedback) == (two.points, two.bounds, two.feedback)
    assert one.report["points"] == two.report["points"]
    assert Verdict.model_validate_json(one.model_dump_json()) == one


def test_feedback_names_worst_heads_documents_traffic_and_violations(make_document, examine):
    documents = make_document(layers=(3, 9)), make_document(1, kind="code", layers=(3, 9))
    text = examine(TOP, *documents).feedback
    for part in ("layer 3 head", "layer 9 head", "(code)", "Traffic at 32 tokens: index 0 %, reads", "promised 5 %"):
        assert part in text
    assert text.startswith("2 documents, layers 3, 9.")
    assert len(text) < 2500


@pytest.mark.parametrize(
    ("rate", "upper", "standing"),
    [(0.2, 0.6, "BROKEN"), (0.02, 0.48, "not shown on replay"), (0.01, 0.04, "holds on replay")],
)
def test_feedback_says_that_a_promise_holds_on_replay_only_where_its_upper_limit_keeps_it(
    rate, upper, standing, make_document
):
    candidate = Candidate(TOP)
    cases = (Case(make_document(tokens=90, steps=8)),)
    found = session.run(PlainSubject(candidate, "torch"), cases, workload.operating_points(candidate), Seed(b"s"), 0)
    blocks = scores.blocks(found, cases)
    bound = Bound(epsilon=0.05, delta=0.05, split="search", rate=rate, documents=1, upper=upper)
    text = feedback.describe(blocks, scores.points(blocks, found, cases, "search"), [bound])
    line = next(line for line in text.splitlines() if "promised" in line)
    assert f"{rate:.2%}".replace("%", " %") in line
    assert f"promised 5 %: {standing} (at most {100 * upper:.0f} % with 95 % confidence over 1 document)" in line
    assert "in 2 steps" in line


def test_feedback_stays_short_with_many_layers_and_documents(make_document, examine):
    documents = [make_document(seed, layers=tuple(range(8)), tokens=120, steps=1) for seed in range(5)]
    assert len(examine(TOP, *documents).feedback) < 2500


def test_the_report_breaks_down_by_layer_and_document(make_document, examine):
    documents = make_document(layers=(3, 9)), make_document(1, kind="code", layers=(3, 9))
    verdict = examine(TOP, *documents)
    found = verdict.report["points"]["recorded"]["64 tokens"]
    assert [row["layer"] for row in found["layers"]] == [3, 9]
    heads = np.concatenate([row["error"] for row in found["layers"]])
    assert np.mean(heads) == pytest.approx(by_label(verdict)["64 tokens"]["error"], rel=1e-4)
    assert [row["name"] for row in found["documents"]] == ["prose-0", "code-1"]
    assert sum(found["traffic"].values()) == pytest.approx(1, rel=1e-3)


# ---------------------------------------------------------------------------------------------------------- splits


def cases(make_document, *seeds, family="", split="search"):
    documents = [make_document(seed, tokens=200) for seed in seeds]
    return tuple(Case(traces.Document(**{**vars(one), "split": split}), family) for one in documents)


@pytest.fixture
def splits(make_document, monkeypatch):
    """Small documents in the place of those that ship."""
    shipped = {"search": cases(make_document, 0), "select": cases(make_document, 1, split="select")}
    families = cases(make_document, 2, family="llama3") + cases(make_document, 3, family="qwen3")
    monkeypatch.setattr(module, "shipped_cases", lambda split: shipped[split])
    monkeypatch.setattr(module, "family_cases", lambda: families)
    return shipped, families


def walk(promotion):
    return examine(problem, PlainSubject(Candidate(TOP), "torch"), Seed(b"walk"), promotion=promotion)


def test_the_search_never_touches_what_decides_promotion(splits, monkeypatch):
    monkeypatch.setattr(module, "family_cases", lambda: pytest.fail("the search asked for a family"))
    shipped, _ = splits
    shipped["select"] = None
    verdict = walk(promotion=False)
    assert verdict.valid
    assert verdict.stage == "search"
    assert {point.split for point in verdict.points} == {"search"}
    assert {point.family for point in verdict.points} == {""}


def test_feedback_of_the_search_does_not_change_with_the_select_split(splits, make_document):
    shipped, _ = splits
    before = walk(promotion=False).feedback
    shipped["select"] = cases(make_document, 8, split="select")
    assert walk(promotion=False).feedback == before
    assert "select" not in before


def test_promotion_asks_for_the_select_split_and_both_families(splits):
    verdict = walk(promotion=True)
    assert verdict.valid
    assert verdict.stage == "select"
    assert {point.split for point in verdict.points} == {"select"}
    counts = {family: sum(point.family == family for point in verdict.points) for family in ("", "llama3", "qwen3")}
    assert counts == {"": 8, "llama3": 8, "qwen3": 8}
    assert {bound.documents for bound in verdict.bounds} == {1}
    alone = examine_alone(splits[0]["select"])
    assert [point for point in verdict.points if not point.family] == list(alone.points)


def examine_alone(own):
    stage = problem.stage("select")
    return examine_workload(problem, PlainSubject(Candidate(TOP), "torch"), Workload(stage, Seed(b"other"), own))


def test_workloads_do_not_depend_on_the_runs_seed():
    tiny = problem.stage("tiny")
    one, two = (problem.workload(tiny, Seed(key)) for key in (b"one", b"two"))
    assert one.cases[0].document.hash == two.cases[0].document.hash


def test_a_users_traces_become_a_search_workload(tmp_path, make_document):
    path = tmp_path / "mine.safetensors"
    traces.write(make_document(tokens=90), path)
    found = problem.workload_from([path], Seed(b"s"))
    assert found.stage.split == "search"
    assert [case.document.tokens for case in found.cases] == [90]


def on_files(*documents, folder):
    """The verdict of a program on documents as a user's files."""
    paths = [folder / f"{number}.safetensors" for number in range(len(documents))]
    for document, path in zip(documents, paths, strict=True):
        traces.write(document, path)
    workload = problem.workload_from(paths, Seed(b"s"))
    return examine_workload(problem, PlainSubject(Candidate(TOP), "torch"), workload)


def test_a_verdict_on_a_users_traces_has_their_split_and_a_hash_of_its_own(tmp_path, make_document):
    one, two = (replace(make_document(seed, tokens=90), split="select") for seed in (0, 1))
    first, again, other = (on_files(document, folder=tmp_path) for document in (one, one, two))
    assert {point.split for point in first.points} | {bound.split for bound in first.bounds} == {"select"}
    assert first.problem == again.problem
    assert len({problem.hash, first.problem, other.problem}) == 3
    mixed = on_files(one, replace(two, split="sealed"), folder=tmp_path)
    assert {point.split for point in mixed.points} == {"search"}


def test_an_invalid_verdict_on_a_users_traces_has_that_hash_too(tmp_path, make_document):
    valid = on_files(make_document(tokens=90), folder=tmp_path)
    workload = problem.workload_from([tmp_path / "0.safetensors"], Seed(b"s"))
    invalid = examine_workload(problem, PlainSubject(Candidate("x = 1"), "torch"), workload)
    assert (invalid.valid, invalid.problem) == (False, valid.problem)


def test_no_traces_are_refused_in_one_line():
    with pytest.raises(BadInput, match="at least one trace"):
        workload.file_cases([])


# ------------------------------------------------------------------------------------------------------- interface


@pytest.mark.parametrize(
    ("source", "found"),
    [("def build(keys):\n    pass", "select"), ("def select(query, kv):\n    pass", "'kv'"), ("x = 1", "select")],
)
def test_a_program_without_the_right_functions_is_refused_before_it_runs(source, found):
    with pytest.raises(CandidateFault, match=found) as caught:
        check_interface(problem, Candidate(source))
    assert caught.value.status == "interface"


def test_the_task_names_every_function_argument_and_budget():
    statement = problem.statement
    for function in problem.functions:
        for argument in function.arguments:
            assert argument in statement
    for number in (*map(str, workload.BUDGETS), "64 pseudo-tokens", "32-byte", "VERIFIED", "8 dependent"):
        assert number in statement


def test_on_the_shipped_traces_an_oracle_beats_a_window_at_every_budget():
    stage = problem.stage("search")
    workload = problem.workload(stage, Seed(b"shipped"))
    assert {case.document.kind for case in workload.cases} == {"prose", "code", "needle"}
    window, oracle = (
        examine_workload(problem, PlainSubject(Candidate(problem.seed(name).read_text()), "torch"), workload)
        for name in ("streaming_llm", "oracle_topk")
    )
    assert window.valid
    assert oracle.valid
    for cheap, exact in zip(window.points, oracle.points, strict=True):
        assert exact["error"] < cheap["error"]
        assert exact["error_needle"] < cheap["error_needle"]
        assert exact["traffic"] > 0.5 > cheap["traffic"]
