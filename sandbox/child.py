"""What runs inside a candidate's process: loads its text, answers calls, carries reads to the trusted side.

Nothing here is trusted: once the candidate's text runs, every object of this file is in its reach. It holds no
secret, and the trusted side believes none of its claims. It imports nothing of vevolve.
"""

from __future__ import annotations

import json
import linecache
import marshal
import os
import sys
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:
    from vevolve.sandbox import wire
else:
    import wire

FILE = "candidate.py"
BUFFER = 1 << 18
OUT_OF_MEMORY = ("can't allocate memory", "CUDA out of memory")
MOST_PIECES = 1000
"""Below the kernel's limit for one gathered write."""


class Unfit(Exception):
    """An answer or an argument of a form that the sandbox does not carry."""


class Runtime:
    """One candidate's module and the channel to the trusted side."""

    def __init__(self, channel: int, arrays: str, before: Callable[[], None], on_device: bool = False) -> None:
        self.channel = channel
        self.before = before
        self.nonce = wire.NO_NONCE
        self.module = types.ModuleType("candidate")
        self.shapes: dict[Any, type] = {}
        self.kept: dict[int, Any] = {}
        self.buffer = bytearray(BUFFER)
        self.view = memoryview(self.buffer)
        self.torch = sys.modules["torch"] if arrays == "torch" else None
        self.device = "cuda" if on_device else "cpu"

    def run(self) -> NoReturn:
        """Answer frames until the trusted side closes the channel."""
        while True:
            kind, body = self.receive()
            try:
                pieces = self.open(body) if kind == wire.OPEN else self.call(body)
                kind = wire.ANSWER
            except BaseException as error:
                kind, pieces = wire.FAULT, [fault(error)]
            self.send(kind, pieces)

    # ------------------------------------------------------------------------------------------------- channel

    def receive(self) -> tuple[int, bytearray]:
        """The next frame, its body in memory of its own."""
        got = 0
        while got < wire.HEADER.size:
            more = os.readv(self.channel, [self.view[got:]])
            if not more:
                os._exit(0)
            got += more
        self.nonce, kind, length = wire.HEADER.unpack_from(self.buffer)
        start = wire.HEADER.size
        if got - start == length:
            return kind, self.buffer[start:got]
        body = bytearray(length)
        view = memoryview(body)
        view[: got - start] = self.view[start:got]
        got -= start
        while got < length:
            more = os.readv(self.channel, [view[got:]])
            if not more:
                os._exit(0)
            got += more
        return kind, body

    def send(self, kind: int, pieces: list[Any]) -> None:
        """Send one frame."""
        length = sum(piece.nbytes if isinstance(piece, np.ndarray) else len(piece) for piece in pieces)
        head = wire.HEADER.pack(self.nonce, kind, length)
        left = wire.HEADER.size + length
        if len(pieces) > MOST_PIECES:
            pieces = [b"".join(pieces)]
        sent = os.writev(self.channel, [head, *pieces])
        if sent == left:
            return
        rest = memoryview(b"".join([head, *pieces]))[sent:]
        while rest:
            rest = rest[os.write(self.channel, rest) :]

    # --------------------------------------------------------------------------------------------------- calls

    def open(self, body: bytearray) -> list[Any]:
        """Execute the candidate's text at top level. The trusted side has looked at this process by now."""
        self.before()
        source = body.decode("utf-8", "surrogatepass")
        self.module.__file__ = FILE
        sys.modules["candidate"] = self.module
        linecache.cache[FILE] = (len(source), None, source.splitlines(True), FILE)
        exec(compile(source, FILE, "exec", dont_inherit=True), self.module.__dict__)  # noqa: S102
        return []

    def call(self, body: bytearray) -> list[Any]:
        """Call one of its functions and bring the answer into the form that was asked for."""
        (size,) = wire.TREE.unpack_from(body)
        start = wire.TREE.size
        name, args, named, services, returns = marshal.loads(memoryview(body)[start : start + size])
        at = (start + size + wire.ALIGNMENT - 1) // wire.ALIGNMENT * wire.ALIGNMENT
        args = [self.value(item, body, at) for item in args]
        named = {key: self.value(item, body, at) for key, item in named.items()}
        for number, (key, attributes, methods) in enumerate(services):
            named[key] = self.service(number, attributes, methods)
        function = self.module.__dict__.get(name)
        if not callable(function):
            raise Missing(f"the program defines no function `{name}`")
        return self.pack(function(*args, **named), returns)

    def value(self, tree: Any, body: bytearray, at: int) -> Any:
        """An argument, from its tree and the arrays' bytes that start at `at`."""
        kind = type(tree)
        if kind is tuple:
            tag = tree[0]
            if tag == "array":
                return self.array(body, at + tree[1], tree[2], tree[3])
            if tag == "tuple":
                return tuple([self.value(item, body, at) for item in tree[1]])
            if tag == "keep":
                self.kept[tree[1]] = self.value(tree[2], body, at)
            if tag in ("keep", "kept"):
                held = self.kept[tree[1]]
                return dict(held) if type(held) is dict else held
            if tag == "settings":
                return types.SimpleNamespace(**tree[1])
            if self.torch is not None:
                return self.torch.Generator(self.device).manual_seed(tree[1])
            return np.random.default_rng(tree[1])
        if kind is list:
            return [self.value(item, body, at) for item in tree]
        if kind is dict:
            return {key: self.value(item, body, at) for key, item in tree.items()}
        return tree

    def array(self, body: bytearray, start: int, code: int, shape: tuple[int, ...]) -> Any:
        """An array over the bytes of a frame, writable, as the candidate's array library has it."""
        dtype = wire.DTYPES[code]
        count = 1
        for length in shape:
            count *= length
        array = np.frombuffer(body, dtype, count, start) if count else np.empty(0, dtype)
        array = array.reshape(shape)
        if self.torch is None:
            return array
        tensor = self.torch.from_numpy(array)
        return tensor if self.device == "cpu" else tensor.to(self.device)

    # ------------------------------------------------------------------------------------------------ services

    def service(self, number: int, attributes: dict[str, Any], methods: tuple[str, ...]) -> Any:
        """An object with plain attributes, whose methods are calls to the trusted side."""
        shape = self.shapes.get((number, methods))
        if shape is None:
            members = {name: self.method(number, place, name) for place, name in enumerate(methods)}
            shape = self.shapes[number, methods] = type("Service", (), members)
        service = shape()
        vars(service).update(attributes)
        return service

    def method(self, service: int, method: int, name: str) -> Callable[..., Any]:
        """The function that stands for one method of a service."""

        def call(_: object, *args: Any) -> Any:
            pieces: list[Any] = [bytes((service, method, len(args)))]
            for arg in args:
                self.argument(arg, pieces)
            self.send(wire.REQUEST, pieces)
            _, body = self.receive()
            code, count = body[0], body[1]
            shape = wire.DESCRIPTOR[count].unpack_from(body)[2:]
            start = 2 + 8 * count
            return self.array(body, start + -start % wire.ALIGNMENT, code, shape)

        call.__name__ = name
        return call

    def argument(self, arg: Any, pieces: list[Any]) -> None:
        """Append the wire form of one argument of a service's method."""
        if isinstance(arg, str):
            word = arg.encode()
            if len(word) > wire.MAX_WORD:
                raise Unfit(f"a name of {len(word)} bytes, at most {wire.MAX_WORD} are allowed")
            pieces.append(bytes((wire.WORD_ARGUMENT, len(word))) + word)
        elif isinstance(arg, int | np.integer):
            pieces.append(b"\0" + wire.INTEGER.pack(int(arg)))
        else:
            array = self.numpy(arg)
            code = wire.CODES.get(array.dtype)
            if code not in wire.INTEGERS:
                raise Unfit(f"expected integers, got {array.dtype}")
            pieces.append(wire.ARRAY_REQUEST[array.ndim].pack(wire.ARRAY_ARGUMENT, code, array.ndim, *array.shape))
            pieces.append(array)

    # ------------------------------------------------------------------------------------------------- answers

    def pack(self, answer: Any, returns: tuple[Any, ...]) -> list[Any]:
        """The body of an answer."""
        if returns[0] == "array":
            return [self.shaped(answer, np.dtype(returns[1]), returns[2])]
        if returns[0] == "json":
            text = json.dumps(answer, default=self.plain, allow_nan=False, ensure_ascii=False).encode()
            if len(text) > returns[1]:
                raise Unfit(f"an answer of {len(text)} bytes of JSON, at most {returns[1]} are allowed")
            return [text]
        _, max_count, max_bytes, max_dims = returns
        arrays: list[tuple[str, np.ndarray[Any, Any]]] = []
        self.flatten(answer, "", arrays, max_count)
        pieces: list[Any] = [wire.COUNT.pack(len(arrays))]
        total = 0
        for path, array in arrays:
            total += array.nbytes
            if array.ndim > max_dims:
                raise Unfit(f"{_at(path)} has {array.ndim} dimensions, at most {max_dims} are allowed")
            if total > max_bytes:
                raise Unfit(f"the answer's arrays are larger than the {max_bytes} bytes allowed")
            if not array.size:
                raise Unfit(f"{_at(path)} is empty, shape {array.shape}; leave it out or return None in its place")
            name = path.encode()
            pieces += [bytes((len(name),)) + name + wire.descriptor(array), array]
        return pieces

    def shaped(self, answer: Any, dtype: np.dtype[Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
        """The answer as one array of the dtype and the shape that were asked for."""
        array = self.numpy(answer)
        if array.shape != shape:
            raise Unfit(f"expected an array of shape {shape}, got {array.shape}")
        if array.dtype != dtype:
            if not np.can_cast(array.dtype, dtype, "same_kind"):
                raise Unfit(f"expected an array of {dtype.name}, got {array.dtype.name}")
            array = array.astype(dtype)
        return array

    def flatten(self, value: Any, path: str, found: list[tuple[str, np.ndarray[Any, Any]]], most: int) -> None:
        """Collect the arrays of nested tuples, lists and dicts by their path; None stands for nothing."""
        if value is None:
            return
        if isinstance(value, dict | list | tuple):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            for key, item in items:
                word = str(key)
                if not isinstance(key, str | int) or not word.isprintable() or not word or "." in word:
                    raise Unfit(f"{key!r:.64} cannot name a part of an answer; use plain words without a dot")
                longer = f"{path}.{word}" if path else word
                if len(longer.encode()) > wire.MAX_PATH:
                    raise Unfit(f"names in an answer are longer than {wire.MAX_PATH} bytes")
                self.flatten(item, longer, found, most)
            return
        if len(found) == most:
            raise Unfit(f"the answer holds more than the {most} arrays allowed")
        array = self.numpy(value)
        if array.dtype not in wire.CODES:
            raise Unfit(f"{_at(path)} has dtype {array.dtype}; use one of {wire.NAMES}")
        found.append((path, array))

    def numpy(self, value: Any) -> np.ndarray[Any, Any]:
        """A tensor, an array, a number or nested lists of numbers as a contiguous array."""
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            if value.dtype == torch.bfloat16:
                raise Unfit("bfloat16 cannot leave the sandbox; use float16 or float32")
            array = value.detach().cpu().numpy()
        elif isinstance(value, np.ndarray | np.generic | int | float | list | tuple):
            if torch is not None and isinstance(value, list | tuple):
                value = [item.tolist() if isinstance(item, torch.Tensor) else item for item in value]
            array = np.asarray(value)
        else:
            raise Unfit(f"expected an array or numbers, got {type(value).__name__}")
        return array if array.flags.c_contiguous else np.array(array, order="C")

    def plain(self, value: Any) -> Any:
        """What JSON does not know, as what it knows."""
        if hasattr(value, "tolist"):
            return value.tolist()
        raise Unfit(f"an answer holds a {type(value).__name__}, which is not JSON")


class Missing(Exception):
    """The function that was called does not exist."""


def fault(error: BaseException) -> bytes:
    """What the trusted side is told of a failure: its status, its message and the candidate's own lines."""
    status = "crash"
    if isinstance(error, Missing):
        status = "interface"
    elif isinstance(error, MemoryError) or any(word in str(error) for word in OUT_OF_MEMORY):
        status = "resource"
    elif isinstance(error, Unfit):
        status = "wrong"
    text = str(error) if isinstance(error, Unfit | Missing) else f"{type(error).__name__}: {error}".rstrip(": ")
    lines = []
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE:
            source = linecache.getline(FILE, trace.tb_lineno).strip()
            lines.append(f"line {trace.tb_lineno}: {source[:160]}")
        trace = trace.tb_next
    text = text[:1200]
    if lines:
        text += f" ({lines[-1]})" + "".join(f"\n  called from {line}" for line in lines[-2:-5:-1])
    return bytes((wire.FAULTS.index(status),)) + text.encode("utf-8", "replace")[: wire.MAX_FAULT - 1]


def _at(path: str) -> str:
    return f"the answer's array '{path}'" if path else "the answer"
