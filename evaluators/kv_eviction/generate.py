"""Record contexts with their questions; `python -m vevolve.evaluators.kv_eviction.generate` records those that ship.

A needle context is RULER's haystack, which ends before its question; it is kept only where the model itself writes the
right answer by greedy decoding. The question of prose and code is how the text goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from vevolve.errors import BadInput
from vevolve.evaluators.kv_eviction.contexts import (
    PROJECTIONS,
    REPEAT,
    SHIPPED,
    Context,
    context,
    read,
    write,
    write_projections,
)
from vevolve.evaluators.sparse_decode import texts
from vevolve.evaluators.sparse_decode.models import Model, answers, load
from vevolve.evaluators.sparse_decode.recorder import capture, record
from vevolve.evaluators.sparse_decode.traces import Floats
from vevolve.types import Seed, Split

TOKENS = 416
"""Of a context: budgets of 1/32 to 1/2 are 13 to 208 tokens. A needle's may be a sentence shorter."""
STEPS = 32
LAYERS: dict[Split, tuple[int, int]] = {"search": (8, 21), "select": (7, 22)}
"""Of 30: an early and a late one, symmetric about the middle, so that a budget that falls linearly with depth
(PyramidKV) is the same on average as an even one."""
_ATTEMPTS = 24
_SEED = Seed(b"vevolve/contexts/1")


def passage(
    model: Model, kind: str, seed: Seed, *, layers: Sequence[int], split: Split, name: str,
    tokens: int = TOKENS, steps: int = STEPS,
) -> Context:  # fmt: skip
    """A context of `tokens` tokens of prose or code that `seed` draws, and how it goes on for `steps` tokens."""
    drawn = texts.draw(split, kind, seed, characters=8 * (tokens + steps))
    ids = model.encode(drawn.text)
    if len(ids) < tokens + steps:
        raise BadInput(f"{drawn.source}: expected at least {tokens + steps} tokens; found {len(ids)}.")
    return _recorded(
        model, ids[:tokens], ids[tokens : tokens + steps],
        layers=layers, split=split, name=name, source=drawn.source, kind=kind,
    )  # fmt: skip


def needle(
    model: Model, task: str, seed: Seed, *, layers: Sequence[int], split: Split, name: str, tokens: int = TOKENS
) -> Context:
    """A haystack of at most `tokens` tokens, then its question and answer. Prompts that the model fails are redrawn.

    The last step's query yields the answer's last token, which is not recorded.

    Raises:
        BadInput: the model failed every one of the prompts that were drawn.
    """
    for attempt in range(_ATTEMPTS):
        try:
            drawn = texts.needle(
                task, split, seed.derive(attempt), lambda found: len(model.encode(_halves(model, found)[0])) <= tokens
            )
        except BadInput:  # a haystack of long sentences, of which too few fit
            continue
        before, after = _halves(model, drawn)
        answer = model.encode(f" {drawn.answer}")
        ids, question = model.encode(before), model.encode(after)
        if not answers(model, [*ids, *question, *answer], len(answer)):
            continue
        start = before.index(drawn.statement)
        lead = before[:start].rstrip(" ")  # a space belongs to the token after it
        place = len(model.encode(lead)), len(model.encode(before[: start + len(drawn.statement)]))
        notes = {
            "task": drawn.task, "depth": f"{drawn.depth:.3f}", "answer": drawn.answer,
            "answer_steps": str(len(answer)), "attempts": str(attempt + 1),
        }  # fmt: skip
        return _recorded(
            model, ids, [*question, *answer[:-1]],
            layers=layers, split=split, name=name, source=drawn.source, kind="needle", needle=place, notes=notes,
        )  # fmt: skip
    raise BadInput(f"{model.name} answered none of {_ATTEMPTS} {task} prompts of {tokens} tokens. Try fewer tokens.")


