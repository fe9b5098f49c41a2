"""The verdict on a candidate: figures, feedback, stability, splits."""

import numpy as np
import pytest

from vevolve.errors import BadInput
from vevolve.evaluators.contract import Workload
from vevolve.evaluators.examination import check_interface, examine, examine_workload
from vevolve.evaluators.kv_eviction import contexts, workload
from vevolve.evaluators.kv_eviction import problem as module
from vevolve.evaluators.kv_eviction.problem import problem
from vevolve.evaluators.sparse_decode.attention import reference
from vevolve.evaluators.testing import PlainSubject, hypervolume
from vevolve.types import Candidate, CandidateFault, Seed, Verdict

NEWEST = """
import torch
def score(keys):
    return torch.arange(keys.shape[1]).float().expand(len(keys), -1)
"""
NORM = "def score(keys):\n    return -keys.norm(dim=-1)\n"
UNEVEN = (
    NEWEST
    + """
def allot(scores, budget):
    kept = torch.zeros(scores.shape, dtype=torch.bool)
    kept[:, 0, -budget.tokens + 1:] = True
    kept[:, 1, -budget.tokens - 1:] = True
    return kept
"""
)
FIELDS = {
    "label", "split", "family", "share", "tokens", "memory", "error", "error_mean", "error_worst", "error_needle",
    "lost", "needle_kept", "prefill_passes",
}  # fmt: skip
LABELS = ["keep 1/32", "keep 1/16", "keep 1/8", "keep 1/4", "keep 1/2"]


def by_label(verdict):
    return {point.label: point for point in verdict.points}


def errors_of(case, layer, head, kept):
    """Errors of one head [S, G] with these tokens kept, by loops over steps and query heads."""
    one, n, found = case.document.layers[layer], case.document.prompt, []
    dense = reference(case.document, layer).outputs
    for t in range(case.document.steps):
        seen = [*kept, *range(n, n + t + 1)]
        logits = one.queries[head, :, n + t].astype(np.float64) @ one.keys[head, seen].T / one.width**0.5
        weights = np.exp(logits)
        out = weights @ one.values[head, seen] / weights.sum(axis=1, keepdims=True)
        found.append(np.linalg.norm(out - dense[t, head], axis=1) / np.linalg.norm(dense[t, head], axis=1))
    return np.array(found)


def test_points_hold_the_figures_that_readers_rely_on(make_context, examine):
    verdict = examine(NEWEST, make_context(), make_context(1, kind="needle", needle=(30, 45)))
    assert verdict.valid, verdict.feedback
    assert [point.label for point in verdict.points] == LABELS
    assert {*verdict.points[0].model_dump()} == FIELDS
    assert [point["tokens"] for point in verdict.points] == [4, 8, 16, 32, 64]


def test_memory_is_what_arithmetic_says(make_context, examine):
    case = make_context(n=128, heads=2, dim=16)
    even = examine(NEWEST, case)
    assert [point["memory"] for point in even.points] == [1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2]
    uneven = examine(UNEVEN, case)
    dense = 2 * 2 * 128 * 16 * 2
    for one, other in zip(even.points, uneven.points, strict=True):
        assert other["memory"] == pytest.approx(one["memory"] + 3 * 4 / dense)
        assert other["tokens"] == one["tokens"]


def test_the_objective_is_the_mean_over_heads_of_the_95th_percentile(make_context, examine):
    cases = [
        make_context(0, layers=(1, 3), steps=6),
        make_context(1, layers=(1, 3), steps=6, kind="needle", needle=(38, 44), notes={"answer_steps": "2"}),
    ]
    point = by_label(examine(NEWEST, *cases))["keep 1/8"]
    kept = range(112, 128)
    units = {
        (layer, head): [errors_of(case, layer, head, kept) for case in cases] for layer in (1, 3) for head in (0, 1)
    }
    worst = [np.percentile(np.concatenate([one.ravel() for one in found]), 95) for found in units.values()]
    assert point["error"] == pytest.approx(np.mean(worst), rel=1e-6)
    assert point["error_worst"] == pytest.approx(max(worst), rel=1e-6)
    assert point["error_mean"] == pytest.approx(np.mean(list(units.values())), rel=1e-6)
    answers = [np.percentile(found[1][-2:], 95) for found in units.values()]
    assert point["error_needle"] == pytest.approx(np.mean(answers), rel=1e-6)


