"""The model stage on a small random model: what is put inside it, and what comes out."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vevolve.errors import BadInput, UnknownName
from vevolve.evaluators.circle_packing.problem import problem as circles
from vevolve.evaluators.inside import cases as asked
from vevolve.evaluators.inside import context as prefills
from vevolve.evaluators.inside.context import Context, Held, prefill
from vevolve.evaluators.inside.continuation import Dense, continued
from vevolve.evaluators.inside.deviation import Deviation
from vevolve.evaluators.inside.stage import Outcome, compressed, judge, summary
from vevolve.evaluators.kv_eviction.problem import problem as kv_eviction
from vevolve.evaluators.kv_quantization.problem import problem as kv_quantization
from vevolve.evaluators.sparse_decode import recorder
from vevolve.evaluators.sparse_decode.models import Model
from vevolve.evaluators.sparse_decode.problem import problem
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Candidate, CandidateFault, Seed

transformers = pytest.importorskip("transformers", reason="the model stage needs the extra vevolve[record]")

SEED = Seed(b"inside, a test!!")
SIZES = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 2048,
}  # fmt: skip
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SIZES, head_dim=16),
    "qwen3": lambda: transformers.Qwen3Config(**SIZES, head_dim=16),
    "granite, whose logits have a factor of their own": lambda: transformers.GraniteConfig(
        **SIZES, attention_multiplier=0.7
    ),
}


class Letters:
    """A tokenizer: a character is a token."""

    chat_template = None

    def __call__(self, text, add_special_tokens):
        return SimpleNamespace(input_ids=[ord(letter) % 97 for letter in text])


def small(config):
    torch.manual_seed(0)
    network = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in network.parameters():
        parameter.data *= 3  # attention of a fresh model is nearly flat, and would hide a mistake
    return Model(f"small {type(config).__name__}", network.eval(), Letters())


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Prefills of a test are its own."""
    monkeypatch.setenv("VEVOLVE_CACHE", str(tmp_path))


@pytest.fixture(scope="module")
def llama():
    return small(CONFIGS["llama"]())


def tokens(count, seed=0):
    return np.random.default_rng(seed).integers(0, 97, count).tolist()


def subject(source):
    return PlainSubject(Candidate(source), arrays="torch")


def seed_program(name):
    return PlainSubject(Candidate(problem.seed(name).read_text()), arrays="torch")


def unrounded(model, ids):
    """A context as the layers have it, in float32."""
    layers = {}
    for layer, (query, key, value) in recorder.capture(model, ids, list(range(model.depth))).items():
        layers[layer] = Held(query.reshape(len(key), -1, *query.shape[1:]).numpy(), key.numpy(), value.numpy())
    return Context(model, tuple(ids), layers)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_dense_continuation_is_the_models_own(name):
    model, ids = small(CONFIGS[name]()), tokens(90)
    with torch.inference_mode():
        whole = torch.log_softmax(model.network(torch.tensor([ids])).logits[0, 70:], -1).numpy()
    context = unrounded(model, ids[:70])
    found = continued(context, ids[70:], Dense(context))
    assert np.abs(found - whole).max() < 1e-4
    with torch.inference_mode():  # and the model is left as it was
        again = torch.log_softmax(model.network(torch.tensor([ids])).logits[0, 70:], -1).numpy()
    assert np.array_equal(whole, again)


def test_a_prefill_is_what_the_layers_have_rounded_to_half_precision(llama):
    exact, found = unrounded(llama, tokens(60)), prefill(llama, tokens(60))
    for layer, held in exact.layers.items():
        for name in ("queries", "keys", "values"):
            rounded = getattr(held, name).astype(np.float16).astype(np.float32)
            assert np.array_equal(getattr(found.layers[layer], name), rounded)


