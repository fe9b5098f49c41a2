"""A look at a program's syntax tree for what looks hostile or cannot help. It names, and decides nothing.

An alarm, never the boundary: whoever wants to get past it can (`getattr(torch, "_" + "C")`), and an honest program may
set it off. What holds a program is the sandbox and the verifier; the alarm tells its author, and whoever reads the
feedback, where to look. Source of the idea: KernelBench's static checker, which says the same of itself.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

ORDINARY = frozenset(
    """
    torch numpy scipy math cmath itertools functools collections dataclasses typing heapq bisect operator
    statistics contextlib enum abc copy numbers fractions decimal warnings __future__
    """.split()  # noqa: SIM905
)
"""Modules that a program about arrays may well import."""
CALLS = {
    "exec": "runs text as code",
    "eval": "runs text as code",
    "compile": "makes code of text",
    "__import__": "imports by name",
    "open": "opens a file",
    "input": "waits for input",
    "breakpoint": "stops",
    "globals": "reaches for the namespace",
    "vars": "reaches for a namespace",
    "locals": "reaches for a namespace",
    "memoryview": "reaches for memory",
}
ATTRIBUTES = {
    "_getframe": "walks the stack",
    "f_back": "walks the stack",
    "f_locals": "walks the stack",
    "f_globals": "walks the stack",
    "tb_frame": "walks the stack",
    "gi_frame": "walks the stack",
    "load": "reads a file",
    "save": "writes a file",
    "fromfile": "reads a file",
    "tofile": "writes a file",
    "memmap": "maps a file",
    "load_library": "loads native code",
    "cpp_extension": "compiles native code",
    "from_file": "maps a file",
    "data_ptr": "asks where memory lies",
    "_C": "reaches below torch",
    "ctypeslib": "reaches below numpy",
    "seed": "takes randomness that is not in rng",
    "manual_seed": "takes randomness that is not in rng",
}
DUNDERS = frozenset(
    """
    __class__ __bases__ __base__ __mro__ __subclasses__ __globals__ __builtins__ __dict__ __code__ __closure__
    __defaults__ __kwdefaults__ __getattribute__ __import__ __loader__ __spec__ __traceback__ __reduce__
    __reduce_ex__ __setattr__ __init_subclass__
    """.split()  # noqa: SIM905
)
"""Names by which a program walks from an object to everything else."""
MEMOISED = frozenset({"cache", "lru_cache", "cached_property"})
GROWING = frozenset({"append", "add", "extend", "insert", "setdefault", "update"})
"""Methods by which a container keeps something."""
MOST = 8
"""Places that are named."""


@dataclass(frozen=True)
class _About:
    """What a node's look depends on besides the node.

    Attributes:
        modules: may be imported.
        languages: how the program calls `triton.language`, whose `load` reads memory and no file.
    """

    modules: frozenset[str]
    languages: frozenset[str]


def alarms(tree: ast.Module, modules: frozenset[str] = frozenset()) -> list[str]:
    """What looks hostile in a program, as lines such as "line 3: imports os", in the order of the text.

    Args:
        tree: the program's.
        modules: those that it may import besides the ordinary ones.
    """
    found: set[tuple[int, str]] = set()
    about = _About(ORDINARY | modules, _languages(tree))
    containers = _containers(tree)
    for statement in tree.body:
        held = containers if isinstance(statement, ast.FunctionDef) else frozenset[str]()
        for node in _nodes(statement):
            if look := _LOOKS.get(type(node)):
                found.update(look(node, about))
            if held and isinstance(node, ast.Subscript | ast.Call):
                found.update(_kept(node, held))
    return [f"line {line}: {what}" for line, what in sorted(found)]


def notice(tree: ast.Module, modules: frozenset[str] = frozenset()) -> str:
    """The alarms as a paragraph of feedback; empty where there are none. See `alarms`."""
    found = alarms(tree, modules)
    if not found:
        return ""
    more = f"; and {len(found) - MOST} more" if len(found) > MOST else ""
    return f"Static alarm (it changes no verdict): {'; '.join(found[:MOST])}{more}."


def _nodes(top: ast.stmt) -> Iterator[ast.AST]:
    """A statement and all below it, in no order. Three times as fast as `ast.walk`."""
    pending: list[ast.AST] = [top]
    while pending:
        node = pending.pop()
        yield node
        held = vars(node)
        for name in _HOLDING[type(node)]:
            value = held.get(name)
            if isinstance(value, list):
                pending += [one for one in cast(list[object], value) if isinstance(one, ast.AST)]
            elif isinstance(value, ast.AST):
                pending.append(value)


def _containers(tree: ast.Module) -> frozenset[str]:
    """Names of the module that hold what can grow."""
    return frozenset(
        name.id
        for statement in tree.body
        if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Dict | ast.List | ast.Set | ast.Call)
        for name in statement.targets
        if isinstance(name, ast.Name)
    )


def _languages(tree: ast.Module) -> frozenset[str]:
    """The dotted names that stand for `triton.language` after the imports at top level."""
    found: set[str] = set()
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            for one in statement.names:
                if one.name == "triton.language" and one.asname:
                    found.add(one.asname)
                elif one.name in ("triton", "triton.language"):
                    found.add(f"{one.asname or 'triton'}.language")
        elif isinstance(statement, ast.ImportFrom) and statement.module == "triton":
            found.update(one.asname or one.name for one in statement.names if one.name == "language")
    return frozenset(found)


def _dotted(node: ast.expr) -> str:
    """`a.b` of names and attributes, at most two; "" of anything else."""
    if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
        return f"{node.value.id}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def _kept(node: ast.Subscript | ast.Call, held: frozenset[str]) -> Iterator[tuple[int, str]]:
    """Where a function puts something into a container of the module, which lives from call to call."""
    kept: ast.expr | None = None
    if isinstance(node, ast.Subscript):
        kept = node.value if isinstance(node.ctx, ast.Store) else None
    elif isinstance(node.func, ast.Attribute) and node.func.attr in GROWING:
        kept = node.func.value
    if isinstance(kept, ast.Name) and kept.id in held:
        yield node.lineno, f"keeps something in {kept.id[:40]} between calls"


def _imported(node: ast.Import | ast.ImportFrom, about: _About) -> Iterator[tuple[int, str]]:
    names = [node.module or "."] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    for name in names:
        if name.partition(".")[0] not in about.modules:
            yield node.lineno, f"imports {name[:60]}"
        elif "cpp_extension" in name or "._" in name:
            yield node.lineno, f"reaches into {name[:60]}"


def _reached(node: ast.Attribute, about: _About) -> Iterator[tuple[int, str]]:
    if node.attr in DUNDERS:
        yield node.lineno, f"walks by {node.attr}"
    elif node.attr in ATTRIBUTES and not _fixed_stream(node) and not _of_memory(node, about):
        yield node.lineno, f"{ATTRIBUTES[node.attr]} (.{node.attr})"


def _fixed_stream(node: ast.Attribute) -> bool:
    """`torch.Generator().manual_seed`: a stream of the program's own, the same in every process, such as of weights."""
    made = node.value
    return (
        node.attr == "manual_seed"
        and isinstance(made, ast.Call)
        and isinstance(made.func, ast.Attribute)
        and made.func.attr == "Generator"
    )


