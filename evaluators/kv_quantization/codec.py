"""Passing keys and values through a candidate: encoded here, decoded in processes that get the code and nothing else.

`compress` is all of it. It knows prompts, a cap and a seed, and neither queries nor errors, so that whoever has keys
and values of any model can use it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from vevolve.evaluators.sparse_decode.session import parameters
from vevolve.types import Arrays, CandidateFault, Frame, Process, Seed, Settings, Subject

MAX_TENSORS = 64
"""Tensors of a code."""
MAX_BYTES = 64 << 20
"""Bytes of a code, and of what it is decoded to."""
ALONE = 2
"""Codes of each cap that are decoded once more, each in a process of its own."""


@dataclass(frozen=True, eq=False)
class Prompt:
    """Keys and values of one layer, to be quantised.

    Attributes:
        name: what messages call the text.
        layer: the model's layer index.
        keys: float32 [H, n, d], after RoPE.
        values: float32 [H, n, d].
        rope_base: of the model's rotary embedding; None where it is unknown or there is none.
    """

    name: str
    layer: int
    keys: NDArray[np.float32]
    values: NDArray[np.float32]
    rope_base: float | None = None

    @property
    def elements(self) -> int:
        """How many numbers K and V hold together."""
        return self.keys.size + self.values.size


@dataclass(frozen=True, eq=False)
class Decoded:
    """What came back of a prompt.

    Attributes:
        keys: float32 [H, n, d], finite.
        values: float32 [H, n, d], finite.
        bits: mean bits per element of K and V, of the frame's bytes with all headers.
        tensors: payload bytes of the code by tensor.
    """

    keys: NDArray[np.float32]
    values: NDArray[np.float32]
    bits: float
    tensors: Mapping[str, int]


@dataclass(frozen=True, eq=False)
class Terms:
    """What both sides of a code agree on beforehand.

    Attributes:
        cap: mean bits per element of K and V.
        params: the candidate's parameters.
        seed: of the generators that both sides share.
    """

    cap: float
    params: Mapping[str, NDArray[Any]]
    seed: Seed

    def arguments(self, prompt: Prompt) -> dict[str, Any]:
        """Everything that encode and decode are told of a prompt. No bit of keys or values can hide in it."""
        return {
            "shape": list(prompt.keys.shape),
            "age": np.arange(prompt.keys.shape[1] - 1, -1, -1, dtype=np.int64),
            "layer": prompt.layer,
            "rope_base": prompt.rope_base,
            "budget": Settings({"bits": float(self.cap)}),
            "params": dict(self.params),
            "rng": self.seed.derive("shared", prompt.layer),
        }


def compress(
    subject: Subject, prompts: Sequence[Prompt], cap: float, seed: Seed, *, alone: int = ALONE
) -> list[Decoded]:
    """Encode and decode every prompt within `cap` mean bits per element.

    One process encodes. It is gone when another decodes, and no process sees two caps, so that a richer code of the
    same prompt cannot be remembered. One random prompt is encoded again and `alone` codes are decoded again, each by a
    fresh process: what depends on other prompts shows as another answer.

    Encoder and decoder get the same generator, which depends on `seed` and the layer alone: a random rotation can be
    shared, and no bit of a prompt can hide in it.

    Candidates declared `REFERENCE = True`, which are lines on plots, are not held to the cap.

    Raises:
        CandidateFault: what the candidate did wrong, with the place where it showed.
    """
    terms = Terms(cap, parameters(subject.candidate), seed)
    capped = subject.candidate.constants.get("REFERENCE") is not True
    codes: list[Frame] = []
    with subject.fresh() as process:
        for prompt in prompts:
            codes.append(encode(process, prompt, terms))
            if capped:
                _within(prompt, codes[-1], cap)
    # The order depends on the program too: no lineage can learn which code is decoded before which.
    draw = np.random.default_rng(seed.derive("order", subject.candidate.id, f"{cap:g}").integer)
    found: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
    with subject.fresh() as process:
        for place in draw.permutation(len(prompts)).tolist():
            found[place] = decode(process, prompts[place], codes[place], terms)
    for place in draw.permutation(len(prompts))[: min(alone, 1)].tolist():
        with subject.fresh() as process:
            if _digest(encode(process, prompts[place], terms)) != _digest(codes[place]):
                _unstable("encode", prompts[place], cap)
    for place in draw.permutation(len(prompts))[:alone].tolist():
        with subject.fresh() as process:
            again = decode(process, prompts[place], codes[place], terms)
        if any(one.tobytes() != other.tobytes() for one, other in zip(again, found[place], strict=True)):
            _unstable("decode", prompts[place], cap)
    return [
        Decoded(*found[place], bits_of(prompt, code), {name: tensor.nbytes for name, tensor in code.items()})
        for place, (prompt, code) in enumerate(zip(prompts, codes, strict=True))
    ]


def encode(process: Process, prompt: Prompt, terms: Terms) -> Frame:
    """The code of one prompt. Raises `CandidateFault` where a tensor is empty or a scalar."""
    try:
        code: Frame = process.call(
            "encode",
            keys=prompt.keys,
            values=prompt.values,
            **terms.arguments(prompt),
            returns=Arrays(max_count=MAX_TENSORS, max_bytes=MAX_BYTES),
        )
        for name, tensor in code.items():
            if tensor.size == 0 or tensor.ndim == 0:
                raise CandidateFault(
                    "wrong", f"encode returned a tensor '{name[:40]}' that is empty or a scalar; leave it out"
                )
    except CandidateFault as fault:
        _located(fault, "encode", prompt, terms.cap)
    return code


def decode(
    process: Process, prompt: Prompt, code: Frame, terms: Terms
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Keys and values [H, n, d] from a code. Raises `CandidateFault` for another shape or what is not finite."""
    try:
        answer: Frame = process.call(
            "decode",
            code=dict(code),
            **terms.arguments(prompt),
            returns=Arrays(max_count=4, max_bytes=MAX_BYTES),
        )
        if list(answer) != ["0", "1"]:
            raise CandidateFault("wrong", f"decode must return (keys, values); it returned parts {list(answer)[:4]}")
        shape = prompt.keys.shape
        return _checked("keys", answer["0"], shape), _checked("values", answer["1"], shape)
    except CandidateFault as fault:
        _located(fault, "decode", prompt, terms.cap)


