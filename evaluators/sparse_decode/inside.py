"""A candidate's selections inside a model: every layer, every step after the context, with metered reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vevolve.errors import BadInput, UnknownName
from vevolve.evaluators.inside.context import Context, Floats
from vevolve.evaluators.inside.deviation import Deviation
from vevolve.evaluators.sparse_decode import session
from vevolve.evaluators.sparse_decode.answer import check
from vevolve.evaluators.sparse_decode.attention import attended
from vevolve.evaluators.sparse_decode.meter import Index, Meter
from vevolve.evaluators.sparse_decode.workload import Operating, operating_points
from vevolve.types import Arrays, CandidateFault, Frame, Process, Resident, Seed, Subject

AGAIN = 8
"""Questions of a context that are asked again, of a fresh process, in random order."""
WINDOW = 32
"""The last queries of the context that `build` sees, as on recorded traces."""


def operating(points: Sequence[Operating], label: str) -> Operating:
    """The operating point of that label. Raises `UnknownName`."""
    for point in points:
        if point.label == label:
            return point
    raise UnknownName("operating point", label, [point.label for point in points])


class SparseInside:
    """Dense prefill, sparse decoding: the question's tokens are decode steps like those of the answer.

    Positions are the model's own. Steps of a layer are asked in random order, so that what a process read at one of
    them tells it as little as possible at another; a few are asked again of a process that knows nothing.
    """

    def __init__(self, subject: Subject, context: Context, at: str | Operating, seed: Seed) -> None:
        self._subject, self._context, self._seed = subject, context, seed
        self._point = operating(operating_points(subject.candidate), at) if isinstance(at, str) else at
        self._params = Resident(session.parameters(subject.candidate))
        self._capped = subject.candidate.constants.get("REFERENCE") is not True
        self._order = np.random.default_rng(seed.derive("order", subject.candidate.id).integer)
        self._asked: list[tuple[int, int, Floats, Meter, bytes]] = []
        self._deviation = Deviation(context)
        self._traffic: list[float] = []
        self._density: list[float] = []
        self._indices = self._build()
        self._process = subject.fresh()
        self._process.__enter__()

    @property
    def start(self) -> int:
        """The context's length."""
        return len(self._context.ids)

    def attend(self, layer: int, queries: Floats, keys: Floats, values: Floats) -> NDArray[np.float64]:
        """Ask for each step's tokens and attend to those alone; [H, G, S, d]."""
        held = self._context.layers[layer]
        every_key = np.concatenate([held.keys, keys], axis=1)
        every_value = np.concatenate([held.values, values], axis=1)
        steps = queries.shape[2]
        if steps >= session.APPEND_EVERY:
            raise BadInput(f"A continuation has at most {session.APPEND_EVERY - 1} tokens; found {steps}.")
        out = np.empty(queries.shape, dtype=np.float64)
        for step in self._order.permutation(steps):
            query = np.ascontiguousarray(queries[:, :, step])
            meter = Meter(every_key, every_value, self._indices[layer], self.start + int(step) + 1)
            frame = self._select(self._process, query, meter, layer, int(step))
            out[:, :, step] = self._output(frame, query, meter, every_key, every_value)
            self._asked.append((layer, int(step), query, meter, session.digest(frame)))
        self._deviation.note(layer, out, queries, keys, values)
        return out

    def abandon(self) -> None:
        """End the process."""
        self._process.__exit__(None, None, None)

    def finish(self) -> dict[str, float]:
        """Ask a few questions again, then return `traffic`, `error` (as the objective has it) and `density`."""
        self.abandon()
        if not self._asked:
            return {}
        with self._subject.fresh() as process:
            for place in self._order.permutation(len(self._asked))[:AGAIN]:
                layer, step, query, before, digest = self._asked[place]
                meter = before.anew()
                frame = self._select(process, query, meter, layer, step)
                if (session.digest(frame), meter.digest) != (digest, before.digest):
                    raise CandidateFault(
                        "unstable",
                        "depends on earlier steps: asked again in a fresh process it answered otherwise "
                        f"(inside the model, layer {layer}, step {step})",
                    )
        return {
            "traffic": float(np.mean(self._traffic)),
            "error": self._deviation.error,
            "density": float(np.mean(self._density)),
        }

    def _build(self) -> dict[int, Index]:
        layers = self._context.layers
        if "build" not in self._subject.candidate.functions:
            return {layer: Index() for layer in layers}
        found: dict[int, Index] = {}
        with self._subject.fresh() as process:
            for layer, held in layers.items():
                frame = process.call(
                    "build",
                    keys=held.keys,
                    values=held.values,
                    queries=np.ascontiguousarray(held.queries[:, :, -WINDOW:]),
                    layer=layer,
                    params=self._params,
                    rng=self._seed.derive("build", layer),
                    returns=Arrays(max_count=session.MAX_TENSORS, max_bytes=session.MAX_BYTES),
                )
                found[layer] = session.indexed(frame, "build")
        return found

    def _select(self, process: Process, query: Floats, meter: Meter, layer: int, step: int) -> Frame:
        frame: Frame = process.call(
            "select",
            query=query,
            budget=self._point.budget,
            layer=layer,
            params=self._params,
            rng=self._seed.derive("select", layer, step),
            serve=meter.services(),
            returns=Arrays(max_count=4, max_bytes=session.MAX_BYTES),
        )
        return frame

    def _output(self, frame: Frame, query: Floats, meter: Meter, keys: Floats, values: Floats) -> NDArray[np.float64]:
        heads, group, dim = query.shape
        answer = check(frame, heads, group, dim, meter.n, self._point.tokens if self._capped else None)
        traffic = meter.account(answer.chosen, answer.tail_elements)
        self._traffic.append(traffic.share)
        self._density.append(answer.attended / (heads * meter.n))
        # Gathered by id, so that the candidate's tokens alone are ever multiplied.
        chosen = np.take_along_axis(keys[:, None], answer.ids[..., None], axis=2)
        logits = np.einsum("hgd,hgmd->hgm", query, np.broadcast_to(chosen, (heads, group, *chosen.shape[2:])))
        out, _ = attended(answer, logits.astype(np.float64) / np.sqrt(dim), values)
        return out