def _of_memory(node: ast.Attribute, about: _About) -> bool:
    """`tl.load`: a kernel reads what it was given a pointer to."""
    return node.attr == "load" and _dotted(node.value) in about.languages


def _named(node: ast.Name, _: _About) -> Iterator[tuple[int, str]]:
    if node.id in DUNDERS:
        yield node.lineno, f"walks by {node.id}"


def _shared(node: ast.Global | ast.Nonlocal, _: _About) -> Iterator[tuple[int, str]]:
    yield node.lineno, f"keeps {', '.join(node.names)[:60]} between calls"


def _called(node: ast.Call, _: _About) -> Iterator[tuple[int, str]]:
    if not isinstance(node.func, ast.Name):
        return
    name = node.func.id
    if name in CALLS:
        yield node.lineno, f"{CALLS[name]} ({name})"
    elif name in ("getattr", "setattr", "delattr", "hasattr") and len(node.args) > 1:
        word = node.args[1]
        if not isinstance(word, ast.Constant):
            yield node.lineno, f"{name} of a name that is made as it runs"
        elif str(word.value).startswith("_"):
            yield node.lineno, f"{name} of {word.value!r:.40}"
        elif name == "setattr":
            yield node.lineno, f"changes an object (setattr of {word.value!r:.40})"


def _defined(node: ast.FunctionDef | ast.AsyncFunctionDef, _: _About) -> Iterator[tuple[int, str]]:
    for default in [*node.args.defaults, *node.args.kw_defaults]:
        if isinstance(default, ast.Dict | ast.List | ast.Set):
            yield default.lineno, f"keeps a default of `{node.name[:40]}` between calls"
    for decorator in node.decorator_list:
        name = decorator.func if isinstance(decorator, ast.Call) else decorator
        word = name.attr if isinstance(name, ast.Attribute) else getattr(name, "id", "")
        if word in MEMOISED:
            yield decorator.lineno, f"remembers what `{node.name[:40]}` returned (@{word})"


_LOOKS: dict[type[ast.AST], Callable[[Any, _About], Iterator[tuple[int, str]]]] = {
    ast.Import: _imported,
    ast.ImportFrom: _imported,
    ast.Attribute: _reached,
    ast.Name: _named,
    ast.Call: _called,
    ast.Global: _shared,
    ast.Nonlocal: _shared,
    ast.FunctionDef: _defined,
    ast.AsyncFunctionDef: _defined,
}
"""What each kind of node may set off."""
_LEAVES = ("ctx", "op", "ops", "id", "attr", "kind", "type_comment")
_HOLDING = {
    kind: tuple(name for name in kind._fields if name not in _LEAVES)
    for kind in vars(ast).values()
    if isinstance(kind, type) and issubclass(kind, ast.AST)
}
"""The fields of each kind of node that may hold others with something to see."""