def bits_of(prompt: Prompt, code: Frame) -> float:
    """Mean bits per element of K and V: the code's bytes on the wire, names, dtypes and dimensions included."""
    return 8 * code.wire_bytes / prompt.elements


def _within(prompt: Prompt, code: Frame, cap: float) -> None:
    if bits_of(prompt, code) <= cap:
        return
    largest = sorted(code, key=lambda name: -code[name].nbytes)[:4]
    fault = CandidateFault(
        "wrong",
        f"over the cap: the code has {code.wire_bytes} bytes, {bits_of(prompt, code):.4f} bits per element of K and V "
        f"where at most {cap:g} are allowed ({int(cap * prompt.elements / 8)} bytes). Largest tensors: "
        + ", ".join(f"{name[:40]} {code[name].nbytes}" for name in largest),
    )
    _located(fault, "encode", prompt, cap)


def _checked(what: str, array: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float32]:
    """As float32, which is what a model would get."""
    if array.shape != shape or array.dtype.kind != "f":
        raise CandidateFault(
            "wrong", f"decoded {what} must be floats of shape {list(shape)}; got {array.dtype} {list(array.shape)}"
        )
    with np.errstate(over="ignore"):
        found = array.astype(np.float32, copy=False)
    if not np.isfinite(found).all():
        raise CandidateFault(
            "wrong",
            f"decoded {what} hold NaN or infinity (float16 ends at 65504: clamp before you store half precision)",
        )
    return found


def _digest(frame: Frame) -> bytes:
    """Stands for the exact bytes of a code."""
    digest = hashlib.blake2b(digest_size=16)
    for path, array in frame.items():
        digest.update(f"{path} {array.dtype} {array.shape}\0".encode() + array.tobytes())
    return digest.digest()


def _unstable(function: str, prompt: Prompt, cap: float) -> NoReturn:
    fault = CandidateFault(
        "unstable",
        "depends on earlier calls: asked again in a fresh process, it gave another answer. Keep nothing between calls, "
        "draw only from rng, and leave no uninitialised memory in what you return",
    )
    _located(fault, function, prompt, cap)


def _located(fault: CandidateFault, function: str, prompt: Prompt, cap: float) -> NoReturn:
    where = f"document {prompt.name}, layer {prompt.layer}, {function} at {cap:g} bits"
    raise CandidateFault(fault.status, f"{fault.feedback} ({where})") from fault
