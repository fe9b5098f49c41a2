"""Metered reads: what one decode step reads of keys, values and index, in 32-byte sectors, and in how many rounds.

The process that selects holds no cache. It reads through `cache` and `index`, two services that run here; whatever is
read twice in a step is charged once, and nothing is remembered from step to step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vevolve.types import CandidateFault, Service

SECTOR = 32
"""Bytes that the memory bus moves at least."""
ELEMENT = 2
"""Bytes of one element of K, V and tail, as in bfloat16."""
MAX_ROUNDS = 8
"""Dependent read rounds of a step."""


@dataclass(frozen=True)
class Index:
    """What `build` and `append` left for one layer of one document.

    Attributes:
        tensors: by name, contiguous.
        header_bytes: the frame's bytes beyond the tensors' own: names, types, shapes. Charged at every step.
        growth: by name, the share of the tensor's bytes that is proportional to the context, measured by building
            on half a prompt. 1 where unknown.
    """

    tensors: Mapping[str, NDArray[Any]] = field(default_factory=dict[str, NDArray[Any]])
    header_bytes: int = 0
    growth: Mapping[str, float] = field(default_factory=dict[str, float])

    @property
    def payload(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())


@dataclass(frozen=True)
class Traffic:
    """Bytes of one step, by where they went, and how they grow.

    Attributes:
        index: index tensors, rows and headers.
        reads: keys and values that `select` read and that were not attended.
        gather: keys and values attended.
        tail: pseudo-tokens.
        dense: bytes of all visible K and V, which the others are divided by.
        scanned: bytes of stores that were read for the most part, which grow with the context.
        n: visible tokens.
    """

    index: int
    reads: int
    gather: int
    tail: int
    dense: int
    scanned: float
    n: int

    @property
    def total(self) -> int:
        """All bytes of the step."""
        return self.index + self.reads + self.gather + self.tail

    @property
    def share(self) -> float:
        """The objective: bytes over dense bytes."""
        return self.total / self.dense

    def projected(self, context: int) -> float:
        """The share at another context: scanned bytes grow in proportion, all others stay."""
        grown = self.total - self.scanned + self.scanned * context / self.n
        return grown / (self.dense * context / self.n)


class Meter:
    """The reads of one step at one layer.

    Args:
        keys: float32 [H, N, d], contiguous.
        values: likewise.
        index: what was built for this layer.
        n: visible tokens; ids of cache reads are in [0, n).
    """

    def __init__(self, keys: NDArray[np.float32], values: NDArray[np.float32], index: Index, n: int) -> None:
        self._keys, self._values, self._index, self.n = keys, values, index, n
        self.heads, self._stored, self.dim = keys.shape
        self._read_keys = np.zeros((self.heads, n), dtype=bool)
        self._read_values = np.zeros((self.heads, n), dtype=bool)
        self._sectors: dict[str, NDArray[np.bool_]] = {}
        self._log = hashlib.blake2b(digest_size=16)
        self._last: tuple[str, bytes] = ("", b"")
        self._named: list[str] = []
        self._joined = 0
        self.rounds = 0

    def anew(self) -> Meter:
        """A meter of the same step that has read nothing."""
        return Meter(self._keys, self._values, self._index, self.n)

    # ------------------------------------------------------------------------------------------------- services

    def services(self) -> dict[str, Service]:
        """`cache` and `index`, as the candidate gets them."""
        return {
            "cache": Service({"n": self.n}, keys=self.read_keys, values=self.read_values),
            "index": Service({}, __getitem__=self.read_tensor, rows=self.read_rows),
        }

    def read_keys(self, ids: Any) -> NDArray[np.float32]:
        """Keys [H, m, d] of ids [H, m]; -1 gives zeros and is free."""
        return self._read(self._keys, self._read_keys, "cache.keys", ids)

    def read_values(self, ids: Any) -> NDArray[np.float32]:
        """Values [H, m, d] of ids [H, m]; -1 gives zeros and is free."""
        return self._read(self._values, self._read_values, "cache.values", ids)

    def read_tensor(self, name: Any) -> NDArray[Any]:
        """A whole tensor of the index."""
        tensor = self._tensor(name)
        self._named.append(str(name))
        self._count("index", str(name).encode(), joins="index")
        self._touched(name)[:] = True
        return tensor

    def read_rows(self, name: Any, ids: Any) -> NDArray[Any]:
        """Rows of an index tensor: ids [H, m] of a tensor [H, R, ...], or ids [m] of a tensor [R, ...]."""
        tensor = self._tensor(name)
        per_head = isinstance(ids, np.ndarray) and ids.ndim == 2
        if per_head and (tensor.ndim < 2 or tensor.shape[0] != self.heads):
            raise CandidateFault(
                "wrong",
                f"index.rows('{name}', ids) with ids [H, m] needs a tensor [H, rows, ...] of {self.heads} heads; "
                f"it has shape {list(tensor.shape)}",
            )
        lead = tensor.shape[:2] if per_head else (1, tensor.shape[0])
        checked = _checked(ids, lead[0] if per_head else None, lead[1], f"index.rows('{name}', ids)")
        self._count("rows " + name, checked.tobytes())
        rows = tensor.reshape(lead[0] * lead[1], -1)
        flat = checked.reshape(lead[0], -1) + np.arange(lead[0])[:, None] * lead[1]
        chosen = checked.reshape(lead[0], -1) >= 0
        _touch(self._touched(name), flat[chosen], rows.shape[1] * tensor.itemsize)
        out: NDArray[Any] = rows.take(flat, axis=0)
        out[~chosen] = 0
        return out.reshape(*checked.shape, *tensor.shape[2 if per_head else 1 :])

    # --------------------------------------------------------------------------------------------------- account

    @property
    def named(self) -> tuple[str, ...]:
        """The whole index tensors that were read, in order."""
        return tuple(self._named)

    @property
    def chained(self) -> int:
        """Rounds where each whole index tensor waited for the one before it."""
        return self.rounds + self._joined

    @property
    def digest(self) -> bytes:
        """Stands for the exact sequence of requests."""
        return self._log.digest()

    def account(self, chosen: NDArray[np.bool_], tail_elements: int) -> Traffic:
        """The bytes of the step, once the answer is known.

        A store is *scanned* where more than half of it was read: those bytes are taken to grow with the context
        (of an index tensor, the share that a build on half the prompt showed to grow). All others are selective
        and taken to stay: the budget counts tokens, not a share of the context.

        Args:
            chosen: bool [H, n], the tokens attended by any query head of the group.
            tail_elements: elements of the tail's log-weights and values.
        """
        vector = -(-self.dim * ELEMENT // SECTOR) * SECTOR
        index, scanned = _sectors(self._index.header_bytes) if self._index.tensors else 0, 0.0
        for name, touched in self._sectors.items():
            size = int(np.count_nonzero(touched)) * SECTOR
            index += size
            if 2 * size > touched.size * SECTOR:
                scanned += size * self._index.growth.get(name, 1.0)
        reads = 0
        for read in (self._read_keys, self._read_values):
            reads += int(np.count_nonzero(read & ~chosen)) * vector
            if 2 * int(np.count_nonzero(read)) > read.size:
                scanned += int(np.count_nonzero(read)) * vector
        return Traffic(
            index=index,
            reads=reads,
            gather=2 * int(np.count_nonzero(chosen)) * vector,
            tail=_sectors(tail_elements * ELEMENT),
            dense=2 * self.heads * self.n * self.dim * ELEMENT,
            scanned=scanned,
            n=self.n,
        )

    # --------------------------------------------------------------------------------------------------- details

    def _read(self, store: NDArray[np.float32], read: NDArray[np.bool_], name: str, ids: Any) -> NDArray[np.float32]:
        checked = _checked(ids, self.heads, self.n, name)
        self._count(name, checked.tobytes(), joins="cache")
        offsets = np.arange(self.heads)[:, None]
        out: NDArray[np.float32] = store.reshape(-1, self.dim).take(checked + offsets * self._stored, axis=0)
        flat = checked + offsets * self.n
        if checked.size and checked.min() < 0:
            chosen = checked >= 0
            out[~chosen] = 0
            flat = flat[chosen]
        read.reshape(-1)[flat] = True
        return out

    def _tensor(self, name: Any) -> NDArray[Any]:
        if not isinstance(name, str) or name not in self._index.tensors:
            known = ", ".join(sorted(self._index.tensors)[:8]) or "nothing: build returned no tensors"
            raise CandidateFault("wrong", f"the index has no tensor {str(name)[:40]!r}; it holds {known}")
        return self._index.tensors[name]

    def _touched(self, name: str) -> NDArray[np.bool_]:
        if name not in self._sectors:
            self._sectors[name] = np.zeros(-(-self._index.tensors[name].nbytes // SECTOR), dtype=bool)
        return self._sectors[name]

    def _count(self, request: str, payload: bytes, joins: str = "") -> None:
        """Log a request. It opens a new round unless it could have been issued together with the one before.

        Whole index tensors read in a row are one round; so are the keys and the values of the same ids. One step
        cannot show whether a tensor's name was chosen by what the tensor before it held: `session` compares steps,
        and takes `chained` where their names differ.
        """
        self._log.update(f"{request} {len(payload)}\0".encode() + payload)
        same = payload if joins == "cache" else b""
        if not joins or self._last != (joins, same):
            self.rounds += 1
        elif joins == "index":
            self._joined += 1
        self._last = (joins, same)
        if self.rounds > MAX_ROUNDS:
            raise CandidateFault(
                "wrong",
                f"more than {MAX_ROUNDS} dependent read rounds in one step; batch ids into fewer calls of "
                "cache.keys, cache.values and index.rows",
            )


def _checked(ids: Any, heads: int | None, limit: int, what: str) -> NDArray[np.int64]:
    """Ids as int64, or a fault: an integer array of the right shape, each id -1 or in [0, limit)."""
    shape = "[m]" if heads is None else f"[{heads}, m]"
    if not isinstance(ids, np.ndarray) or ids.dtype.kind not in "iu":
        found = f"{ids.dtype} array" if isinstance(ids, np.ndarray) else type(ids).__name__
        raise CandidateFault("wrong", f"{what} takes an integer array {shape}, got {found}")
    if ids.ndim != (1 if heads is None else 2) or (heads is not None and ids.shape[0] != heads):
        raise CandidateFault("wrong", f"{what} takes ids of shape {shape}, got {list(ids.shape)}")
    if ids.shape[-1] > 4 * limit:
        raise CandidateFault("wrong", f"{what} was asked for {ids.shape[-1]} ids at once; there are only {limit}")
    if ids.size and (ids.min() < -1 or ids.max() >= limit):
        outside = int(ids.max()) if ids.max() >= limit else int(ids.min())
        raise CandidateFault("wrong", f"{what} was asked for id {outside}; ids are in [0, {limit}), or -1 for none")
    return ids.astype(np.int64, copy=False)


def _touch(sectors: NDArray[np.bool_], rows: NDArray[np.int64], size: int) -> None:
    """Mark the sectors under the given rows of `size` bytes each, laid end to end."""
    first, last = rows * size // SECTOR, (rows * size + size - 1) // SECTOR
    for step in range(-(-size // SECTOR) + 1):
        sectors[np.minimum(first + step, last)] = True


def _sectors(size: int) -> int:
    """Bytes, rounded up to whole sectors."""
    return -(-size // SECTOR) * SECTOR