def second_pass(model: Model, ids: Sequence[int], layers: Sequence[int]) -> dict[int, tuple[Floats, Floats]]:
    """Let the model read a context, `REPEAT` and the context again.

    Returns:
        By layer: the queries of the repetition, [H, G, n, d], and the log of the sum of exp(logit) over the tokens
        after the first context that each of them sees, [H, G, n].
    """
    whole = [*ids, *model.encode(REPEAT), *ids]
    found: dict[int, tuple[Floats, Floats]] = {}
    for layer, caught in capture(model, whole, layers).items():
        query, key = (np.asarray(tensor.detach().float().cpu().numpy(), np.float64) for tensor in caught[:2])
        heads, total, width = key.shape
        n, own = len(ids), key[:, len(ids) :]
        query = query.reshape(heads, -1, total, width)[:, :, total - n :]
        logits = np.einsum("hgnd,hmd->hgnm", query, own, optimize=True) / np.sqrt(width)
        place = np.arange(total - n, total)
        logits[:, :, np.arange(n, total) > place[:, None]] = -np.inf
        peak = logits.max(axis=-1)
        mass = peak + np.log(np.exp(logits - peak[..., None]).sum(axis=-1))
        found[layer] = query.astype(np.float32), mass.astype(np.float32)
    return found


def ship(model: Model, out: Path) -> Iterator[Path]:
    """Record what comes with vEvolve: a prose, a code and two needle contexts for `search` and for `select`."""
    projections: dict[int, Floats] = {}
    for split, layers in LAYERS.items():
        for kind in ("prose", "code"):
            found = passage(model, kind, _SEED.derive(split, kind), layers=layers, split=split, name=f"{split}-{kind}")
            write(found, path := out / split / f"{kind}.safetensors")
            yield path
        for number, task in enumerate(("niah_single_2", "niah_multikey_1"), 1):
            seed, name = _SEED.derive(split, task), f"{split}-needle-{number}"
            found = needle(model, task, seed, layers=layers, split=split, name=name)
            write(found, path := out / split / f"needle-{number}.safetensors")
            yield path
        projections |= {layer: wo for layer in layers if (wo := found.document.layers[layer].wo) is not None}
    write_projections(model.name, projections, path := out / PROJECTIONS.name)
    yield path


def _recorded(
    model: Model, ids: Sequence[int], later: Sequence[int], *, layers: Sequence[int], split: Split, name: str,
    source: str, kind: str, needle: tuple[int, int] | None = None, notes: Mapping[str, str] | None = None,
) -> Context:  # fmt: skip
    """Record a context and what comes after it, then a second pass over the context."""
    document = record(
        model, [*ids, *later], layers=layers, steps=len(later), queries=len(ids) + len(later),
        split=split, name=name, source=source, kind=kind, needle=needle,
        notes={"model_layers": str(model.depth), **(notes or {})}, wo=True,
    )  # fmt: skip
    extra: dict[str, Floats] = {}
    for layer, (queries, mass) in second_pass(model, ids, layers).items():
        extra |= {f"r.{layer}": queries, f"m.{layer}": mass}
    return context(document, extra)


def _halves(model: Model, drawn: texts.Needle) -> tuple[str, str]:
    """The prompt up to its question, and from there on."""
    text = model.prompt(drawn.user, drawn.answer_prefix)
    start = text.rindex("\nWhat is the special magic number")
    return text[:start], text[start:]


def main() -> None:
    """Record the shipped contexts anew. One thread, so that sums are taken in the same order on every machine."""
    import torch

    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--out", type=Path, default=SHIPPED, help="folder for search/, select/ and the projections")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    for path in ship(load(), out):
        size = f"{path} {path.stat().st_size:,} bytes"
        if path.name == PROJECTIONS.name:
            print(size)
            continue
        document = read(path).document
        print(f"{size}, {document.prompt} + {document.steps} tokens: {document.text} {document.notes or ''}")


if __name__ == "__main__":
    main()
