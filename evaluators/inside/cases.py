"""What a candidate is asked inside the model: held-out text to continue, and RULER-style questions with a known answer.

A case is split where compression happens: the context is read densely, and the question, the chat template's turn and
the answer come after it, so nothing that is kept or dropped was chosen with the question in sight. Questions follow
RULER's rules (Hsieh et al., 2024, arXiv:2404.06654) at lengths that a small model can do.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from vevolve.errors import BadInput
from vevolve.evaluators.sparse_decode import texts
from vevolve.evaluators.sparse_decode.models import Model
from vevolve.types import Seed, Split

TOKENS = 1_000
"""Tokens of a context, at most."""
TEXT_STEPS = 32
"""Tokens of held-out text that are predicted."""
LOOKALIKES = 16


@dataclass(frozen=True)
class Case:
    """A context and what follows it.

    Attributes:
        name: what reports call it.
        task: "text", or the kind of question.
        context: token ids that are compressed.
        question: token ids between the context and the answer; of text, its first token.
        answer: token ids that are predicted.
    """

    name: str
    task: str
    context: tuple[int, ...]
    question: tuple[int, ...]
    answer: tuple[int, ...]


@dataclass(frozen=True)
class Prompt:
    """A user's turn whose first part, up to `asked`, is the context, and the answer that it calls for."""

    user: str
    asked: str
    answer_prefix: str
    answer: str


def cases(model: Model, split: Split, seed: Seed, *, each: int = 2, tokens: int | None = None) -> tuple[Case, ...]:
    """Held-out prose and code, then `each` questions of every kind in `KINDS`; contexts of at most `tokens` (1,000).

    Raises:
        BadInput: the model's window is too short for the contexts asked for.
    """
    tokens = TOKENS if tokens is None else tokens
    if tokens + 128 > model.longest:
        raise BadInput(f"{model.name} reads {model.longest} tokens; contexts of {tokens} leave no room for a question.")
    found = [_text(model, kind, split, seed.derive(kind), tokens) for kind in ("prose", "code")]
    for kind, draw in KINDS.items():
        for number in range(each):
            drawn = draw(model, split, seed.derive(kind, number), tokens)
            found.append(_case(model, f"{kind} {number + 1}", kind, drawn))
    return tuple(found)


def _text(model: Model, kind: str, split: Split, seed: Seed, tokens: int) -> Case:
    drawn = texts.draw(split, kind, seed, characters=8 * tokens)
    ids = tuple(model.encode(drawn.text)[: tokens + 1 + TEXT_STEPS])
    return Case(kind, "text", ids[:tokens], ids[tokens : tokens + 1], ids[tokens + 1 :])


def _case(model: Model, name: str, task: str, prompt: Prompt) -> Case:
    text = model.prompt(prompt.user, prompt.answer_prefix)
    start = text.rindex(prompt.asked)
    context, question = model.encode(text[:start]), model.encode(text[start:])
    return Case(name, task, tuple(context), tuple(question), tuple(model.encode(f" {prompt.answer}")))


# ------------------------------------------------------------------------------------------------------ questions


def _needle(task: str, model: Model, split: Split, seed: Seed, tokens: int) -> Prompt:
    drawn = texts.needle(task, split, seed, lambda found: len(model.encode(found.user)) <= tokens)
    asked = drawn.user[drawn.user.rindex("\nWhat is the special") :]
    return Prompt(drawn.user, asked, drawn.answer_prefix, drawn.answer)


def _lookalike(model: Model, split: Split, seed: Seed, tokens: int) -> Prompt:
    """RULER's niah_multikey_2: the haystack is made of needles."""
    rng = np.random.default_rng(seed.integer)
    names = texts.names(rng, LOOKALIKES)
    numbers = [str(number) for number in rng.integers(1_000_000, 10_000_000, LOOKALIKES)]
    pairs = list(zip(names, numbers, strict=True))
    name, number = pairs[int(rng.integers(LOOKALIKES))]
    haystack = " ".join(f"One of the special magic numbers for {each} is: {value}." for each, value in pairs)
    asked = f"\nWhat is the special magic number for {name} mentioned in the provided text?"
    user = (
        "Some special magic numbers are hidden within the following text. Make sure to memorize it. I will quiz you "
        f"about the numbers afterwards.\n{haystack}{asked}"
    )
    prefix = f" The special magic number for {name} mentioned in the provided text is"
    return Prompt(user, asked, prefix, number)


def _variable(model: Model, split: Split, seed: Seed, tokens: int) -> Prompt:
    """RULER's variable tracking turned round and without a hop: one assignment in noise, whose value is asked for.

    RULER asks for the names that hold a value, which SmolLM2-135M does not answer.
    """
    rng = np.random.default_rng(seed.integer)
    name = "".join(rng.choice(list("ABCDEFGHIJKLMNOPQRSTUVWXYZ"), 5))
    value = str(rng.integers(10_000, 100_000))
    sentence = len(model.encode(f" {texts.NOISE}"))
    noise = [texts.NOISE] * max((tokens - 96) // sentence, 1)
    noise.insert(int(rng.integers(len(noise) + 1)), f"VAR {name} = {value}.")
    asked = f"\nWhat is the value of the variable {name} in the text above?"
    user = f"Memorize the variable assignment hidden in the following text.\n\n{' '.join(noise)}{asked}"
    return Prompt(user, asked, f" In the text above, VAR {name} =", value)


KINDS: dict[str, Callable[[Model, Split, Seed, int], Prompt]] = {
    "needle in noise": functools.partial(_needle, "niah_single_1"),
    "needle in an essay": functools.partial(_needle, "niah_single_2"),
    "needle of four keys": functools.partial(_needle, "niah_multikey_1"),
    "needle of 16 look-alikes": _lookalike,
    "variable": _variable,
}
"""Kinds of questions: RULER's niah_single_1, niah_single_2, niah_multikey_1, niah_multikey_2, and vt without a hop."""