def test_lost_mass_and_kept_needles_are_shares(make_context, examine):
    case = make_context(n=128, needle=(110, 114), kind="needle")
    point = by_label(examine(NEWEST, case))["keep 1/8"]
    assert point["needle_kept"] == 0.5  # 112 and 113 of 110 to 113
    dense = reference(case.document, 0)
    share = np.exp(dense.logits - dense.mass[..., None])[..., :112].sum(axis=-1)
    assert point["lost"] == pytest.approx(share.mean(), rel=1e-9)


def test_without_needles_there_is_no_needle_error(make_context, examine):
    extra = examine(NEWEST, make_context()).points[0].model_extra or {}
    assert extra["error_needle"] is None and extra["needle_kept"] is None


def test_the_token_that_is_asked_for_is_worth_keeping(make_context, examine):
    cases = [make_context(seed) for seed in range(3)]
    wise = NEWEST.replace("return torch", "found = torch").rstrip() + (
        ".clone()\n    found[:, 40] = torch.inf\n    return found\n"
    )
    for one, other in zip(examine(wise, *cases).points, examine(NEWEST, *cases).points, strict=True):
        assert one["error"] < other["error"] and one["lost"] < other["lost"] and one["memory"] == other["memory"]


def test_reanchored_positions_change_the_outputs_and_nothing_else(make_context, examine):
    case = make_context()
    plain, turned = examine(NEWEST, case), examine("REANCHOR = True\n" + NEWEST, case)
    for one, other in zip(plain.points, turned.points, strict=True):
        assert one["memory"] == other["memory"] and one["lost"] == other["lost"]
    # The newest tokens keep their distances to the question, and all others are gone: nothing turns.
    assert [point["error"] for point in turned.points] == pytest.approx([p["error"] for p in plain.points], rel=1e-2)
    sinks = (
        NEWEST.replace("return torch", "found = torch").rstrip() + ".clone()\n    found[:, 0] = 999\n    return found\n"
    )
    plain, turned = examine(sinks, case), examine("REANCHOR = True\n" + sinks, case)
    assert abs(plain.points[0]["error"] - turned.points[0]["error"]) > 0.01


def test_reanchoring_needs_a_rotary_base(make_context, examine):
    with pytest.raises(BadInput, match="needs the metadata rope_base"):
        examine("REANCHOR = True\n" + NEWEST, make_context(rope_base=None))


def test_a_second_pass_shows_in_every_point(make_context, examine):
    source = "def score(keys, repeat):\n    return (repeat @ keys[:, None].mT).amax(dim=(1, 2))\n"
    assert {point["prefill_passes"] for point in examine(source, make_context()).points} == {2}
    assert {point["prefill_passes"] for point in examine(NORM, make_context()).points} == {1}


def test_only_references_see_the_future_and_they_keep_no_more(make_context, examine):
    source = "def score(keys, future):\n    return (future @ keys[:, None].mT / 4).softmax(dim=-1).sum(dim=(1, 2))\n"
    refused = examine(source, make_context())
    assert (refused.valid, refused.status) == (False, "interface") and "'future'" in refused.feedback
    oracle = examine("REFERENCE = True\n" + source, make_context())
    norm = examine(NORM, make_context())
    assert oracle.valid
    for one, other in zip(oracle.points, norm.points, strict=True):
        assert one["error"] < other["error"] and one["memory"] == other["memory"]


# ------------------------------------------------------------------------------------------------------- stability


class Counted(PlainSubject):
    """Counts the calls of each process."""

    calls: list[list[str]]

    def fresh(self):
        if not hasattr(self, "calls"):
            self.calls = []
        process, own = super().fresh(), list[str]()
        self.calls.append(own)
        call = process.call
        process.call = lambda function, *args, **named: (own.append(function), call(function, *args, **named))[1]
        return process


def test_scores_that_do_not_depend_on_the_budget_are_asked_for_once(make_context, examine):
    cases = [make_context(seed, layers=(0, 1)) for seed in range(3)]
    subject = Counted(Candidate(NORM), "torch")
    assert examine(NORM, *cases, subject=subject).valid
    assert [len(calls) for calls in subject.calls] == [6, 2, 2, 2]
    source = NORM.replace("keys)", "keys, budget)", 1)
    subject = Counted(Candidate(source), "torch")
    assert examine(source, *cases, subject=subject).valid
    assert [len(calls) for calls in subject.calls] == [30, 2, 2, 2]


