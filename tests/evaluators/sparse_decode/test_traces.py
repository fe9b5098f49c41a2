import os
import stat

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from vevolve.errors import BadTrace, UnknownName
from vevolve.evaluators.sparse_decode import traces
from vevolve.evaluators.sparse_decode.traces import Document, Layer

MOST_SHIPPED_BYTES = 24_000_000


def tensors(heads=2, group=3, tokens=12, queries=5, width=4, layer=0, seed=0):
    draw = np.random.default_rng(seed)
    shapes = {"q": (heads, group, queries, width), "k": (heads, tokens, width), "v": (heads, tokens, width)}
    return {f"{kind}.{layer}": draw.standard_normal(shape).astype(np.float16) for kind, shape in shapes.items()}


METADATA = {"model": "m", "text": "t", "tokens": "12", "split": "search", "steps": "3"}


@st.composite
def documents(draw):
    heads, group, width = draw(st.integers(1, 4)), draw(st.integers(1, 4)), draw(st.sampled_from([1, 3, 8, 64]))
    queries = draw(st.integers(1, 9))
    steps = draw(st.integers(1, queries))
    tokens = draw(st.integers(max(queries, steps + 1), 20))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))

    def floats(*shape):
        scale = 10.0 ** random.uniform(-5, 4)
        return np.clip(random.standard_normal(shape) * scale, -65504, 65504).astype(np.float32)

    def layer():
        wo = floats(heads, group, width, 5) if draw(st.booleans()) else None
        return Layer(
            floats(heads, group, queries, width), floats(heads, tokens, width), floats(heads, tokens, width), wo
        )

    words = st.text(st.characters(codec="utf-8"), max_size=20)
    start = draw(st.integers(0, tokens - 1))
    return Document(
        name=draw(words),
        model=draw(words),
        text=draw(words),
        split=draw(st.sampled_from(["search", "select", "sealed"])),
        kind=draw(words),
        steps=steps,
        layers={index: layer() for index in sorted(draw(st.sets(st.integers(0, 200), min_size=1, max_size=3)))},
        rope_base=draw(st.none() | st.floats(1e-3, 1e9)),
        needle=draw(st.none() | st.just((start, draw(st.integers(start + 1, tokens))))),
        notes=draw(st.dictionaries(words.map("note-{}".format), words, max_size=2)),
    )


