"""What a kernel may be written in: the list of what is allowed, and its check, which executes nothing.

Under Triton's interpreter a kernel's body is Python, so this list is what keeps it from being a program. Everything
that is not named here is refused:

- a body holds assignments to names, `for NAME in range(...)`, `if`, `return`, arithmetic, comparisons, tuples and
  lists, `x[:, None]`, and calls of the functions of `tl` below, of other kernels in the file and of `x.to(type)`;
- a name is read only where the same function binds it, or the file does as a kernel or as `tl.constexpr(number)`, so
  no builtin, no module and no global of the interpreter has a name here;
- an attribute is `tl.` and a word of the lists below, or `.dtype` and `.dtype.element_ty`: from nothing that a kernel
  holds does an attribute lead anywhere else;
- arguments have no defaults, their only annotation is `tl.constexpr`, the only decorator is `@triton.jit` as it stands;
- texts are short words, and only arguments of calls; there is no `while`, `lambda`, comprehension, f-string, `:=`, `*`
  or `**` of arguments, `del`, `try`, `with`, `assert`, nested function, class, import, or name with a leading `_`.

Left out on purpose, though Triton has them: `inline_asm_elementwise`, `tl.extra` and `libdevice` (code that is not in
the text), atomics (programs of a launch would see each other), block pointers and descriptors (another way to memory),
functions that take functions, and printing.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Set
from typing import NoReturn

from vevolve.types import CandidateFault

FUNCTIONS = frozenset(
    {
        *("program_id", "num_programs", "load", "store", "arange", "zeros", "full", "cdiv"),
        *("dot", "max", "min", "sum", "argmax", "argmin", "maximum", "minimum", "where", "clamp", "cumsum"),
        *("exp", "exp2", "log", "log2", "sqrt", "rsqrt", "abs", "floor", "ceil", "fma", "sigmoid", "softmax"),
        *("broadcast_to", "expand_dims", "reshape", "trans", "cast", "join", "split"),
        *("multiple_of", "max_contiguous", "max_constancy"),
    }
)
"""Of `tl`, to be called."""
LOOPS = frozenset({"range", "static_range"})
"""Of `tl`, and `range` itself: what a `for` runs over."""
TYPES = frozenset(
    {
        *("int1", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "bfloat16", "float32"),
    }
)
"""Of `tl`, to be passed."""
MEMBERS = frozenset({"dtype", "element_ty"})
"""Attributes of tensors and types."""
STATEMENTS = (ast.Expr, ast.Assign, ast.AugAssign, ast.For, ast.If, ast.Return, ast.Pass)
EXPRESSIONS = (
    ast.BinOp,
    ast.UnaryOp,
    ast.BoolOp,
    ast.Compare,
    ast.IfExp,
    ast.Call,
    ast.keyword,
    ast.Name,
    ast.Constant,
    ast.Attribute,
    ast.Subscript,
    ast.Slice,
    ast.Tuple,
    ast.List,
    ast.expr_context,
    ast.Add,
    ast.Sub,
    ast.Mult,
    ast.Div,
    ast.FloorDiv,
    ast.Mod,
    ast.LShift,
    ast.RShift,
    ast.BitAnd,
    ast.BitOr,
    ast.BitXor,
    ast.unaryop,
    ast.boolop,
    ast.Eq,
    ast.NotEq,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
)
WORD = re.compile(r"[A-Za-z0-9_.+-]{1,16}")
INFINITIES = frozenset({"inf", "-inf", "nan"})
MAX_NODES = 20_000
MAX_INTEGER = 1 << 62


def kernel(node: ast.FunctionDef, kernels: Set[str], constants: Set[str]) -> ast.FunctionDef:
    """Check one function, and return it without its docstring.

    Args:
        node: the function.
        kernels: names of the functions of the file.
        constants: names that the file binds with `tl.constexpr(...)`.

    Raises:
        CandidateFault: it holds something that is not on the list; the message names it and its line.
    """
    arguments = _arguments(node)
    body = node.body[1:] if _is_docstring(node.body[0]) else node.body
    binding = [each for each in _walk(body) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)]
    bound = dict.fromkeys(arguments, node) | {each.id: each for each in binding}
    if taken := sorted(bound.keys() & (kernels | constants | {"tl", "triton", "range", "float"})):
        refuse(bound[taken[0]], f"`{taken[0]}` has a meaning in the file and may not be bound again")
    _statements(body)
    places = _places(body)
    for each in _walk(body):
        _node(each, places, bound.keys(), kernels, constants)
    plain = ast.FunctionDef(node.name, node.args, body or [ast.Pass()], [_jit()], None, None)
    return ast.fix_missing_locations(ast.copy_location(plain, node))


def is_jit(node: ast.expr) -> bool:
    """Whether an expression is `triton.jit` as it stands."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "jit"
        and isinstance(node.value, ast.Name)
        and node.value.id == "triton"
    )


