"""A program as text with its syntax tree, and edits that replace spans of the text."""

from __future__ import annotations

import ast
import builtins
import functools
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from vevolve.types import Signature, parse_program

Function = ast.FunctionDef | ast.AsyncFunctionDef
BUILTINS = frozenset([*dir(builtins), "__file__", "__name__", "__doc__"])


@dataclass(frozen=True)
class Span:
    """Bytes `start` to `end` of a program's text in UTF-8, and what shall stand there."""

    start: int
    end: int
    text: str


@dataclass(frozen=True)
class Change:
    """A changed program, and in a few words what was changed."""

    source: str
    idea: str


@dataclass(frozen=True)
class Option:
    """A change that could be made.

    Attributes:
        owner: the top-level function that it falls in, "" for none.
        weight: how readily it is drawn.
        make: makes it; None where the text does not allow it.
    """

    owner: str
    weight: float
    make: Callable[[], Change | None]


def pick(options: Sequence[Option], rng: random.Random) -> Change | None:
    """One option, made. All options of a function weigh at most 1 together, so that long functions are not favoured."""
    totals: dict[str, float] = {}
    for option in options:
        totals[option.owner] = totals.get(option.owner, 0.0) + option.weight
    weights = [option.weight / max(totals[option.owner] if option.owner else 1.0, 1.0) for option in options]
    return rng.choices(options, weights)[0].make() if options else None


@dataclass(frozen=True)
class Program:
    """A program that parses. Offsets count bytes of the text in UTF-8, as Python's syntax trees do."""

    source: str
    tree: ast.Module

    @functools.cached_property
    def data(self) -> bytes:
        """The text in UTF-8."""
        return self.source.encode()

    @functools.cached_property
    def lines(self) -> list[int]:
        """Where each line starts, and at last where the text ends."""
        starts = [0]
        for line in self.data.split(b"\n"):
            starts.append(starts[-1] + len(line) + 1)
        return [*starts[:-1], len(self.data)]

    @functools.cached_property
    def nodes(self) -> tuple[ast.AST, ...]:
        """Every node of the tree."""
        return tuple(ast.walk(self.tree))

    @functools.cached_property
    def functions(self) -> dict[str, Function]:
        """The top-level functions by name."""
        return {node.name: node for node in self.tree.body if isinstance(node, Function)}

    @functools.cached_property
    def assignments(self) -> dict[str, ast.Assign]:
        """The top-level assignments to one name."""
        found: dict[str, ast.Assign] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                found[node.targets[0].id] = node
        return found

    @functools.cached_property
    def imports(self) -> dict[str, ast.Import | ast.ImportFrom]:
        """The top-level imports by the name that they bind."""
        found: dict[str, ast.Import | ast.ImportFrom] = {}
        for node in self.tree.body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    found[alias.asname or alias.name.partition(".")[0]] = node
        return found

    @functools.cached_property
    def globals(self) -> frozenset[str]:
        """Every name that the top level binds."""
        names: set[str] = set()
        for node in self.tree.body:
            names.update({node.name} if isinstance(node, Function | ast.ClassDef) else bound(node))
        return frozenset(names)

    @functools.cached_property
    def shape(self) -> str:
        """The tree without docstrings and layout: equal for programs that do the same."""
        return shape(self.tree)

    @functools.cached_property
    def parts(self) -> dict[str, str]:
        """The shapes of top-level functions and constants by name, and of all else under the empty name."""
        found: dict[str, str] = {}
        for node in self.tree.body:
            name = node.name if isinstance(node, Function) else ""
            if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
            found[name] = found.get(name, "") + shape(node)
        return found

    @functools.cached_property
    def faults(self) -> frozenset[str]:
        """Names, keys and arguments that the program asks for and nothing provides."""
        return frozenset({*unresolved(self), *keys_unwritten(self), *calls_that_miss(self)})

    def span(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """Where a node starts and ends."""
        end_line, end = node.end_lineno or node.lineno, node.end_col_offset or node.col_offset
        return self.lines[node.lineno - 1] + node.col_offset, self.lines[end_line - 1] + end

    def text(self, node: ast.expr | ast.stmt) -> str:
        """The text of a node."""
        start, end = self.span(node)
        return self.data[start:end].decode()

    def block(self, node: ast.stmt) -> tuple[int, int] | None:
        """The whole lines of a statement, decorators included; None where it shares them with another."""
        decorators = node.decorator_list if isinstance(node, Function | ast.ClassDef) else []
        first = min([node.lineno, *(each.lineno for each in decorators)])
        start, end = self.lines[first - 1], self.lines[node.end_lineno or node.lineno]
        before = self.data[start : self.span(node)[0]] if not decorators else b""
        after = self.data[self.span(node)[1] : end].strip()
        if before.strip() or (after and not after.startswith(b"#")):
            return None
        return start, end

    def differing(self, other: Program) -> set[str]:
        """The names of the parts that are not the same in another program."""
        names = self.parts.keys() | other.parts.keys()
        return {name for name in names if self.parts.get(name) != other.parts.get(name)}

    def replaced(self, *spans: Span) -> str:
        """The text with these spans, none of which overlap, replaced."""
        data = self.data
        for span in sorted(spans, key=lambda span: span.start, reverse=True):
            data = data[: span.start] + span.text.encode() + data[span.end :]
        return data.decode()


@functools.lru_cache(maxsize=256)
def parse(source: str) -> Program | None:
    """The program of that text.

    None where it does not parse, is nested too deeply to be walked, or holds characters that its tree counts otherwise.
    """
    try:
        data, program = source.encode(), Program(source, parse_program(source))
        if b"\r" in data or b"\f" in data or not program.shape:
            return None
        for _ in sites(program):
            pass
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    return program


@dataclass(frozen=True)
class Site:
    """A node of the tree and where it stands.

    Attributes:
        node: an expression.
        above: what encloses it, outermost first.
        owner: the top-level function around it, "" for none.
    """

    node: ast.expr
    above: tuple[ast.AST, ...]
    owner: str


def sites(program: Program) -> Iterator[Site]:
    """Every expression that runs: no docstring, annotation or part of an f-string (whose places Python misreports)."""

    def walk(node: ast.AST, above: tuple[ast.AST, ...], owner: str) -> Iterator[Site]:
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            return
        if isinstance(node, ast.expr):
            yield Site(node, above, owner)
        if isinstance(node, Function) and not owner:
            owner = node.name
        hidden = ("annotation", "returns", "decorator_list", "type_comment")
        for name, value in ast.iter_fields(node):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST) and name not in hidden:
                    yield from walk(child, (*above, node), owner)

    yield from walk(program.tree, (), "")


