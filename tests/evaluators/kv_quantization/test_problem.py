"""The verdict on a quantiser: bits to the byte, attention in float64, causes, claims, stages, users' traces."""

import numpy as np
import pytest

from vevolve.errors import BadInput
from vevolve.evaluators.contract import Workload
from vevolve.evaluators.examination import check_interface, examine_workload
from vevolve.evaluators.kv_quantization import workload
from vevolve.evaluators.kv_quantization.attention import deviation
from vevolve.evaluators.kv_quantization.codec import Prompt, compress
from vevolve.evaluators.kv_quantization.problem import problem
from vevolve.evaluators.kv_quantization.workload import CAPS, prompt
from vevolve.evaluators.sparse_decode import traces
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Candidate, CandidateFault, Seed

FLOAT16 = """
REFERENCE = True
def encode(keys, values):
    return {"k": keys.half(), "v": values.half()}
def decode(code):
    return code["k"].float(), code["v"].float()
"""
# One byte a number, of a fixed step: 8 bits and the names.
INT8 = """
import torch
def encode(keys, values):
    return {"k": (keys * 16).round().clamp(-127, 127).to(torch.int8), "v": (values * 16).round().to(torch.int8)}
def decode(code):
    return code["k"] / 16, code["v"] / 16
"""
# Signs and the mean size of each token.
SIGNS = """
import torch
def encode(keys, values):
    x = torch.stack([keys, values])
    signs = (x > 0).unflatten(-1, (-1, 8)) * 2 ** torch.arange(8)
    return {"sign": signs.sum(-1).to(torch.uint8), "size": x.abs().mean(-1).half()}
def decode(code):
    signs = (code["sign"][..., None].int() >> torch.arange(8) & 1).flatten(-2)
    x = (2.0 * signs - 1) * code["size"].float()[..., None]
    return x[0], x[1]
"""


def test_half_precision_is_dense_attention_where_the_cache_is_half_precision(examine, make_document):
    verdict = examine(FLOAT16, make_document(), make_document(1, kind="needle", base=None))
    assert verdict.valid, verdict.feedback
    assert len(verdict.points) == len(CAPS)
    for point in verdict.points:
        assert point["error_worst"] < 1e-12
        assert point["error_needle"] < 1e-12
        assert abs(point["ip_bias"]) < 1e-12
        assert point["key_mse"] == point["value_mse"] == 0


def test_bits_are_the_bytes_of_the_code_with_names_and_dimensions(examine, make_document):
    document = make_document(heads=2, tokens=302, dim=64)
    verdict = examine(FLOAT16, document)
    elements = 2 * 2 * 300 * 64
    expected = 16 + 8 * (2 + 2 * (3 + 1 + 3 * 8)) / elements
    assert [point["bits"] for point in verdict.points] == [pytest.approx(expected, rel=1e-12)] * len(CAPS)
    wide = 16 + 8 * (2 + 2 * (3 + 1 + 3 * 8)) / (2 * 2048 * 128)
    assert verdict.points[0]["bits_d128"] == pytest.approx(wide, rel=1e-12)


def test_the_sandbox_charges_what_the_plain_subject_charges(examine, make_document, sandbox):
    candidate = Candidate(SIGNS)
    plain = examine(SIGNS, make_document())
    boxed = examine(SIGNS, make_document(), subject=sandbox.subject(candidate))
    assert plain.valid
    assert boxed.points == plain.points


def naive(document, layer, keys, values):
    """One step, one head at a time; returns errors [S, H, G]."""
    recorded, n = document.layers[layer], document.prompt
    heads, group, _, width = recorded.queries.shape
    found = np.empty((document.steps, heads, group))
    for step in range(document.steps):
        seen = n + step + 1
        for head in range(heads):
            for member in range(group):
                query = recorded.queries[head, member, step - document.steps].astype(np.float64)

                def attend(k, v, query=query):
                    logits = k @ query / np.sqrt(width)
                    weights = np.exp(logits - logits.max())
                    return weights @ v / weights.sum()

                exact = [array[head, :seen].astype(np.float64) for array in (recorded.keys, recorded.values)]
                moved = [exact[0].copy(), exact[1].copy()]
                moved[0][:n], moved[1][:n] = keys[head], values[head]
                true = attend(*exact)
                found[step, head, member] = np.linalg.norm(attend(*moved) - true) / np.linalg.norm(true)
    return found


def test_errors_are_those_of_a_plain_loop_and_generated_tokens_stay_exact(make_document):
    document = make_document(heads=3, group=2, tokens=60, steps=5, dim=16)
    draw = np.random.default_rng(3)
    layer = document.layers[0]
    keys, values = (
        array[:, : document.prompt] + 0.2 * draw.standard_normal((3, 55, 16)) for array in (layer.keys, layer.values)
    )
    found = deviation(document, 0, keys, values)
    exact_keys, exact_values = layer.keys[:, :55], layer.values[:, :55]
    np.testing.assert_allclose(found.error, naive(document, 0, keys, values), rtol=1e-9)
    np.testing.assert_allclose(found.error_keys, naive(document, 0, keys, exact_values), rtol=1e-9)
    np.testing.assert_allclose(found.error_values, naive(document, 0, exact_keys, values), rtol=1e-9)