def test_a_model_whose_values_pass_half_precision_is_refused_in_one_line_and_nothing_is_kept(tmp_path):
    loud = small(CONFIGS["llama"]())
    loud.network.model.layers[1].self_attn.v_proj.weight.data *= 1e8
    with pytest.raises(
        BadInput, match=r"small LlamaConfig: v\.1: expected values within ±65504.* found \d+ beyond"
    ) as said:
        prefill(loud, tokens(20))
    assert "\n" not in str(said.value)
    assert not list(tmp_path.glob("prefills/*"))


def test_a_prefill_read_from_disk_is_the_one_that_was_computed(llama, tmp_path):
    first = prefill(llama, tokens(60))
    stored = list(tmp_path.glob("prefills/*.safetensors"))
    assert len(stored) == 1
    second = prefill(llama, tokens(60))
    for layer, held in first.layers.items():
        for name in ("queries", "keys", "values"):
            assert np.array_equal(getattr(held, name), getattr(second.layers[layer], name))
    assert prefill(llama, tokens(60, seed=1)).hash != first.hash


@pytest.mark.parametrize("change", ["weights", "rotation"])
def test_another_model_of_the_same_name_never_meets_foreign_prefills(change, tmp_path):
    one, other = (small(CONFIGS["llama"]()) for _ in range(2))
    if change == "weights":
        other.network.model.layers[1].self_attn.k_proj.weight.data *= 1.01
    else:
        config = CONFIGS["llama"]()
        config.rope_parameters["rope_theta"] = 500.0
        other = small(config)
    first, second = prefill(one, tokens(60)), prefill(other, tokens(60))
    assert one.name == other.name
    assert first.hash == second.hash  # candidates draw the same random numbers with either
    assert np.array_equal(second.layers[1].keys, unrounded(other, tokens(60)).layers[1].keys.astype(np.float16))
    assert not np.array_equal(second.layers[1].keys, first.layers[1].keys)
    assert first.remember("x", lambda: {"x": np.zeros(1)})["x"] == 0
    assert second.remember("x", lambda: {"x": np.ones(1)})["x"] == 1
    assert len(list(tmp_path.glob("prefills/*"))) == 4


def test_the_same_model_loaded_again_finds_its_prefills(tmp_path):
    for _ in range(2):
        model = small(CONFIGS["llama"]())
        context = prefill(model, tokens(60))
        continued(context, tokens(5), Dense(context))  # swaps the model's attention, and puts it back
        prefill(Model(model.name, model.network), tokens(60))
    assert len(list(tmp_path.glob("prefills/*"))) == 1


def test_prefills_of_another_format_are_not_read(llama, tmp_path, monkeypatch):
    prefill(llama, tokens(60))
    monkeypatch.setattr(prefills, "FORMAT", prefills.FORMAT + 1)
    prefill(llama, tokens(60))
    assert len(list(tmp_path.glob("prefills/*"))) == 2


def test_the_deviation_is_the_mean_of_every_heads_95th_percentile(llama):
    context, draw = prefill(llama, tokens(40)), np.random.default_rng(0)
    found, every = Deviation(context), []
    assert found.error == 0
    for layer in range(2):
        queries, keys = (draw.standard_normal(shape).astype(np.float32) for shape in ((2, 3, 5, 16), (2, 5, 16)))
        dense = Dense(context).attend(layer, queries, keys, keys)
        factors = 1 + draw.random((2, 3, 5, 1))
        found.note(layer, dense * factors, queries, keys, keys)
        every.append(np.percentile(factors.reshape(2, 15) - 1, 95, axis=1))
    assert found.error == pytest.approx(np.mean(every), rel=1e-4)


def test_a_damaged_prefill_is_computed_anew(llama, tmp_path):
    first = prefill(llama, tokens(60))
    (path,) = tmp_path.glob("prefills/*.safetensors")
    path.write_bytes(path.read_bytes()[:100])
    assert np.array_equal(prefill(llama, tokens(60)).layers[1].keys, first.layers[1].keys)


def test_prefills_on_disk_are_bounded(llama, tmp_path, monkeypatch):
    monkeypatch.setattr(prefills, "KEPT", 3)
    for seed in range(5):
        prefill(llama, tokens(20, seed))
    assert len(list(tmp_path.glob("prefills/*"))) == 3


