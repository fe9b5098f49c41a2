"""A candidate's program: its text and parameters, its syntax tree, and what it offers."""

from __future__ import annotations

import ast
import functools
import hashlib
import threading
from dataclasses import dataclass
from typing import Any

from vevolve.types.values import CandidateFault

_PARSING = threading.RLock()


def parse_program(source: str) -> ast.Module:
    """`ast.parse`, one thread at a time.

    CPython 3.11 keeps the depth of the tree under construction in one place for all threads, and a switch in between
    raises SystemError (gh-106905), so every parser of programs in a process with threads goes through here.
    """
    with _PARSING:
        return ast.parse(source)


_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_NO_MATTER = ("ctx", "kind", "type_comment", "type_ignores")
"""Fields that follow from the others, or that nothing runs."""
_FIELDS = {
    kind: tuple(name for name in kind._fields if name not in _NO_MATTER)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}
_PASS = [ast.Pass()]


def canonical(tree: ast.AST) -> str:
    """A syntax tree as text: equal for two programs that differ in docstrings, comments and layout alone.

    Nodes stand before what they hold, and lists with their lengths, so that no two trees share a text. Three times as
    fast as `ast.dump`, and not recursive.
    """
    parts: list[str] = []
    pending: list[Any] = [tree]
    while pending:
        node = pending.pop()
        fields = _FIELDS.get(type(node))
        if fields is None:
            if isinstance(node, list):
                parts.append(f"[{len(node)}")
                pending.extend(node)
            else:
                parts.append(repr(node))
            continue
        parts.append(type(node).__name__)
        held = vars(node)
        for name in fields:
            value = held.get(name)
            if name == "body" and isinstance(node, _DOCUMENTED) and _is_text(value[:1]):
                value = value[1:] or _PASS
            pending.append(value)
    return "\0".join(parts)


def _is_text(body: list[ast.stmt]) -> bool:
    """Whether the statement in `body` is a docstring."""
    return any(
        isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant) and isinstance(one.value.value, str)
        for one in body
    )


@dataclass(frozen=True)
class Candidate:
    """A program and, maybe, its parameters.

    Attributes:
        source: the program's text, newlines as LF.
        params: the bytes of a safetensors file, at most 8 MiB, or None.
    """

    source: str
    params: bytes | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", self.source.replace("\r\n", "\n").replace("\r", "\n"))

    @functools.cached_property
    def id(self) -> str:
        """The sha256 of the text in UTF-8; with parameters, of the text, a zero byte and the sha256 of those."""
        text = self.source.encode("utf-8", "surrogatepass")
        if self.params is None:
            return hashlib.sha256(text).hexdigest()
        return hashlib.sha256(text + b"\0" + hashlib.sha256(self.params).digest()).hexdigest()

    @functools.cached_property
    def tree(self) -> ast.Module:
        """The syntax tree. Raises `CandidateFault("syntax")`, naming the line, when there is none."""
        try:
            return parse_program(self.source)
        except SyntaxError as error:
            line = (error.text or "").strip()
            raise CandidateFault("syntax", f"line {error.lineno}: {error.msg}: {line[:120]!r}") from error
        except (ValueError, RecursionError, MemoryError) as error:
            raise CandidateFault("syntax", f"the program cannot be parsed: {error}") from error

    @functools.cached_property
    def tree_hash(self) -> str:
        """The hash of the syntax tree without docstrings, comments and layout. Only for finding duplicates."""
        text = canonical(self.tree).encode("utf-8", "surrogatepass")
        if self.params:
            text += hashlib.sha256(self.params).digest()
        return hashlib.sha256(text).hexdigest()

    @functools.cached_property
    def functions(self) -> dict[str, Signature]:
        """The top-level functions by name; where a name is defined twice, the last counts."""
        return {node.name: Signature.of(node.args) for node in self.tree.body if isinstance(node, ast.FunctionDef)}

    @functools.cached_property
    def constants(self) -> dict[str, Any]:
        """The top-level assignments of a literal to one name, such as `PAGE = 16`."""
        found: dict[str, Any] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                try:
                    found[node.targets[0].id] = ast.literal_eval(node.value)
                except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
                    continue
        return found


@dataclass(frozen=True)
class Signature:
    """What a candidate's function asks for.

    Attributes:
        names: every parameter that can be given by name.
        required: those without a default.
        open: it takes `**anything`.
    """

    names: tuple[str, ...]
    required: tuple[str, ...]
    open: bool

    @classmethod
    def of(cls, args: ast.arguments) -> Signature:
        """Read a signature off a syntax tree."""
        plain = [arg.arg for arg in [*args.posonlyargs, *args.args]]
        bare = plain[: len(plain) - len(args.defaults)]
        keyword = [arg.arg for arg in args.kwonlyargs]
        needed = [arg.arg for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True) if default is None]
        return cls((*plain, *keyword), (*bare, *needed), args.kwarg is not None)