def test_squared_errors_bias_and_gain_are_those_of_their_definitions(make_document):
    document = make_document(heads=2, group=2, tokens=40, steps=3, dim=16)
    layer = document.layers[0]
    exact = layer.keys[:, :37].astype(np.float64)
    found = deviation(document, 0, 0.9 * exact, layer.values[:, :37])
    np.testing.assert_allclose(found.key_mse, 0.01, rtol=1e-9)
    np.testing.assert_allclose(found.value_mse, 0, atol=1e-15)
    np.testing.assert_allclose(found.gain, -0.1, rtol=1e-9)
    queries = layer.queries[1, 1, 2].astype(np.float64)
    cosines = exact[1] @ queries / np.linalg.norm(queries) / np.linalg.norm(exact[1], axis=-1)
    np.testing.assert_allclose(found.bias[2, 1, 1], -0.1 * cosines.mean(), rtol=1e-9)


def test_the_objective_is_the_mean_over_heads_of_the_percentile(examine, make_document):
    documents = make_document(0, layers=(0, 4)), make_document(1, layers=(0, 4))
    verdict = examine(SIGNS, *documents)
    units = {}
    for document in documents:
        for layer in document.layers:
            one = prompt(document, layer)
            (decoded,) = compress(PlainSubject(Candidate(SIGNS), "torch"), [one], 9.0, Seed(b"x"))
            error = naive(document, layer, decoded.keys, decoded.values)
            for head in range(2):
                units.setdefault((layer, head), []).append(error[:, head].ravel())
    heads = [np.percentile(np.concatenate(errors), 95) for errors in units.values()]
    assert verdict.points[0]["error"] == pytest.approx(np.mean(heads), rel=1e-9)
    assert verdict.points[0]["error_worst"] == pytest.approx(max(heads), rel=1e-9)


@pytest.mark.parametrize("rest", [0, 1])
def test_the_cap_is_met_to_the_byte(rest, make_document):
    document = make_document(heads=1, tokens=102)
    room = int(2.75 * 2 * 100 * 64 / 8) - (2 + 3 + 4 + 8)
    source = f"""
import torch
def encode():
    return {{"data": torch.zeros({room + rest}, dtype=torch.uint8)}}
def decode(shape):
    return torch.ones(shape), torch.ones(shape)
"""
    subject = PlainSubject(Candidate(source), "torch")
    if rest:
        with pytest.raises(CandidateFault, match=r"over the cap: the code has 4401 bytes.*prose-0, layer 0, encode"):
            compress(subject, [prompt(document, 0)], 2.75, Seed(b"x"))
    else:
        (decoded,) = compress(subject, [prompt(document, 0)], 2.75, Seed(b"x"))
        assert decoded.bits == 2.75


def test_both_sides_draw_the_same_and_no_document_or_cap_changes_it(make_document):
    source = """
import torch
def encode(rng):
    return {"drawn": torch.randn(4, generator=rng)}
def decode(code, rng, shape):
    assert torch.equal(code["drawn"], torch.randn(4, generator=rng))
    x = torch.zeros(shape)
    x[0, 0, :4] = code["drawn"]
    return x, x
"""
    documents = [make_document(seed, layers=(0, 1)) for seed in range(2)]
    prompts = [prompt(document, layer) for document in documents for layer in (0, 1)]
    drawn = [
        [one.keys[0, 0, :4].tolist() for one in compress(PlainSubject(Candidate(source), "torch"), prompts, cap, seed)]
        for cap, seed in ((3.0, Seed(b"a")), (8.0, Seed(b"a")), (3.0, Seed(b"b")))
    ]
    assert drawn[0][0] == drawn[0][2] != drawn[0][1] == drawn[0][3]
    assert drawn[0] == drawn[1] != drawn[2]


def test_age_falls_to_zero_and_shape_is_the_prompts(make_document):
    source = """
import torch
def encode(keys, age, shape, layer, rope_base, budget):
    assert shape == list(keys.shape) and age.dtype == torch.int64
    assert age.tolist() == list(range(shape[1] - 1, -1, -1))
    return {"told": torch.tensor([layer, rope_base, budget.bits])}
def decode(code, age, shape, layer, rope_base, budget):
    assert code["told"].tolist() == [layer, rope_base, budget.bits] == [7, 1e4, 4.5]
    return torch.zeros(shape), torch.zeros(shape)
"""
    (decoded,) = compress(
        PlainSubject(Candidate(source), "torch"), [prompt(make_document(layers=(7,)), 7)], 4.5, Seed(b"x")
    )
    assert decoded.keys.shape == (2, 400, 64)