def is_of_language(node: ast.AST | None, words: Set[str]) -> bool:
    """Whether an expression is `tl.` and one of these words."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr in words
        and isinstance(node.value, ast.Name)
        and node.value.id == "tl"
    )


def refuse(node: ast.AST, what: str) -> NoReturn:
    """Refuse a text at a node. Raises `CandidateFault`."""
    line = getattr(node, "lineno", 0)
    raise CandidateFault("interface", f"{f'line {line}: ' if line else ''}{what}; the text is data and was not run")


def _arguments(node: ast.FunctionDef) -> list[str]:
    given = node.args
    if [is_jit(one) for one in node.decorator_list] != [True]:
        refuse(node, f"`{node.name}` must have the decorator `@triton.jit`, as it stands, and no other")
    if given.vararg or given.kwarg or given.posonlyargs or given.kwonlyargs or given.defaults or node.returns:
        refuse(node, f"`{node.name}` must take plain arguments, without defaults, and annotate no result")
    for one in given.args:
        if one.annotation is not None and not is_of_language(one.annotation, {"constexpr"}):
            refuse(one, f"the annotation of `{one.arg}` may only be `tl.constexpr`")
        name(one, one.arg)
    name(node, node.name)
    return [one.arg for one in given.args]


def name(node: ast.AST, word: str) -> str:
    """A name that a text binds. Raises `CandidateFault` where it may not."""
    if word.startswith("_") or not word.isascii() or len(word) > 64:
        refuse(node, f"the name `{word[:64]}` is not allowed; use ASCII, no leading underscore, at most 64 characters")
    return word


def _walk(body: list[ast.stmt]) -> Iterator[ast.AST]:
    for count, node in enumerate(each for statement in body for each in ast.walk(statement)):
        if count > MAX_NODES:
            refuse(node, f"a function of more than {MAX_NODES} parts")
        yield node


def _statements(body: list[ast.stmt]) -> None:
    """Which statements there are, and that targets are names."""
    for node in _walk(body):
        for part in [node, *ast.iter_child_nodes(node)]:
            if not isinstance(part, (*STATEMENTS, *EXPRESSIONS)):
                # An operator has no line of its own.
                refuse(
                    part if hasattr(part, "lineno") else node,
                    f"a kernel may not be written with `{type(part).__name__}`",
                )
        if isinstance(node, ast.Assign) and (len(node.targets) != 1 or not _is_target(node.targets[0])):
            refuse(node, "one assignment binds one name, or a tuple of names")
        if isinstance(node, ast.AugAssign) and not isinstance(node.target, ast.Name):
            refuse(node, "only a name may be assigned to")
        if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Call):
            refuse(node, "a line of its own must be a call")
        if isinstance(node, ast.For) and not (isinstance(node.target, ast.Name) and _is_loop(node.iter)):
            refuse(node, "a loop is `for NAME in range(...)`, `tl.range(...)` or `tl.static_range(...)`")
        if isinstance(node, ast.For) and node.orelse:
            refuse(node, "a loop has no `else`")


def _is_target(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) or (
        isinstance(node, ast.Tuple) and all(isinstance(one, ast.Name) for one in node.elts)
    )


def _is_loop(node: ast.expr) -> bool:
    if not isinstance(node, ast.Call):
        return False
    return is_of_language(node.func, LOOPS) or (isinstance(node.func, ast.Name) and node.func.id == "range")


class _Places:
    """Nodes that may stand only where they do: what is called, what a loop runs over, the base of `tl.word`."""

    def __init__(self) -> None:
        self.called: set[int] = set()
        self.looped: set[int] = set()
        self.bases: set[int] = set()
        self.words: set[int] = set()


def _places(body: list[ast.stmt]) -> _Places:
    found = _Places()
    for node in _walk(body):
        if isinstance(node, ast.Call):
            found.called.add(id(node.func))
            found.words.update(id(value) for value in [*node.args, *(one.value for one in node.keywords)])
        if isinstance(node, ast.For):
            found.looped.add(id(node.iter))
        if isinstance(node, ast.Attribute):
            found.bases.add(id(node.value))
    return found


def _node(node: ast.AST, places: _Places, bound: Set[str], kernels: Set[str], constants: Set[str]) -> None:
    """One node of a body, in its place."""
    if isinstance(node, ast.Name):
        _read(node, places, bound, kernels, constants)
    elif isinstance(node, ast.Attribute):
        _attribute(node, places)
    elif isinstance(node, ast.Call):
        _call(node, places)
    elif isinstance(node, ast.Constant):
        _constant(node, places)
    elif isinstance(node, ast.Compare) and len(node.ops) != 1:
        refuse(node, "compare two values at a time")
    elif isinstance(node, ast.Subscript):
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if isinstance(node.ctx, ast.Store) or not all(_is_axis(part) for part in parts):
            refuse(node, "a subscript holds only `:` and `None`, as in `x[:, None]`")


def _read(node: ast.Name, places: _Places, bound: Set[str], kernels: Set[str], constants: Set[str]) -> None:
    if isinstance(node.ctx, ast.Store):
        name(node, node.id)
    elif node.id == "tl":
        if id(node) not in places.bases:
            refuse(node, "`tl` may only stand before a point")
    elif node.id in kernels or node.id in ("range", "float"):
        if id(node) not in places.called:
            refuse(node, f"`{node.id}` may only be called")
    elif node.id not in bound and node.id not in constants:
        cure = f"a number of the file reaches it as an argument `{node.id}: tl.constexpr`"
        refuse(node, f"`{node.id}` is not bound in this function; {cure}")


def _attribute(node: ast.Attribute, places: _Places) -> None:
    called = id(node) in places.called
    if isinstance(node.value, ast.Name) and node.value.id == "tl":
        if not (node.attr in TYPES or (called and node.attr in FUNCTIONS | LOOPS)):
            refuse(
                node, f"`tl.{node.attr[:64]}` is not on the list of what a kernel may {'call' if called else 'name'}"
            )
    elif not (node.attr == "to" if called else node.attr in MEMBERS):
        refuse(node, f"the attribute `.{node.attr[:64]}` is not one of .dtype, .dtype.element_ty and .to(type)")


def _call(node: ast.Call, places: _Places) -> None:
    if not isinstance(node.func, ast.Name | ast.Attribute) or any(one.arg is None for one in node.keywords):
        refuse(node, "a call names its function, and passes no `**`")
    for one in node.keywords:
        name(one, one.arg or "")
    if _is_loop(node) and id(node) not in places.looped:
        refuse(node, "a range may only stand in `for NAME in ...`")
    if isinstance(node.func, ast.Attribute) and node.func.attr in TYPES and is_of_language(node.func, TYPES):
        refuse(node, f"`tl.{node.func.attr}` is a type and is not called")
    if isinstance(node.func, ast.Name) and node.func.id == "float":
        given = node.args[0] if len(node.args) == 1 and not node.keywords else None
        if not (isinstance(given, ast.Constant) and given.value in INFINITIES):
            refuse(node, '`float` may only make "inf", "-inf" or "nan"')


def _constant(node: ast.Constant, places: _Places) -> None:
    if isinstance(node.value, str):
        if id(node) not in places.words or not WORD.fullmatch(node.value):
            refuse(node, "a text may only be a short word that is passed to a call")
    elif node.value is not None and not isinstance(node.value, bool | int | float):
        refuse(node, f"a constant of type {type(node.value).__name__}")
    elif isinstance(node.value, int) and abs(node.value) > MAX_INTEGER:
        refuse(node, "an integer of more than 62 bits")


def _is_axis(node: ast.expr) -> bool:
    if isinstance(node, ast.Slice):
        return node.lower is None and node.upper is None and node.step is None
    return isinstance(node, ast.Constant) and node.value is None


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _jit() -> ast.expr:
    return ast.Attribute(ast.Name("triton", ast.Load()), "jit", ast.Load())