def test_a_candidate_that_reads_everything_changes_nothing(llama):
    context, rest = prefill(llama, tokens(80)), tokens(20, seed=5)
    dense = continued(context, rest, Dense(context))
    found, figures = compressed(problem, seed_program("dense"), context, rest, "32 tokens", SEED)
    assert np.abs(found - dense).max() < 1e-4
    assert figures["error"] < 1e-4
    assert figures["density"] == 1
    assert figures["traffic"] == pytest.approx(1, abs=0.01)


def test_a_candidate_that_reads_little_is_cheap_and_wrong(llama):
    context, rest = prefill(llama, tokens(200)), tokens(10, seed=5)
    dense = continued(context, rest, Dense(context))
    found, figures = compressed(problem, seed_program("streaming_llm"), context, rest, "32 tokens", SEED)
    assert 0.1 < figures["traffic"] < 0.2
    assert figures["error"] > 0.05
    assert np.abs(found - dense).max() > 0.05


MEMORY = """
import torch
seen = []

def select(query, cache, budget):
    seen.append(1)
    ids = torch.arange(1 + len(seen) % 3).expand(query.shape[0], -1)
    return ids, torch.ones(ids.shape)
"""


def test_a_selection_that_depends_on_earlier_steps_is_found(llama):
    with pytest.raises(CandidateFault, match="depends on earlier steps"):
        compressed(problem, subject(MEMORY), prefill(llama, tokens(50)), tokens(12), "32 tokens", SEED)


def test_a_budget_holds_inside_the_model_too(llama):
    greedy = "import torch\ndef select(query, cache):\n    ids = torch.arange(cache.n).expand(query.shape[0], -1)\n"
    greedy += "    return ids, torch.ones(ids.shape)\n"
    with pytest.raises(CandidateFault, match="budget of 32"):
        compressed(problem, subject(greedy), prefill(llama, tokens(50)), tokens(12), "32 tokens", SEED)


def test_an_unknown_operating_point_is_named_with_the_known_ones(llama):
    with pytest.raises(UnknownName, match="Did you mean '32 tokens'"):
        problem.inside(subject(MEMORY), prefill(llama, tokens(50)), "33 tokens", SEED)


def test_a_problem_without_attention_has_no_model_stage(llama):
    with pytest.raises(BadInput, match="circle_packing has no model stage"):
        circles.inside(subject(MEMORY), prefill(llama, tokens(50)), "32 tokens", SEED)


def test_long_continuations_are_refused(llama):
    with pytest.raises(BadInput, match="at most 63 tokens; found 64"):
        compressed(problem, seed_program("dense"), prefill(llama, tokens(50)), tokens(64), "32 tokens", SEED)


# ------------------------------------------------------------------------------------------------------------ cases


@pytest.fixture(scope="module")
def drawn(llama):
    return asked.cases(llama, "select", SEED, each=2, tokens=1_500)


def text(ids):
    return "".join(chr(token + 97 if token < 32 else token) for token in ids)


def test_cases_are_the_same_for_everyone(llama, drawn):
    assert asked.cases(llama, "select", SEED, each=2, tokens=1_500) == drawn
    assert len(drawn) == 2 + 2 * len(asked.KINDS)
    assert len({case.context for case in drawn}) == len(drawn)


def test_a_question_is_not_in_the_context(llama, drawn):
    for case in drawn:
        if case.task != "text":
            assert llama.encode("?")[0] in case.question
            assert tuple(case.question[:30]) not in {case.context[at : at + 30] for at in range(len(case.context))}
            # ... and the answer is, or nobody could give it.
            answer = case.answer[1:]
            assert answer in {case.context[at : at + len(answer)] for at in range(len(case.context))}


def test_a_model_with_a_short_window_is_refused(llama):
    with pytest.raises(BadInput, match="leave no room"):
        asked.cases(llama, "select", SEED, tokens=2_000)


