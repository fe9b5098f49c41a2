"""Fresh documents for certificates, and what a candidate does on one of them inside the model.

A document is a draw from a declared generator: a third each of prose, code and needles, from the sources of the
`sealed` split, which no run ever sees. Everything about it follows from its key. It is read densely but for its last
steps; then the model goes on twice over these, once densely and once with the candidate's selections in every layer,
so that each layer meets what the layers below really made of it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vevolve.errors import BadInput
from vevolve.evaluators.contract import Sealed
from vevolve.evaluators.inside.context import Context, Floats, Held
from vevolve.evaluators.inside.continuation import Dense, continued
from vevolve.evaluators.sparse_decode import recorder, texts
from vevolve.evaluators.sparse_decode.inside import WINDOW, SparseInside
from vevolve.evaluators.sparse_decode.models import Model, text_config
from vevolve.evaluators.sparse_decode.workload import Operating
from vevolve.types import Seed, Subject

VERSION = 1
"""Of the generator: documents of one key are the same under one version, model and Python."""
STRATA = ("prose", "code", "needle")
"""Drawn with equal chances."""


@dataclass(frozen=True)
class Drawn:
    """A document's tokens.

    Attributes:
        ids: context and decode steps.
        source: where the text comes from.
        stratum: one of `STRATA`.
    """

    ids: tuple[int, ...]
    source: str
    stratum: str


def draw(model: Model, key: Seed, tokens: int) -> Drawn:
    """The document of a key: `tokens` tokens, of a needle prompt at most so many.

    A needle prompt ends with its answer, whose last token is left out, so that the last steps are those that write it.
    Prompts that the model would fail stay in: leaving them out would make another generator.
    """
    rng = np.random.default_rng(key.derive("stratum").integer)
    stratum = STRATA[int(rng.integers(len(STRATA)))]
    if stratum == "needle":
        task = sorted(texts.TASKS)[int(rng.integers(len(texts.TASKS)))]
        # Where documents are too short for this prompt, the draw is prose: still a function of the key alone.
        with contextlib.suppress(BadInput):
            found = texts.needle(task, "sealed", key.derive("text"), lambda one: len(_needle(model, one)) <= tokens)
            return Drawn(_needle(model, found), f"{found.source}; {task}", stratum)
        stratum = "prose"
    drawn = texts.draw("sealed", stratum, key.derive("text"), characters=8 * tokens)
    ids = model.encode(drawn.text)[:tokens]
    if len(ids) < tokens:
        raise BadInput(f"The sealed sources of {stratum} hold no {tokens} tokens; ask for shorter documents.")
    return Drawn(tuple(ids), drawn.source, stratum)


def _needle(model: Model, drawn: texts.Needle) -> tuple[int, ...]:
    return (*model.encode(model.prompt(drawn.user, drawn.answer_prefix)), *model.encode(f" {drawn.answer}")[:-1])


class SparseCertifier:
    """Draws documents and examines a candidate on them at one operating point.

    Args:
        model: reads the documents.
        point: what the candidate is asked for.
        epsilon: an error above it is a violation.
        tokens: of a document.
        steps: decode steps, the last tokens of a document.
        layers: those whose heads are examined; by default all. The candidate decodes in every layer all the same.
        loaded_as: the name by which the model is loaded again.

    Raises:
        BadInput: the model has no such layer, reads fewer tokens, or the steps do not fit.
    """

    def __init__(
        self,
        model: Model,
        point: Operating,
        epsilon: float,
        *,
        tokens: int,
        steps: int,
        layers: Sequence[int] | None = None,
        loaded_as: str = "",
    ) -> None:
        wanted = sorted(set(range(model.depth) if layers is None else layers))
        if not wanted or wanted[0] < 0 or wanted[-1] >= model.depth:
            raise BadInput(f"{model.name} has layers 0 to {model.depth - 1}; asked for {', '.join(map(str, wanted))}.")
        if not 1 <= steps <= 63 or not steps + WINDOW <= tokens <= model.longest:
            raise BadInput(
                f"Expected 1 to 63 steps in documents of {steps + WINDOW} to {model.longest} tokens, which "
                f"{model.name} reads; found {steps} steps and {tokens} tokens."
            )
        self._model, self._point, self._epsilon = model, point, epsilon
        self._tokens, self._steps, self._layers = tokens, steps, tuple(wanted)
        self._loaded_as = loaded_as or model.name

    @property
    def generator(self) -> dict[str, Any]:
        """What documents are drawn from, and which heads are examined."""
        config = text_config(self._model.network)
        heads = int(config.num_key_value_heads)
        return {
            "name": f"vEvolve's sealed texts, version {VERSION} (a third each of {', '.join(STRATA)}; {self._tokens} "
            f"tokens, of which the last {self._steps} are decode steps)",
            "version": VERSION,
            "split": "sealed",
            "strata": list(STRATA),
            "python": platform.python_version(),
            "model": self._model.name,
            "loaded_as": self._loaded_as,
            "code": _code(),
            "tokens": self._tokens,
            "steps": self._steps,
            "layers": list(self._layers),
            "heads": heads,
            "group": int(config.num_attention_heads) // heads,
        }

    def examine(self, subject: Subject, key: Seed) -> Sealed:
        """Draw the document of a key and examine a candidate on it. Raises `CandidateFault`."""
        drawn = draw(self._model, key, self._tokens)
        steps = list(drawn.ids[-self._steps :])
        context = _prefill(self._model, drawn.ids[: -self._steps])
        dense = continued(context, steps, Dense(context)).argmax(axis=-1)
        inside = _Watched(subject, context, self._point, key.derive("candidate"), self._epsilon)
        try:
            ours = continued(context, steps, inside).argmax(axis=-1)
        except BaseException:
            inside.abandon()
            raise
        inside.finish()
        over = {str(layer): [_bits(head) for head in inside.over[layer].transpose(0, 2, 1)] for layer in self._layers}
        named = json.dumps([self._model.name, list(drawn.ids)])
        return Sealed(
            hash=hashlib.sha256(named.encode()).hexdigest(),
            source=drawn.source,
            stratum=drawn.stratum,
            over=over,
            differs=_bits(dense != ours),
        )


class _Watched(SparseInside):
    """A candidate's selections inside the model, each held against dense attention over the same keys and values."""

    def __init__(self, subject: Subject, context: Context, point: Operating, seed: Seed, epsilon: float) -> None:
        super().__init__(subject, context, point, seed)
        self._held, self._epsilon = context.layers, epsilon
        self.over: dict[int, NDArray[np.bool_]] = {}

    def attend(self, layer: int, queries: Floats, keys: Floats, values: Floats) -> NDArray[np.float64]:
        """As `SparseInside.attend`; keeps by layer where the error exceeds epsilon, [H, G, S]."""
        out = super().attend(layer, queries, keys, values)
        exact = _dense(queries, self._held[layer], keys, values)
        error = np.linalg.norm(out - exact, axis=-1) / np.maximum(np.linalg.norm(exact, axis=-1), 1e-30)
        self.over[layer] = ~(error <= self._epsilon)  # what is no number is a violation too
        return out