@pytest.mark.parametrize(
    "body",
    [
        "SEEN.append(1)\n    return -keys.norm(dim=-1) + len(SEEN)",
        "return torch.rand(keys.shape[:2])",
        "SEEN.append(keys.mean(dim=1, keepdim=True))\n    return (keys - torch.stack(SEEN).mean(dim=0)).norm(dim=-1)",
    ],
)
def test_a_program_that_remembers_is_unstable(make_context, examine, body):
    source = f"import torch\nSEEN = []\ndef score(keys):\n    {body}\n"
    verdict = examine(source, *[make_context(seed) for seed in range(4)])
    assert (verdict.valid, verdict.status) == (False, "unstable")
    assert "context prose-" in verdict.feedback


def test_a_layer_that_remembers_another_is_unstable(make_context, examine):
    source = (
        "SEEN = []\ndef score(keys):\n    SEEN.append(keys)\n    return (keys - SEEN[-2 % len(SEEN)]).norm(dim=-1)\n"
    )
    verdict = examine(source, make_context(layers=(0, 1)))
    assert (verdict.valid, verdict.status) == (False, "unstable")


def test_an_allotment_that_remembers_is_unstable(make_context, examine):
    source = NEWEST + (
        "CALLS = []\n"
        "def allot(scores, budget):\n"
        "    CALLS.append(1)\n"
        "    kept = torch.zeros(scores.shape, dtype=torch.bool)\n"
        "    kept[..., -budget.tokens + len(CALLS) % 3:] = True\n"
        "    return kept\n"
    )
    verdict = examine(source, *[make_context(seed) for seed in range(4)])
    assert (verdict.valid, verdict.status) == (False, "unstable")


def test_a_fault_says_where_it_happened(make_context, examine):
    source = (
        "def score(keys, layer):\n    return keys.norm(dim=-1) if layer < 3 else keys.norm(dim=-1) * float('nan')\n"
    )
    verdict = examine(source, make_context(layers=(1, 3), kind="code"))
    assert (verdict.valid, verdict.status) == (False, "wrong")
    assert "(context code-0, keep 1/" in verdict.feedback and "of 128 tokens)" in verdict.feedback


def test_a_verdict_repeats_and_survives_json(make_context, examine):
    cases = make_context(), make_context(1, kind="needle", needle=(3, 6))
    one, two = examine(UNEVEN, *cases), examine(UNEVEN, *cases)
    assert (one.points, one.feedback, one.report) == (two.points, two.feedback, two.report)
    assert Verdict.model_validate_json(one.model_dump_json()) == one


# -------------------------------------------------------------------------------------------------------- feedback


def test_feedback_names_worst_heads_contexts_lost_mass_and_needles(make_context, examine):
    cases = (
        make_context(layers=(3, 9), kind="code"),
        make_context(1, layers=(3, 9), kind="needle", needle=(110, 120), notes={"answer_steps": "2"}),
    )
    text = examine(NEWEST, *cases).feedback
    for part in (
        "layer 3 head", "layer 9 head", "(code)", "keep 1/32: 4 tokens a head", "lost", "needle kept whole by 0 of 4",
        "while the question is read",
    ):  # fmt: skip
        assert part in text
    assert len(text) < 2500


def test_feedback_stays_short_with_many_layers_and_contexts(make_context, examine):
    cases = [make_context(seed, layers=tuple(range(8)), n=64, kind="needle", needle=(1, 4)) for seed in range(9)]
    text = examine(NEWEST, *cases).feedback
    assert 500 < len(text) < 2500


def test_the_report_breaks_down_by_layer_and_context(make_context, examine):
    verdict = examine(UNEVEN, make_context(layers=(3, 9)), make_context(1, kind="code", layers=(3, 9)))
    found = verdict.report["points"]["recorded"]["keep 1/4"]
    assert [row["layer"] for row in found["layers"]] == [3, 9]
    heads = np.concatenate([row["error"] for row in found["layers"]])
    assert np.mean(heads) == pytest.approx(by_label(verdict)["keep 1/4"]["error"], rel=1e-4)
    assert [(row["name"], row["layer"]) for row in found["documents"]] == [
        ("prose-0", 3), ("prose-0", 9), ("code-1", 3), ("code-1", 9),
    ]  # fmt: skip
    assert found["documents"][0]["kept"] == [31, 33]


# ------------------------------------------------------------------------------------------- stages and interface


@pytest.fixture
def splits(make_context, monkeypatch):
    """Small contexts in the place of those that ship."""
    found = {"search": (make_context(0),), "select": (make_context(1, split="select"),)}
    monkeypatch.setattr(module, "shipped_cases", lambda split: found[split])
    return found