def shape(node: ast.AST) -> str:
    """A program or function without its docstrings and layout: equal where the same is done."""
    if not isinstance(node, ast.Module | Function | ast.ClassDef):
        return ast.dump(node)
    documented = ast.get_docstring(node, clean=False) is not None
    head = "" if isinstance(node, ast.Module) else f"{node.name} " + "".join(map(ast.dump, node.decorator_list))
    arguments = ast.dump(node.args) if isinstance(node, Function) else ""
    return head + arguments + "[" + "".join(shape(each) for each in node.body[documented:]) + "]"


@functools.lru_cache(maxsize=4096)
def loaded(node: ast.AST) -> frozenset[str]:
    """Every name that is read inside a node."""
    return frozenset(
        each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Load)
    )


@functools.lru_cache(maxsize=4096)
def bound(node: ast.AST) -> frozenset[str]:
    """Every name that is bound inside a node: assigned, imported, defined or taken as an argument."""
    names: set[str] = set()
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and not isinstance(each.ctx, ast.Load):
            names.add(each.id)
        elif isinstance(each, Function | ast.ClassDef):
            names.add(each.name)
        elif isinstance(each, ast.arg):
            names.add(each.arg)
        elif isinstance(each, ast.Import | ast.ImportFrom):
            names.update(alias.asname or alias.name.partition(".")[0] for alias in each.names)
        elif isinstance(each, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and each.name:
            names.add(each.name)
        elif isinstance(each, ast.MatchMapping) and each.rest:
            names.add(each.rest)
    return frozenset(names)


def called(program: Program) -> set[str]:
    """Top-level functions that the program itself calls."""
    return {name for function in program.functions.values() for name in loaded(function) & set(program.functions)}


def unresolved(program: Program) -> set[str]:
    """Names that a function reads and nothing binds: it would fail when called."""
    found: set[str] = set()
    for function in program.functions.values():
        found |= loaded(function) - bound(function)
    return found - program.globals - BUILTINS


def keys_unwritten(program: Program) -> set[str]:
    """String keys that are read by subscription and written nowhere in the program."""
    read: set[str] = set()
    written: set[str] = set()
    for node in program.nodes:
        if (
            isinstance(node, ast.Subscript)
            and isinstance(node.slice, ast.Constant)
            and isinstance(node.slice.value, str)
        ):
            (read if isinstance(node.ctx, ast.Load) else written).add(node.slice.value)
        elif isinstance(node, ast.Dict):
            written |= {key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict":
            written |= {keyword.arg for keyword in node.keywords if keyword.arg}
    return read - written


def calls_that_miss(program: Program) -> set[str]:
    """Top-level functions that the program itself calls with more or fewer arguments than they take."""
    missed: set[str] = set()
    for node in program.nodes:
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name)):
            continue
        function = program.functions.get(node.func.id)
        opaque = any(isinstance(arg, ast.Starred) for arg in node.args) or any(not k.arg for k in node.keywords)
        if function is None or opaque or function.args.vararg:
            continue
        signature = Signature.of(function.args)
        given = [*signature.names[: len(node.args)], *(keyword.arg for keyword in node.keywords if keyword.arg)]
        room = len(function.args.posonlyargs) + len(function.args.args)
        strange = not signature.open and not set(given) <= set(signature.names)
        if strange or len(node.args) > room or not set(signature.required) <= set(given):
            missed.add(node.func.id)
    return missed
