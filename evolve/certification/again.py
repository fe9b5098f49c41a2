"""Examine some documents of a certificate again: do they, and their outcomes, follow from the logged keys?"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from vevolve.evaluators.contract import Sealed, Sealing
from vevolve.evolve.certification.attempt import Fault, Setting
from vevolve.types import Seed


def sealing_of(registered: dict[str, Any]) -> Sealing:
    """What the certifier was asked for."""
    statement, generator, point = registered["statement"], registered["generator"], registered["point"]
    own = point.get("epsilon") == statement["epsilon"] and point.get("delta") == statement["delta"]
    return Sealing(
        epsilon=statement["epsilon"],
        delta=statement["delta"],
        at="" if own else point["label"],
        model=generator["loaded_as"],
        tokens=generator["tokens"],
        steps=generator["steps"],
        layers=tuple(generator["layers"]),
    )


def chosen(documents: list[dict[str, Any]], count: int) -> list[dict[str, Any]]:
    """`count` of the documents, spread by a hash of their keys, so that their order tells nothing."""
    order = sorted(documents, key=lambda one: hmac.new(b"again", one["key"].encode(), hashlib.sha256).digest())
    return order[: max(count, 0)]


def compare(
    documents: list[dict[str, Any]], examine: Callable[[Iterable[Seed]], Iterator[Sealed | Fault]]
) -> Iterator[tuple[dict[str, Any], str]]:
    """Each document with what differs now; "" where nothing does."""
    keys = [Seed(bytes.fromhex(one["key"])) for one in documents]
    for one, found in zip(documents, examine(keys), strict=True):
        yield one, _difference(one, found)


def _difference(logged: dict[str, Any], found: Sealed | Fault) -> str:
    if isinstance(found, Fault):
        return f"the candidate failed: {found.status}, {found.feedback}"
    if found.hash != logged["hash"]:
        return f"its key draws another document: {found.hash[:12]} instead of {logged['hash'][:12]} ({found.source})"
    for layer, heads in logged["over"].items():
        for head, text in enumerate(heads):
            if (now := found.over[layer][head]) != text:
                units = sum(a != b for a, b in zip(now, text, strict=True))
                return f"{units} units of layer {layer}, KV head {head} came out otherwise"
    return "" if found.differs == logged["differs"] else "other greedy tokens came out"


def same_setting(registered: dict[str, Any], setting: Setting) -> str:
    """What keeps the documents from being examined again here; "" where nothing does."""
    if registered["problem_hash"] != setting.problem_hash:
        return (
            f"it was issued under problem hash {registered['problem_hash'][:12]}, and {setting.problem} has "
            f"{setting.problem_hash[:12]} here; use vEvolve {registered['versions'].get('vevolve')} as it was then"
        )
    for name, value in registered["generator"].items():
        if setting.generator.get(name) != value:
            return f"its documents were drawn with {name} {value!r}; here it is {setting.generator.get(name)!r}"
    return ""
