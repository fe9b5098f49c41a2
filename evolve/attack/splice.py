"""Make a candidate of a general attack: the problem's honest seed, with hostile code around every answer."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vevolve.errors import BadInput
from vevolve.evaluators.contract import Problem
from vevolve.evolve.attack.corpus import Attack
from vevolve.types import Candidate

TARGET = Path(__file__).with_name("target.py").read_text(encoding="utf-8")
HOOKS = {"strike": "def strike(target):\n    pass\n", "spoil": "def spoil(answer, target):\n    return answer\n"}
AROUND = """
_inside = []

def _around(honest, *args, **named):
    if _inside:
        return honest(*args, **named)
    _inside.append(honest)
    try:
        _strike()
        return spoil(honest(*args, **named), _target)
    finally:
        _inside.clear()

def _strike():
    strike(_target)
    print(_target.flag, "struck", flush=True)
"""


def candidate_of(attack: Attack, problem: Problem, seed: str, flag: str, places: Mapping[str, Any]) -> Candidate:
    """The candidate that carries an attack out.

    Args:
        attack: the attack.
        problem: whose functions are wrapped.
        seed: the text of its honest seed.
        flag: a word that marks what the attack says of itself.
        places: what it is told of its surroundings: plain values by name.

    Raises:
        BadInput: the attack defines a name that the seed defines too, or has no hook.
    """
    if attack.whole:
        return Candidate(attack.text)
    names = _names(attack.text)
    if "write" in names:
        scope: dict[str, Any] = {}
        exec(compile(attack.text, attack.name, "exec"), scope)  # noqa: S102 - a shipped file, run to write a text
        return Candidate(scope["write"](seed))
    taken = (names | {"Target"}) & _names(seed)
    if taken or not names & HOOKS.keys():
        raise BadInput(f"Attack {attack.name} must define strike or spoil, and nothing that the seed defines: {taken}.")
    hooks = [text for name, text in HOOKS.items() if name not in names]
    wrapped = [_wrapped(node) for node in ast.parse(seed).body if _is_asked(node, problem)]
    made = f"_target = Target({flag!r}, {dict(places)!r})\n"
    return Candidate("\n\n".join([seed, TARGET, attack.text, *hooks, made + AROUND, *wrapped, "_strike()\n"]))


def _is_asked(node: ast.stmt, problem: Problem) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name in {function.name for function in problem.functions}


def _wrapped(node: ast.stmt) -> str:
    """A function of the same name and signature around the seed's."""
    assert isinstance(node, ast.FunctionDef)
    args = node.args
    passed = [arg.arg for arg in (*args.posonlyargs, *args.args)]
    passed += [f"*{args.vararg.arg}"] if args.vararg else []
    passed += [f"{arg.arg}={arg.arg}" for arg in args.kwonlyargs]
    passed += [f"**{args.kwarg.arg}"] if args.kwarg else []
    honest = f"_honest_{node.name}"
    given = ", ".join([honest, *passed])
    return f"{honest} = {node.name}\n\ndef {node.name}({ast.unparse(args)}):\n    return _around({given})\n"


def _names(text: str) -> set[str]:
    """What a text defines at top level, imports aside."""
    found: set[str] = set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            found |= {
                name.id for name in ast.walk(node) if isinstance(name, ast.Name) and isinstance(name.ctx, ast.Store)
            }
    return found