# ---------------------------------------------------------------------------------------------------------- figures


def outcome(task, answer, dense, ours):
    case = asked.Case("a case", task, (1, 2), (3,), tuple(answer))
    logs = [np.log(np.asarray(rows, dtype=np.float64)).astype(np.float32) for rows in (dense, ours)]
    return Outcome(case, *logs, {})


def test_figures_are_those_computed_by_hand():
    held_out = outcome("text", [0, 1], [[0.5, 0.5], [0.25, 0.75]], [[0.25, 0.75], [0.5, 0.5]])
    solved = outcome("needle", [1], [[0.1, 0.9]], [[0.4, 0.6]])
    lost = outcome("needle", [1], [[0.1, 0.9]], [[0.8, 0.2]])
    failed = outcome("needle", [1], [[0.9, 0.1]], [[0.1, 0.9]])
    found = summary([held_out, solved, lost, failed])
    assert found["perplexity_dense"] == pytest.approx((1 / 0.5 / 0.75) ** 0.5)
    assert found["perplexity"] == pytest.approx((1 / 0.25 / 0.5) ** 0.5)
    kl = (0.5 * np.log(2) + 0.5 * np.log(0.5 / 0.75) + 0.25 * np.log(0.5) + 0.75 * np.log(1.5)) / 2
    assert found["kl"] == pytest.approx(kl, rel=1e-5)
    assert (found["questions"], found["questions_dense"]) == (3, 2)  # what the dense model fails does not count
    assert found["accuracy"] == 0.5
    assert found["gold_logprob"] == pytest.approx(np.log([0.6, 0.2]).mean(), rel=1e-5)
    assert found["gold_logprob_dense"] == pytest.approx(np.log(0.9), rel=1e-5)


def test_where_the_dense_model_solves_nothing_no_accuracy_is_made_up():
    held_out = outcome("text", [0], [[0.5, 0.5]], [[0.5, 0.5]])
    found = summary([held_out, outcome("needle", [1], [[0.9, 0.1]], [[0.1, 0.9]])])
    assert "accuracy" not in found
    assert found["questions_dense"] == 0


def test_the_stage_gives_a_verdict_with_one_point(llama, monkeypatch):
    few = [
        asked.Case(name, task, tuple(tokens(60, seed)), tuple(tokens(4, seed + 9)), tuple(tokens(3, seed + 5)))
        for seed, (name, task) in enumerate({"prose": "text", "code": "text", "needle 1": "needle"}.items())
    ]
    monkeypatch.setattr("vevolve.evaluators.inside.stage.cases", lambda *_, **__: few)
    verdict = judge(problem, seed_program("dense"), "32 tokens", SEED, model=llama, each=1)
    assert verdict.valid
    assert verdict.stage == "model"
    (point,) = verdict.points
    assert point.family == "model"
    assert point["kl"] < 1e-6
    assert point["perplexity"] == pytest.approx(point["perplexity_dense"], rel=1e-4)
    assert [row["case"] for row in verdict.report["cases"]][:2] == ["prose", "code"]
    assert all(row["error"] < 1e-4 for row in verdict.report["cases"])


def test_a_fault_inside_the_model_is_a_verdict(llama):
    verdict = judge(problem, subject(MEMORY), "32 tokens", SEED, model=llama, each=1)
    assert not verdict.valid
    assert (verdict.stage, verdict.status) == ("model", "unstable")


@pytest.mark.slow
def test_in_the_real_model_an_oracle_answers_what_a_window_does_not():
    pytest.importorskip("gguf", reason="the offline weights need the extra vevolve[record]")
    window = judge(problem, seed_program("streaming_llm"), "128 tokens", SEED, each=1).points[0]
    oracle = judge(problem, seed_program("oracle_topk"), "128 tokens", SEED, each=1).points[0]
    assert oracle["questions_dense"] >= 4
    assert oracle["accuracy"] == 1
    assert window["accuracy"] < 0.5
    assert oracle["kl"] < window["kl"]


