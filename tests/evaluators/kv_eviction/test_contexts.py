"""Context files: what they hold, what ships, and what is refused."""

import re
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from vevolve.errors import BadInput, BadTrace, UnknownName
from vevolve.evaluators.kv_eviction import contexts
from vevolve.evaluators.kv_eviction.workload import SHARES, file_cases, shipped_cases, tiny_cases
from vevolve.evaluators.sparse_decode import traces
from vevolve.evaluators.sparse_decode.attention import reference

SPLITS = ("search", "select")


@pytest.fixture
def written(tmp_path, make_context):
    case = make_context(layers=(2, 5), n=40, needle=(3, 9), notes={"answer_steps": "2", "model_layers": "7"})
    contexts.write(case, path := tmp_path / "one.safetensors")
    return case, path


def test_what_errors_are_measured_with_survives_a_file_exactly(written):
    case, path = written
    again = contexts.read(path)
    for layer in (2, 5):
        for name in ("keys", "values"):
            np.testing.assert_array_equal(getattr(again.evidence[layer], name), getattr(case.evidence[layer], name))
        np.testing.assert_array_equal(reference(again.document, layer).outputs, reference(case.document, layer).outputs)
        np.testing.assert_array_equal(again.evidence[layer].repeat_mass, case.evidence[layer].repeat_mass)
    one, other = again.document, case.document
    assert (one.name, one.kind, one.needle, one.rope_base, one.steps, one.prompt) == (
        other.name, other.kind, other.needle, other.rope_base, other.steps, other.prompt,
    )  # fmt: skip
    assert (again.answer_steps, again.depth) == (2, 7)