def _dense(queries: Floats, held: Held, keys: Floats, values: Floats) -> NDArray[np.float64]:
    """Dense attention [H, G, S, d] in float64; token t of the new ones sees the context and new tokens 0 to t."""
    every_key = np.concatenate([held.keys, keys], axis=1).astype(np.float64)
    every_value = np.concatenate([held.values, values], axis=1).astype(np.float64)
    logits = queries.astype(np.float64) @ every_key[:, None].swapaxes(-1, -2) / np.sqrt(queries.shape[-1])
    position = held.keys.shape[1] + np.arange(queries.shape[2])
    logits[..., np.arange(every_key.shape[1]) > position[:, None]] = -np.inf
    weights = np.exp(logits - logits.max(axis=-1, keepdims=True))
    out: NDArray[np.float64] = (weights / weights.sum(axis=-1, keepdims=True)) @ every_value[:, None]
    return out


def _prefill(model: Model, ids: Sequence[int]) -> Context:
    """A dense prefill, rounded to float16 as `inside.context.prefill` rounds; of queries only those `build` sees.

    It is not kept on disk: a document is drawn for one attempt.
    """
    layers: dict[int, Held] = {}
    for layer, (query, key, value) in recorder.capture(model, ids, list(range(model.depth))).items():
        last = query[:, -WINDOW:].reshape(key.shape[0], -1, min(WINDOW, len(ids)), query.shape[-1])
        layers[layer] = Held(*(np.array(each.half().float().cpu().numpy()) for each in (last, key, value)))
    return Context(model, tuple(ids), layers)


@functools.cache
def _code() -> str:
    """The sha256 of what draws documents and carries a candidate through them, beyond the problem's own files."""
    folder = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted([*folder.glob("*.py"), *(folder.parent / "inside").glob("*.py")]):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _bits(found: NDArray[np.bool_]) -> str:
    return "".join("1" if one else "0" for one in found.ravel())