def test_compress_takes_the_layers_of_any_model_in_their_order():
    draw = np.random.default_rng(0)
    prompts = [
        Prompt("text", layer, *draw.standard_normal((2, 3, 50, 32)).astype(np.float32), rope_base=1e5)
        for layer in range(5)
    ]
    found = compress(PlainSubject(Candidate(INT8), "torch"), prompts, 8.75, Seed(b"x"))
    for one, other in zip(prompts, found, strict=True):
        assert np.abs(one.keys - other.keys).max() <= 1 / 32
        assert set(other.tensors) == {"k", "v"}
        assert sum(other.tensors.values()) == one.elements


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("keys, values * float('nan')", "decoded values hold NaN"),
        ("(keys * 1e7).half(), values", "decoded keys hold NaN or infinity .float16 ends at 65504"),
        ("keys.double() * 1e300, values", "decoded keys hold NaN or infinity"),
        ("keys[:, 1:], values", "decoded keys must be floats of shape"),
        ("keys.int(), values", "decoded keys must be floats of shape"),
        ("keys, values, keys", r"must return \(keys, values\)"),
        ("{'keys': keys, 'values': values}", r"must return \(keys, values\)"),
    ],
)
def test_a_wrong_answer_is_named(answer, message, make_document):
    source = INT8.replace(
        'return code["k"] / 16, code["v"] / 16', f"keys, values = code['k'] / 16, code['v'] / 16\n    return {answer}"
    )
    with pytest.raises(CandidateFault, match=message) as caught:
        compress(PlainSubject(Candidate(source), "torch"), [prompt(make_document(), 0)], 8.75, Seed(b"x"))
    assert caught.value.status == "wrong"
    assert "decode at 8.75 bits" in caught.value.feedback


@pytest.mark.parametrize("argument", ["keys", "queries", "document"])
def test_decode_cannot_ask_for_what_it_must_not_see(argument):
    with pytest.raises(CandidateFault, match=argument):
        check_interface(problem, Candidate(INT8.replace("decode(code)", f"decode(code, {argument})")))


def test_feedback_says_whether_keys_or_values_are_to_blame(examine, make_document):
    source = SIGNS.replace("return x[0], x[1]", "return -x[0], x[1]")
    verdict = examine(source, make_document())
    assert "keys: wrong logits" in verdict.feedback
    assert "sign 1.000" in verdict.feedback
    assert len(verdict.feedback) < 2600


def test_a_kept_claim_and_a_broken_one_are_told_apart(examine, make_document):
    # Dithered signs: sign(x + u) for uniform u is right on average, whatever x is below 8.
    dithered = """
import torch
UNBIASED = True
def encode(keys, values, rng):
    x = torch.stack([keys, values])
    dither = 8 * (2 * torch.rand(x.shape, generator=rng) - 1)
    signs = (x > dither).unflatten(-1, (-1, 8)) * 2 ** torch.arange(8)
    return {"sign": signs.sum(-1).to(torch.uint8)}
def decode(code, rng):
    x = 8 * (2.0 * (code["sign"][..., None].int() >> torch.arange(8) & 1).flatten(-2) - 1)
    return x[0], x[1]
"""
    honest = examine(dithered, make_document())
    assert honest.report["unbiased"]["kept"], honest.report["unbiased"]
    false = examine(dithered.replace("return x[0], x[1]", "return 0.8 * x[0], x[1]"), make_document())
    assert not false.report["unbiased"]["kept"]
    assert false.report["unbiased"]["gain"] == pytest.approx(-0.2, abs=0.05)
    assert "unbiased" not in examine(SIGNS, make_document()).report


def test_stages_hold_the_shipped_traces_and_the_families():
    search = problem.workload(problem.stage("search"), Seed(b"x")).cases
    select = problem.workload(problem.stage("select"), Seed(b"x")).cases
    assert {case.family for case in search} == {""}
    assert {case.family for case in select} == {"", "llama3", "qwen3"}
    hashes = [{case.document.hash for case in cases} for cases in (search, select)]
    assert not hashes[0] & hashes[1]


def test_a_users_own_traces_are_taken(tmp_path, make_document):
    path = tmp_path / "own.safetensors"
    traces.write(make_document(5), path)
    own = problem.workload_from([path], Seed(b"x"))
    verdict = examine_workload(problem, PlainSubject(Candidate(SIGNS), "torch"), own)
    assert verdict.valid
    with pytest.raises(BadInput, match="trace"):
        problem.workload_from([], Seed(b"x"))


def test_the_hash_covers_the_traces_of_the_sibling():
    assert "sparse_decode" in problem.shares
    assert problem.hash != type("Alone", (type(problem),), {"shares": (), "folder": problem.folder})().hash


def test_the_task_names_every_argument_and_cap():
    statement = problem.statement
    for function in problem.functions:
        for argument in function.arguments:
            assert argument in statement
    for number in (*map(str, CAPS), "64 tensors", "65504", "UNBIASED", "REFERENCE"):
        assert number in statement


def test_the_tiny_document_has_room_for_headers_at_every_cap():
    (case,) = workload.tiny_cases()
    assert 8 * 1024 / prompt(case.document, 0).elements < 0.2
    seed = Candidate(problem.seed(problem.default_seed).read_text())
    tiny = Workload(problem.stage("tiny"), Seed(b"x"), workload.tiny_cases())
    assert examine_workload(problem, PlainSubject(seed, "torch"), tiny).valid