def test_queries_that_only_score_lose_about_a_hundredth(written):
    case, path = written
    again = contexts.read(path)
    for layer in (2, 5):
        for name in ("queries", "repeat"):
            exact, found = getattr(case.evidence[layer], name), getattr(again.evidence[layer], name)
            error = np.linalg.norm(found - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
            assert 0 < error.max() < 0.012
            assert np.abs(found - exact).max() <= 0.51 * np.abs(exact).max() / 127


def test_a_trace_with_the_queries_of_all_positions_is_a_context(tmp_path, make_context):
    case = make_context(evidence=False, n=40, steps=5)
    traces.write(case.document, path := tmp_path / "trace.safetensors")
    again = contexts.read(path)
    np.testing.assert_array_equal(again.evidence[0].queries, case.document.layers[0].queries[:, :, :40])
    assert again.evidence[0].repeat is None and again.evidence[0].wo is None
    assert (again.answer_steps, again.depth) == (5, 1)


def test_a_trace_of_the_last_queries_is_refused_with_the_cure(tmp_path, make_context):
    document = make_context(evidence=False, n=40, steps=5).document
    layer = document.layers[0]
    short = replace(document, layers={0: replace(layer, queries=layer.queries[:, :, -8:])})
    traces.write(short, path := tmp_path / "trace.safetensors")
    with pytest.raises(BadTrace, match=r"the queries of all 45 tokens.*found 8\. Record it with --queries 45"):
        contexts.read(path)


def spoilt(path, change):
    tensors = load_file(path)
    change(tensors)
    metadata, _ = contexts._open(path)
    save_file(tensors, path, metadata)


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda t: t.update({"r.2": t["r.2"][:, :1]}), r"r\.2: expected shape \[2, 2, 40, 16\]; found"),
        (lambda t: t.update({"p.5": t["p.5"][:, :, 1:]}), r"p\.5: expected shape \[2, 2, 40, 16\]; found"),
        (lambda t: t.update({"m.2": t["m.2"][:, :, 1:]}), r"m\.2: expected shape \[2, 2, 40\]; found \[2, 2, 39\]"),
        (lambda t: t.pop("m.2"), r"expected r\.2 and m\.2 together"),
        (lambda t: t.update({"m.5": t["m.5"] * np.nan}), r"m\.5: expected finite values"),
        (lambda t: t.update({"k.5": t["k.5"] * np.float16(np.inf)}), r"k\.5: expected finite values"),
        (lambda t: t.update({"q.5": t["q.5"].reshape(4, 5, 16)[:3]}), "which 2 does not divide"),
        (lambda t: t.update({"z.5": t["q.5"]}), r"z\.5: expected tensors"),
    ],
)  # fmt: skip
def test_a_spoilt_file_is_refused_in_one_line_that_names_it(written, change, found):
    _, path = written
    spoilt(path, change)
    with pytest.raises(BadTrace, match=found) as caught:
        contexts.read(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_values_beyond_half_precision_are_refused(make_context):
    document = make_context(evidence=False, n=40).document
    layer = document.layers[0]
    large = replace(document, layers={0: replace(layer, values=layer.values * 1e5)})
    with pytest.raises(BadTrace, match=r"v\.0: expected values within ±65504, since caches are kept in float16"):
        contexts.context(large)


def test_no_file_no_context_and_no_such_split(tmp_path):
    with pytest.raises(BadTrace, match="found no such file"):
        contexts.read(tmp_path / "none.safetensors")
    (tmp_path / "text.safetensors").write_text("no tensors here")
    with pytest.raises(BadTrace, match="cannot be parsed"):
        contexts.read(tmp_path / "text.safetensors")
    with pytest.raises(UnknownName, match="sealed"):
        contexts.shipped("sealed")
    with pytest.raises(BadInput, match="at least one context"):
        file_cases([])


def test_a_users_context_that_is_too_short_or_uneven_is_refused(tmp_path, make_context):
    contexts.write(make_context(n=31), path := tmp_path / "short.safetensors")
    with pytest.raises(BadInput, match="A context of 31 tokens cannot be cut to 1/32"):
        file_cases([path])
    one, other = make_context(layers=(0,), heads=2), make_context(layers=(1,), heads=4)
    both = replace(one.document, layers={**one.document.layers, **other.document.layers})
    traces.write(replace(both, layers={k: replace(v, wo=None) for k, v in both.layers.items()}), path)
    with pytest.raises(BadTrace, match="layers of one shape"):
        file_cases([path])


# ------------------------------------------------------------------------------------------------------ what ships


def test_shipped_contexts_are_prose_code_and_needles_with_everything_to_score_with():
    for split in SPLITS:
        cases = shipped_cases(split)
        assert sorted(case.document.kind for case in cases) == ["code", "needle", "needle", "prose"]
        for case in cases:
            document = case.document
            assert document.split == split and document.rope_base == 1e5 and case.depth == 30
            assert len(document.layers) == 2 and 360 <= document.prompt <= 416 and 32 <= document.steps <= 48
            for evidence in case.evidence.values():
                assert evidence.queries.shape == evidence.repeat.shape == (3, 3, document.prompt, 64)
                assert evidence.repeat_mass.shape == (3, 3, document.prompt) and evidence.wo.shape == (3, 3, 64, 576)
            if document.kind == "needle":
                start, stop = document.needle
                assert 0 < start < stop <= document.prompt and case.answer_steps == 8
                assert document.steps > case.answer_steps + 20


def test_the_splits_share_no_layer_and_no_source_and_their_layers_are_symmetric():
    found = {}
    for split in SPLITS:
        cases = shipped_cases(split)
        layers = {tuple(case.document.layers) for case in cases}
        assert len(layers) == 1 and sum(*layers) == 29
        sources = {re.sub(r", line \d+$", "", part) for case in cases for part in case.document.text.split("; ")}
        found[split] = (set(*layers), sources)
    assert not found["search"][0] & found["select"][0] and not found["search"][1] & found["select"][1]


def test_shipped_files_are_small_and_readable_by_all():
    files = [path for path in contexts.SHIPPED.rglob("*") if path.is_file()]
    assert len(files) == 9 and sum(path.stat().st_size for path in files) < 16e6
    assert all(path.stat().st_mode & 0o777 == 0o644 for path in files)


def test_the_shipped_second_pass_repeats_the_context():
    """Each repeated token looks for what followed it: the strongest recall of token j comes from about query j - 1."""
    hits = []
    for case in (*shipped_cases("search"), *shipped_cases("select")):
        for evidence in case.evidence.values():
            logits = np.einsum("hgrd,hnd->hgrn", evidence.repeat, evidence.keys) / 8
            place = logits[..., 8:-1].argmax(axis=2)  # [H, G, n]: which query recalls a token most
            hits.append(np.abs(place - np.arange(7, logits.shape[-1] - 2)) <= 1)
    shares = [share for hit in hits for share in hit.mean(axis=2).ravel()]
    assert max(shares) > 0.5 and np.mean(shares) > 10 * 3 / 400


def test_every_budget_keeps_a_token_of_every_shipped_context_and_of_the_tiny_one():
    for case in (*shipped_cases("search"), *shipped_cases("select"), *tiny_cases()):
        assert int(min(SHARES) * case.document.prompt) >= 1