def walk(promotion):
    return examine(problem, PlainSubject(Candidate(NEWEST), "torch"), Seed(b"walk"), promotion=promotion)


def test_the_search_never_touches_what_decides_promotion(splits):
    splits["select"] = None
    verdict = walk(promotion=False)
    assert verdict.valid and verdict.stage == "search" and {point.split for point in verdict.points} == {"search"}


def test_promotion_judges_the_select_split(splits):
    verdict = walk(promotion=True)
    assert verdict.valid and verdict.stage == "select" and {point.split for point in verdict.points} == {"select"}
    assert "layer" not in verdict.feedback


def test_a_crash_shows_in_the_tiny_stage(splits):
    splits["search"] = None
    verdict = examine(problem, PlainSubject(Candidate("def score(keys):\n    return keys"), "torch"), Seed(b"w"))
    assert (verdict.stage, verdict.valid) == ("tiny", False)


def test_a_users_contexts_become_a_search_workload(tmp_path, make_context):
    contexts.write(make_context(n=90), path := tmp_path / "mine.safetensors")
    found = problem.workload_from([path], Seed(b"s"))
    assert found.stage.name == "search" and [case.document.prompt for case in found.cases] == [90]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def allot(scores):\n    pass", "score"),
        ("def score(keys, question):\n    pass", "'question'"),
        ("def score(keys): ...\ndef allot(scores, keys): ...", "'keys'"),
    ],
)
def test_a_program_without_the_right_functions_is_refused_before_it_runs(source, found):
    with pytest.raises(CandidateFault, match=found) as caught:
        check_interface(problem, Candidate(source))
    assert caught.value.status == "interface"


def test_the_task_names_every_function_argument_and_budget():
    statement = problem.statement
    for function in problem.functions:
        for argument in function.arguments:
            assert f"`{argument}`" in statement or f"{argument}," in statement or f"{argument})" in statement
    for share in (*map(str, workload.SHARES), "REANCHOR = True", "REFERENCE = True", "prefill_passes"):
        assert share in statement


def test_files_of_the_flagship_judge_too():
    assert "sparse_decode" in problem.shares
    alone = type("Alone", (type(problem),), {"shares": ()})
    alone.folder = problem.folder
    assert alone().hash != problem.hash


# ------------------------------------------------------------------------------------------- on the shipped contexts


@pytest.fixture(scope="module")
def judged():
    found = {}

    def on(name, split):
        if (name, split) not in found:
            stage = next(stage for stage in problem.stages if stage.split == split and stage.name == split)
            work = problem.workload(stage, Seed(b"shipped"))
            subject = PlainSubject(Candidate(problem.seed(name).read_text()), "torch")
            found[name, split] = examine_workload(problem, subject, work)
            assert found[name, split].valid, found[name, split].feedback
        return found[name, split]

    return on


FLOORS = ("random_tokens", "streaming_llm")
PRACTICAL = (
    "snapkv",
    "adakv",
    "pyramidkv",
    "criticalkv",
    "kvcompose",
    "keydiff",
    "knorm",
    "expected_attention",
    "compactor",
)


@pytest.mark.parametrize("split", ["search", "select"])
def test_an_oracle_beats_every_method_and_methods_beat_the_floors(judged, split):
    oracle = judged("oracle_future", split)
    worth = {name: hypervolume(problem, judged(name, split).points) for name in (*FLOORS, *PRACTICAL, "oracle_future")}
    assert max(worth, key=worth.get) == "oracle_future" and min(worth, key=worth.get) == "random_tokens"
    for name in PRACTICAL:
        assert worth[name] > worth["streaming_llm"] > worth["random_tokens"], name
        for one, other in zip(oracle.points, judged(name, split).points, strict=True):
            assert one["error"] < other["error"] and one["error_needle"] < other["error_needle"], (name, one.label)


@pytest.mark.parametrize("split", ["search", "select"])
@pytest.mark.parametrize("name", ["snapkv", "kvcompose", "oracle_future"])
def test_more_memory_means_less_error(judged, name, split):
    errors = [point["error"] for point in judged(name, split).points]
    assert errors == sorted(errors, reverse=True)


def test_a_case_of_the_stage_is_one_workload_for_all():
    one, two = (problem.workload(problem.stage("search"), Seed(key)) for key in (b"one", b"two"))
    assert isinstance(one, Workload) and [c.document.hash for c in one.cases] == [c.document.hash for c in two.cases]
