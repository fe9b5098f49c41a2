"""Record documents from drawn texts; `python -m vevolve.evaluators.sparse_decode.generate` records the shipped traces.

A document depends on its seed, the model, and the texts on this machine. Needle documents are kept only where the
model itself writes the right answer by greedy decoding: the steps then need the needle.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

from vevolve.errors import BadInput
from vevolve.evaluators.sparse_decode import texts
from vevolve.evaluators.sparse_decode.models import Model, answers, load
from vevolve.evaluators.sparse_decode.recorder import record
from vevolve.evaluators.sparse_decode.traces import SHIPPED, Document, read, write
from vevolve.types import Seed, Split

TOKENS = 1_216
STEPS = 8
QUERIES = 32
LAYERS: dict[Split, tuple[int, int]] = {"search": (8, 21), "select": (7, 23)}
"""Layers of the 30 whose attention is hard to thin out, one early and one late a split, each with heads that look up
needles. On the shipped documents 4 sinks and a window of 60 tokens leave mean errors of .16 to 1.2, and an oracle's 64
tokens .05 to .31; in layers 13 and 16 such a window leaves less than .1, so that they tell methods apart less."""
LONG_STEPS = 72
LONG_QUERIES = 96
LONG_LAYERS: dict[Split, tuple[int, int]] = {"search": (12, 19), "select": (11, 16)}
"""The second document of prose and of code decodes past an `append`, and is recorded at layers of its own, so that
their heads have percentiles of their own. Chosen because what was generated matters there: where Quest's `append`
loses the 64 tokens that it should fold, the error rises from 1.11 to 1.34 at 32 tokens and from .15 to .67 at 512 on
`search`, from 1.20 to 1.58 and from .22 to .76 on `select`. In `LAYERS`, errors near 1 at small budgets hide it."""
_ATTEMPTS = 24
_SEED = Seed(b"vevolve/shipped/1")


def passage(
    model: Model,
    kind: str,
    seed: Seed,
    *,
    layers: Sequence[int],
    split: Split,
    name: str,
    tokens: int = TOKENS,
    steps: int = STEPS,
    queries: int = QUERIES,
) -> Document:
    """Record `tokens` tokens of a passage of prose or code that `seed` draws."""
    drawn = texts.draw(split, kind, seed, characters=8 * tokens)
    return record(
        model,
        drawn.text,
        layers=layers,
        steps=steps,
        queries=queries,
        tokens=tokens,
        split=split,
        name=name,
        source=drawn.source,
        kind=kind,
    )


def needle(
    model: Model,
    task: str,
    seed: Seed,
    *,
    layers: Sequence[int],
    split: Split,
    name: str,
    tokens: int = TOKENS,
    queries: int = QUERIES,
) -> Document:
    """Record a needle prompt of at most `tokens` tokens whose decode steps are the answer.

    The query of the first step stands on the last token of the prompt with the answer's prefix; the last step's
    query yields the answer's last token, which is not recorded. Prompts that the model fails are drawn again.

    Raises:
        BadInput: the model failed every one of the prompts that were drawn.
    """
    for attempt in range(_ATTEMPTS):
        drawn = texts.needle(
            task, split, seed.derive(attempt), lambda found: len(_needle_ids(model, found)[0]) <= tokens + 1
        )
        ids, steps = _needle_ids(model, drawn)
        if not answers(model, ids, steps):
            continue
        return record(
            model,
            ids[:-1],
            layers=layers,
            steps=steps,
            queries=queries,
            split=split,
            name=name,
            source=drawn.source,
            kind="needle",
            needle=_place(model, drawn),
            notes={
                "task": drawn.task,
                "depth": f"{drawn.depth:.3f}",
                "answer": drawn.answer,
                "attempts": str(attempt + 1),
            },
        )
    raise BadInput(f"{model.name} answered none of {_ATTEMPTS} {task} prompts of {tokens} tokens. Try fewer tokens.")


def topics(model: Model, *, tokens: int = 4_096, layers: Sequence[int], steps: int = 32) -> Document:
    """The document of the design's reference table: Python's help topics, every query a decode step."""
    drawn = texts.topics(12 * tokens)
    return record(
        model, drawn.text, layers=layers, steps=steps, queries=steps, tokens=tokens, name="topics", source=drawn.source
    )


def ship(model: Model, out: Path) -> Iterator[Path]:
    """Record the traces that come with vEvolve: for `search` and `select`, two of prose, code and needles each."""
    for split, layers in LAYERS.items():
        for kind in ("prose", "code"):
            for number in (1, 2):
                long = number == 2
                document = passage(
                    model,
                    kind,
                    _SEED.derive(split, kind, number),
                    layers=LONG_LAYERS[split] if long else layers,
                    split=split,
                    name=f"{split}-{kind}-{number}",
                    steps=LONG_STEPS if long else STEPS,
                    queries=LONG_QUERIES if long else QUERIES,
                )
                write(document, path := out / split / f"{kind}-{number}.safetensors")
                yield path
        for number, task in enumerate(("niah_single_2", "niah_multikey_1"), 1):
            seed, name = _SEED.derive(split, task), f"{split}-needle-{number}"
            document = needle(model, task, seed, layers=layers, split=split, name=name)
            write(document, path := out / split / f"needle-{number}.safetensors")
            yield path


def _needle_ids(model: Model, drawn: texts.Needle) -> tuple[list[int], int]:
    """Token ids of prompt and answer, and how many of them are the answer."""
    answer = model.encode(f" {drawn.answer}")
    return model.encode(model.prompt(drawn.user, drawn.answer_prefix)) + answer, len(answer)


def _place(model: Model, drawn: texts.Needle) -> tuple[int, int]:
    """The tokens of the statement that answers: start and stop."""
    text = model.prompt(drawn.user, drawn.answer_prefix)
    start = text.index(drawn.statement)
    before = text[:start].rstrip(" ")  # a space belongs to the token after it
    return len(model.encode(before)), len(model.encode(text[: start + len(drawn.statement)]))


def main() -> None:
    """Record the shipped traces anew. One thread, so that sums are taken in the same order on every machine."""
    import torch

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder for search/ and select/")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    for path in ship(load(), out):
        document = read(path)
        print(f"{path} {path.stat().st_size:,} bytes, {document.tokens} tokens: {document.text} {document.notes or ''}")


if __name__ == "__main__":
    main()
