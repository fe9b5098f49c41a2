from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from vevolve.sandbox import Limits, Sandbox
from vevolve.types import Candidate, CandidateFault, Json


@pytest.fixture(scope="session")
def sandbox() -> Iterator[Sandbox]:
    """One for all tests that need no torch: it starts in a fifth of a second."""
    with Sandbox(arrays="numpy", limits=Limits(call_s=60, total_s=120, memory_bytes=1 << 29)) as sandbox:
        yield sandbox


@pytest.fixture(scope="session")
def torch_sandbox() -> Iterator[Sandbox]:
    with Sandbox(arrays="torch") as sandbox:
        yield sandbox


@pytest.fixture
def ask(sandbox: Sandbox) -> Callable[..., Any]:
    """Call `f` of a program in a process of its own."""

    def ask(text: str, *args: Any, returns: Any = None, **rest: Any) -> Any:
        return sandbox.subject(Candidate(text)).call("f", *args, returns=returns or Json(), **rest)

    return ask


@pytest.fixture
def fault(ask: Callable[..., Any]) -> Callable[..., CandidateFault]:
    """The fault with which a program ends."""

    def fault(text: str, *args: Any, **rest: Any) -> CandidateFault:
        with pytest.raises(CandidateFault) as caught:
            ask(text, *args, **rest)
        return caught.value

    return fault