@given(documents())
@settings(max_examples=60, deadline=None)
def test_a_document_survives_its_file_to_float16(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("trace") / "a.safetensors"
    traces.write(document, path)
    back = traces.read(path)
    for field in ("name", "model", "text", "split", "kind", "steps", "rope_base", "needle", "notes", "tokens", "hash"):
        assert getattr(back, field) == getattr(document, field), field
    assert list(back.layers) == list(document.layers)
    for index, layer in document.layers.items():
        for kind in ("queries", "keys", "values", "wo"):
            mine, theirs = getattr(layer, kind), getattr(back.layers[index], kind)
            assert (mine is None) == (theirs is None)
            if mine is not None:
                assert theirs.dtype == np.float32
                np.testing.assert_array_equal(theirs, mine.astype(np.float16).astype(np.float32))


def test_the_hash_sees_tensors_and_metadata():
    layer = Layer(*(tensor.astype(np.float32) for tensor in tensors().values()))
    document = Document("a", "m", "t", "search", "prose", 3, {0: layer})
    changed = layer.values.copy()
    changed[1, 2, 3] += 1
    others = [
        Document("a", "m", "t", "search", "prose", 2, {0: layer}),
        Document("a", "m", "t", "select", "prose", 3, {0: layer}),
        Document("a", "m", "t", "search", "prose", 3, {1: layer}),
        Document("a", "m", "t", "search", "prose", 3, {0: Layer(layer.queries, layer.keys, changed)}),
    ]
    assert len({document.hash, *(other.hash for other in others)}) == 5


@pytest.mark.filterwarnings("error")
def test_documents_of_values_beyond_float16_differ_by_them():
    layer = Layer(*(tensor.astype(np.float32) for tensor in tensors().values()))
    large = [Layer(layer.queries, layer.keys * scale, layer.values) for scale in (1e5, 2e5)]
    assert min(np.abs(one.keys).max() for one in large) > traces.FLOAT16_MAX
    hashes = {Document("a", "m", "t", "search", "prose", 3, {0: one}).hash for one in large}
    assert len(hashes) == 2


def test_absent_steps_mean_that_every_query_is_a_decode_step(tmp_path):
    path = tmp_path / "a.safetensors"
    save_file(tensors(), path, {key: value for key, value in METADATA.items() if key != "steps"})
    document = traces.read(path)
    assert (document.steps, document.recorded, document.prompt, document.name) == (5, 5, 7, "a")


def test_an_output_projection_as_models_keep_it_is_split_by_query_head(tmp_path):
    weight = np.random.default_rng(0).standard_normal((7, 2 * 3 * 4)).astype(np.float16)
    save_file({**tensors(), "wo.0": weight}, path := tmp_path / "a.safetensors", METADATA)
    wo = traces.read(path).layers[0].wo
    outputs = np.random.default_rng(1).standard_normal((2, 3, 4))  # of each query head, head h * G + g of the model
    np.testing.assert_allclose(
        np.einsum("hgd,hgdm->m", outputs, wo), weight.astype(np.float64) @ outputs.ravel(), rtol=1e-5
    )


def without(name):
    return {key: value for key, value in tensors().items() if key != name}


def spoiled(name, value):
    found = tensors()
    found[name].flat[3] = value
    return found


BROKEN = {
    "no keys": (without("k.0"), METADATA, ["k.0", "[H, N, d]", "found none"]),
    "no queries": (without("q.0"), METADATA, ["q.0", "[H, G, T, d]", "found none"]),
    "values of another length": (
        {**tensors(), "v.0": tensors(tokens=11)["v.0"]}, METADATA, ["v.0", "[2, 12, 4]", "[2, 11, 4]"],
    ),
    "query heads that KV heads do not divide": (
        {**tensors(), "q.0": np.zeros((5, 5, 4), np.float16)}, METADATA, ["q.0", "5 heads", "2 does not divide"],
    ),
    "queries without groups": (
        {**tensors(), "q.0": np.zeros((6, 5, 4), np.float16)}, METADATA, ["q.0", "[2, G, T, 4]", "[6, 5, 4]"],
    ),
    "queries for other KV heads": (
        {**tensors(), "q.0": tensors(heads=3)["q.0"]}, METADATA, ["q.0", "[2, G, T, 4]", "[3, 3, 5, 4]"],
    ),
    "queries of another width": (
        {**tensors(), "q.0": tensors(width=8)["q.0"]}, METADATA, ["q.0", "[2, G, T, 4]", "[2, 3, 5, 8]"],
    ),
    "flat keys": ({**tensors(), "k.0": np.zeros((12, 4), np.float16)}, METADATA, ["k.0", "[H, N, d]", "[12, 4]"]),
    "empty keys": (tensors(tokens=0), {**METADATA, "tokens": "0"}, ["k.0", "empty", "[2, 0, 4]"]),
    "layers of different length": (
        {**tensors(), **tensors(layer=1, tokens=13)}, METADATA, ["k.1", "12 tokens", "found 13"],
    ),
    "layers with different queries": (
        {**tensors(), **tensors(layer=1, queries=4)}, METADATA, ["q.1", "5 queries", "found 4"],
    ),
    "NaN": (spoiled("v.0", np.nan), METADATA, ["v.0", "finite", "found 1"]),
    "infinity": (spoiled("q.0", np.inf), METADATA, ["q.0", "finite", "found 1"]),
    "a foreign tensor": ({**tensors(), "x.0": np.zeros(3, np.float16)}, METADATA, ["x.0", "q.N, k.N, v.N"]),
    "a projection of another shape": (
        {**tensors(), "wo.0": np.zeros((7, 23), np.float16)}, METADATA, ["wo.0", "[m, 24]", "[7, 23]"],
    ),
    "integers": ({**tensors(), "k.0": np.zeros((2, 12, 4), np.int16)}, METADATA, ["k.0", "F16", "I16"]),
    "no tensors": ({}, METADATA, ["at least one layer", "found none"]),
    "more queries than tokens": (tensors(queries=13), METADATA, ["q.0", "12", "found 13"]),
    "fewer queries than steps": (tensors(), {**METADATA, "steps": "6"}, ["steps", "at most 5", "found 6"]),
    "as many steps as tokens": (
        tensors(tokens=5), {**METADATA, "tokens": "5", "steps": "5"}, ["steps", "fewer than the 5", "found 5"],
    ),
    "steps that are no number": (tensors(), {**METADATA, "steps": "some"}, ["steps", "'some'"]),
    "no steps": (tensors(), {**METADATA, "steps": "0"}, ["steps", "'0'"]),
    "another token count": (tensors(), {**METADATA, "tokens": "13"}, ["tokens", "expected 12", "'13'"]),
    "an unknown split": (tensors(), {**METADATA, "split": "train"}, ["split", "search, select, sealed", "'train'"]),
    "no model": (tensors(), {k: v for k, v in METADATA.items() if k != "model"}, ["'model'"]),
    "a RoPE base that is none": (tensors(), {**METADATA, "rope_base": "nan"}, ["rope_base", "'nan'"]),
    "a needle outside": (tensors(), {**METADATA, "needle": "3:13"}, ["needle", "12 tokens", "3:13"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_trace_is_refused_in_one_line_that_says_what_was_expected_and_found(tmp_path, case):
    stored, metadata, words = BROKEN[case]
    save_file(stored, path := tmp_path / "broken.safetensors", metadata)
    with pytest.raises(BadTrace) as caught:
        traces.read(path)
    message = str(caught.value)
    assert "\n" not in message
    for word in [str(path), *words]:
        assert word in message


def test_what_is_no_trace_at_all_is_refused_in_one_line(tmp_path):
    save_file(tensors(), whole := tmp_path / "whole.safetensors", METADATA)
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole.read_bytes()[:-10])
    text = tmp_path / "text.safetensors"
    text.write_text("no tensors here")
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    for name in ("cut.safetensors", "text.safetensors", "folder", "empty", "missing"):
        with pytest.raises(BadTrace, match=name) as caught:
            traces.read(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_value_beyond_float16_is_refused_and_the_older_file_stays(tmp_path):
    layer = Layer(*(tensor.astype(np.float32) for tensor in tensors().values()))
    traces.write(Document("old", "m", "t", "search", "prose", 3, {0: layer}), path := tmp_path / "a.safetensors")
    large = layer.keys.copy()
    large[0, 0, 0] = 7e4
    with pytest.raises(BadTrace, match=r"k\.0: .*65504.*7e\+04"):
        traces.write(
            Document("new", "m", "t", "search", "prose", 3, {0: Layer(layer.queries, large, layer.values)}), path
        )
    assert traces.read(path).name == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_trace_is_readable_by_whom_the_umask_allows_and_the_same_bytes_each_time(tmp_path):
    layer = Layer(*(tensor.astype(np.float32) for tensor in tensors().values()))
    document = Document("a", "m", "t", "search", "prose", 3, {0: layer}, notes={str(i): "x" for i in range(9)})
    paths = [tmp_path / f"{number}.safetensors" for number in range(3)]
    before = os.umask(0o027)
    try:
        for path in paths:
            traces.write(document, path)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o640}
    assert len({path.read_bytes() for path in paths}) == 1


@pytest.mark.parametrize("split", ["search", "select"])
def test_shipped_traces_hold_prose_code_and_answered_needles(split):
    found = [traces.read(path) for path in traces.shipped(split)]
    assert sorted(document.kind for document in found) == ["code"] * 2 + ["needle"] * 2 + ["prose"] * 2
    for document in found:
        assert document.split == split
        assert document.model.startswith("SmolLM2-135M-Instruct")
        long = document.name.endswith(("prose-2", "code-2"))
        steps, queries = (72, 96) if long else (8, 32)
        assert (document.steps, document.recorded, document.rope_base) == (steps, queries, 1e5)
        for layer in document.layers.values():
            assert layer.queries.shape == (3, 3, queries, 64)
            assert layer.keys.shape == layer.values.shape == (3, document.tokens, 64)
        if document.kind == "needle":
            assert document.needle is not None and document.needle[1] < document.prompt
            assert document.notes["answer"].isdigit()


def test_shipped_splits_share_neither_texts_nor_layers_and_stay_small():
    found = {split: [traces.read(path) for path in traces.shipped(split)] for split in ("search", "select")}
    texts = {
        split: {part.partition(", line")[0] for document in documents for part in document.text.split("; ")}
        for split, documents in found.items()
    }
    layers = {
        split: {index for document in documents for index in document.layers} for split, documents in found.items()
    }
    assert not texts["search"] & texts["select"]
    assert not layers["search"] & layers["select"]
    assert {stat.S_IMODE(path.stat().st_mode) & 0o444 for path in traces.SHIPPED.rglob("*.safetensors")} == {0o444}
    assert sum(path.stat().st_size for path in traces.SHIPPED.rglob("*.safetensors")) <= MOST_SHIPPED_BYTES


def test_sealed_documents_are_never_shipped():
    with pytest.raises(UnknownName, match="search, select"):
        traces.shipped("sealed")
