"""Recording: a second pass over the context, and halves of a needle prompt."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from vevolve.evaluators.kv_eviction import contexts, generate
from vevolve.evaluators.sparse_decode.models import Model
from vevolve.evaluators.sparse_decode.recorder import record
from vevolve.types import Seed

transformers = pytest.importorskip("transformers", reason="recording needs the extra vevolve[record]")
LAYERS = (0, 2)


class Letters:
    """A tokenizer: a character is a token."""

    chat_template = None

    def __call__(self, text, add_special_tokens):
        return SimpleNamespace(input_ids=[ord(letter) % 97 for letter in text])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=97, hidden_size=48, intermediate_size=64, num_hidden_layers=3, num_attention_heads=6,
        num_key_value_heads=2, max_position_embeddings=4096, head_dim=8,
        rope_parameters={"rope_type": "default", "rope_theta": 5e4},
    )  # fmt: skip
    network = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in network.parameters():
        parameter.data *= 3  # attention of a fresh model is nearly flat, and would hide a mistake
    return Model("small", network.eval(), Letters())


def test_the_second_passes_softmax_is_the_models_own(model):
    """Context logits, and the mass of the pass's own tokens, give the attention that the model itself reports."""
    ids = np.random.default_rng(0).integers(0, 97, 30).tolist()
    whole = [*ids, *model.encode(contexts.REPEAT), *ids]
    first = record(model, ids, layers=LAYERS, steps=1, queries=30)
    found = generate.second_pass(model, ids, LAYERS)
    model.network.set_attn_implementation("eager")
    with torch.inference_mode():
        attentions = model.network(torch.tensor([whole]), output_attentions=True).attentions
    model.network.set_attn_implementation("sdpa")
    for layer in LAYERS:
        queries, mass = found[layer]
        assert queries.shape == (2, 3, 30, 8) and mass.shape == (2, 3, 30)
        logits = np.einsum("hgrd,hnd->hgrn", queries, first.layers[layer].keys) / np.sqrt(8)
        share = np.exp(logits) / (np.exp(logits).sum(axis=-1) + np.exp(mass))[..., None]
        exact = attentions[layer][0, :, -30:, :30].numpy().reshape(2, 3, 30, 30)
        np.testing.assert_allclose(share, exact, rtol=1e-3, atol=1e-5)


def test_a_passage_is_a_context_and_how_it_goes_on(model):
    found = generate.passage(model, "code", Seed(b"s"), layers=LAYERS, split="sealed", name="mine", tokens=50, steps=6)
    document = found.document
    assert (document.prompt, document.steps, found.answer_steps, found.depth) == (50, 6, 6, 3)
    assert (document.name, document.kind, document.split, document.rope_base) == ("mine", "code", "sealed", 5e4)
    evidence = found.evidence[2]
    assert evidence.queries.shape == evidence.repeat.shape == (2, 3, 50, 8) and evidence.wo.shape == (2, 3, 8, 48)


def test_a_needle_context_ends_before_its_question(model, monkeypatch):
    monkeypatch.setattr(generate, "answers", lambda *_: True)
    found = generate.needle(model, "niah_single_1", Seed(b"s"), layers=(1,), split="sealed", name="mine", tokens=700)
    document, answer = found.document, found.document.notes["answer"]
    start, stop = document.needle
    statement = stop - start - len(f"One of the special magic numbers for  is: {answer}.")
    assert 6 < statement < 20  # letters of a name, adjective-noun, and a space before the sentence
    assert document.prompt <= 700 and 0 < start < stop <= document.prompt
    assert found.answer_steps == len(f" {answer}") == 8
    question = "What is the special magic number for"
    assert document.steps > 2 * len(question)


def test_a_needle_that_the_model_never_finds_is_refused(model, monkeypatch):
    monkeypatch.setattr(generate, "answers", lambda *_: False)
    monkeypatch.setattr(generate, "_ATTEMPTS", 2)
    with pytest.raises(generate.BadInput, match="answered none of 2 niah_single_1 prompts"):
        generate.needle(model, "niah_single_1", Seed(b"s"), layers=(1,), split="sealed", name="mine", tokens=700)