# ----------------------------------------------------------------------------------------------- the other problems


def eviction(name):
    return PlainSubject(Candidate(kv_eviction.seed(name).read_text()), arrays="torch")


def test_a_context_cut_by_half_is_half_in_memory(llama):
    context, rest = prefill(llama, tokens(64)), tokens(10, seed=5)
    dense = continued(context, rest, Dense(context))
    found, figures = compressed(kv_eviction, eviction("knorm"), context, rest, "keep 1/2", SEED)
    assert figures["memory"] == 0.5
    assert figures["error"] > 0.01
    assert np.abs(found - dense).max() > 0.01


KEEPS_THE_LAST = """
import torch

def score(keys):
    return torch.arange(keys.shape[1]).expand(keys.shape[0], -1).float()

"""


@pytest.mark.parametrize("reanchor", [False, True])
def test_what_was_evicted_might_never_have_been_there(reanchor):
    """In a model of one layer, keeping the last half with positions renumbered is reading that half alone."""
    torch.manual_seed(0)
    network = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**SIZES, "num_hidden_layers": 1}, head_dim=16))
    model, ids, rest = Model("one layer", network.eval(), Letters()), tokens(64), tokens(8, seed=3)
    program = KEEPS_THE_LAST + f"REANCHOR = {reanchor}\n"
    half, all_of_it = prefill(model, ids[32:]), prefill(model, ids)
    alone = continued(half, rest, Dense(half))
    found, _ = compressed(kv_eviction, subject(program), all_of_it, rest, "keep 1/2", SEED)
    # Rotary attention sees distances alone, so the last half is the same with and without renumbering.
    assert np.abs(found - alone).max() < 2e-3


@pytest.mark.parametrize("name", ["kvzip", "criticalkv"])
def test_a_second_pass_and_projections_are_made_for_those_who_ask(name, llama, tmp_path):
    context = prefill(llama, tokens(64))
    compressed(kv_eviction, eviction(name), context, tokens(5), "keep 1/4", SEED)
    assert len(list(tmp_path.glob("prefills/*"))) == (2 if name == "kvzip" else 1)


def test_a_reference_that_sees_the_future_has_no_model_stage(llama):
    with pytest.raises(BadInput, match="no model stage"):
        kv_eviction.inside(eviction("oracle_future"), prefill(llama, tokens(64)), "keep 1/4", SEED)


@pytest.mark.parametrize("other", [kv_eviction, kv_quantization], ids=lambda one: one.name)
def test_an_unknown_operating_point_of_another_problem_is_named(other, llama):
    with pytest.raises(UnknownName, match="No operating point named 'nothing'"):
        other.inside(subject(KEEPS_THE_LAST), prefill(llama, tokens(64)), "nothing", SEED)


def test_more_bits_are_nearer_to_the_dense_model(llama):
    context, rest = prefill(llama, tokens(300)), tokens(10, seed=5)
    dense = continued(context, rest, Dense(context))
    program = PlainSubject(Candidate(kv_quantization.seed("int4").read_text()), arrays="torch")
    gaps = []
    for label in ("3.75 bits", "8.75 bits"):
        found, figures = compressed(kv_quantization, program, context, rest, label, SEED)
        assert 0 < figures["bits"] <= float(label.split()[0])
        gaps.append(np.abs(found - dense).mean())
    assert gaps[1] < gaps[0] / 4


def test_after_a_fault_nothing_more_is_asked(llama):
    class Counted(PlainSubject):
        opened = 0

        def fresh(self):
            Counted.opened += 1
            return super().fresh()

    failing = Counted(Candidate("def select(query, cache):\n    return 1 / 0\n"), arrays="torch")
    with pytest.raises(CandidateFault, match="ZeroDivisionError"):
        compressed(problem, failing, prefill(llama, tokens(50)), tokens(12), "32 tokens", SEED)
    assert Counted.opened == 1
