"""Open a proposer by its specification. A kind of proposer is a module beside this one that defines `open`."""

from __future__ import annotations

import importlib
from pathlib import Path

from vevolve.errors import UnknownName
from vevolve.evolve.proposers.contract import Proposer
from vevolve.evolve.proposers.settings import ProposerSettings
from vevolve.types import Value


def kinds() -> list[str]:
    """The kinds of proposer: every module beside this one with a function `open(argument, settings)`."""
    files = Path(__file__).parent.glob("*.py")
    return sorted(path.stem for path in files if "\ndef open(argument" in path.read_text(encoding="utf-8"))


def absolute(spec: str) -> str:
    """`spec` with a path in it made absolute, so that a run goes on from any directory."""
    kind, _, argument = spec.strip().partition(":")
    if kind not in kinds() or not argument.strip():
        return spec
    module = importlib.import_module(f"vevolve.evolve.proposers.{kind}")
    located = getattr(module, "absolute", None)
    return spec if located is None else f"{kind}:{located(argument.strip())}"


def open_proposer(spec: str, settings: Value) -> Proposer:
    """The proposer that `spec` names: `offline`, `openai:NAME`, `anthropic:NAME`, `mailbox:DIR` or `replay:RUN`.

    Args:
        spec: the kind and, after the first colon, its argument.
        settings: `ProposerSettings`, or any value with fields of their names, such as a run's configuration.

    Raises:
        UnknownName: no such kind; the nearest is offered.
        BadInput: the argument is missing or of the wrong form.
        ProposerError: it cannot work, such as for want of a key.
    """
    kind, _, argument = spec.strip().partition(":")
    if kind not in kinds():
        raise UnknownName("kind of model", kind, kinds())
    module = importlib.import_module(f"vevolve.evolve.proposers.{kind}")
    proposer: Proposer = module.open(argument.strip(), ProposerSettings.of(settings))
    return proposer
