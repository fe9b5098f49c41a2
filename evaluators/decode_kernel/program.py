"""From a candidate's text to what is launched: kernels written anew from the checked tree, and how they are launched.

The file may hold, at top level: a docstring, `import triton`, `import triton.language as tl`, `NAME = literal`,
`NAME = tl.constexpr(number)`, and functions with `@triton.jit`. What those may hold is in `grammar`. Nothing of the
text is ever executed as it was written: what runs is written anew from the tree that was checked, so that no difference
between two readings of one text is left to play on.
"""

from __future__ import annotations

import ast
import graphlib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from vevolve.evaluators.decode_kernel import grammar
from vevolve.evaluators.decode_kernel.grammar import refuse
from vevolve.types import Candidate, CandidateFault

BUFFERS = ("query", "keys", "values", "ids", "log_prob", "out")
"""Arguments that are pointers, besides the scratch."""
SCRATCH = ("partial", "stats")
"""What kernels of one candidate may leave for the next launch, in float32 or float16."""
SIZES = ("B", "H", "G", "ROWS", "n", "m", "D")
"""Arguments that are numbers. ROWS is the least power of two that is at least G and 16."""
SCALE = "scale"
OPTIONS = {"num_warps": (1, 2, 4, 8, 16), "num_stages": (1, 2, 3, 4, 5, 6)}
WIDTHS = {"float32": 4, "float16": 2}
MAX_SOURCE = 1 << 16
MAX_KERNELS = 16
MAX_LAUNCHES = 4
MAX_PROGRAMS = 1024
"""Of one launch."""
MAX_SCRATCH = 1 << 20
"""Elements of one buffer."""
Number: TypeAlias = int | float | bool


@dataclass(frozen=True)
class Product:
    """A size that is written as a product of names and numbers, such as `B * H * SPLITS`."""

    factors: tuple[str, ...]

    def of(self, sizes: Mapping[str, Number]) -> int:
        """Its value."""
        return math.prod(int(one) if one.isdigit() else int(sizes[one]) for one in self.factors)


@dataclass(frozen=True)
class Launch:
    """One kernel on a grid of up to three axes, and what the compiler is told."""

    kernel: str
    grid: tuple[Product, ...]
    options: Mapping[str, int]

    def shape(self, sizes: Mapping[str, Number], most: int = MAX_PROGRAMS) -> tuple[int, int, int]:
        """Programs along each axis. Raises `CandidateFault` for none or too many."""
        axes = (*(axis.of(sizes) for axis in self.grid), 1, 1)[:3]
        if min(axes) < 1 or math.prod(axes) > most:
            raise CandidateFault("interface", f"`{self.kernel}` is launched on a grid of {axes}; 1 to {most} programs")
        return axes[0], axes[1], axes[2]


@dataclass(frozen=True)
class Program:
    """A candidate that was read.

    Attributes:
        text: its kernels, written anew: what is run and compiled.
        arguments: of each kernel, by name, and whether it is a `tl.constexpr`.
        constants: the numbers that the file names, which kernels get where they ask for them.
        launches: in their order.
        scratch: by buffer: its type and its number of elements.
    """

    text: str
    arguments: Mapping[str, Mapping[str, bool]]
    constants: Mapping[str, Number]
    launches: tuple[Launch, ...]
    scratch: Mapping[str, tuple[str, Product]]

    def elements(self, sizes: Mapping[str, Number], most: int = MAX_SCRATCH) -> dict[str, int]:
        """How large each scratch buffer is. Raises `CandidateFault` for an empty or too large one."""
        found = {name: size.of(sizes) for name, (_, size) in self.scratch.items()}
        for name, count in found.items():
            if not 1 <= count <= most:
                raise CandidateFault("interface", f"SCRATCH: `{name}` has {count} elements; 1 to {most}")
        return found


def read(candidate: Candidate) -> Program:
    """Check a text and take it apart; nothing of it is executed.

    Raises:
        CandidateFault: it holds something that is not allowed, or its launches do not fit its kernels.
    """
    if len(candidate.source) > MAX_SOURCE:
        raise CandidateFault("interface", f"the text has {len(candidate.source)} characters, at most {MAX_SOURCE}")
    try:
        return _read(candidate.tree)
    except RecursionError as error:
        raise CandidateFault("syntax", "the program is nested too deeply") from error


def _read(tree: ast.Module) -> Program:
    functions: dict[str, ast.FunctionDef] = {}
    literals: dict[str, Any] = {}
    constexprs: dict[str, Number] = {}
    for place, node in enumerate(tree.body):
        if isinstance(node, ast.FunctionDef):
            functions[_new(node, node.name, functions, literals, constexprs)] = node
        elif isinstance(node, ast.Import):
            _import(node)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            word = _new(node, node.targets[0].id, functions, literals, constexprs)
            if isinstance(node.value, ast.Call) and grammar.is_of_language(node.value.func, {"constexpr"}):
                constexprs[word] = _number(node.value)
            else:
                literals[word] = _literal(node.value)
        elif not (place == 0 and isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)):
            refuse(
                node, f"`{type(node).__name__}` at top level: only imports, NAME = literal and @triton.jit functions"
            )
    if len(functions) > MAX_KERNELS:
        refuse(tree.body[-1], f"{len(functions)} functions, at most {MAX_KERNELS}")
    _demand_no_cycle(functions)
    # A constexpr of the file is a global of its kernels; a plain number reaches them as an argument of its name.
    checked = [grammar.kernel(node, functions.keys(), constexprs.keys()) for node in functions.values()]
    constants = {name: value for name, value in literals.items() if isinstance(value, int | float)}
    launches = _launches(literals.get("LAUNCH"), constants)
    scratch = _scratch(literals.get("SCRATCH", {}), constants)
    arguments = {
        one.name: {each.arg: each.annotation is not None for each in one.args.args}
        for one in checked
        if any(launch.kernel == one.name for launch in launches)
    }
    known = {*SIZES, SCALE, *constants}
    for launch in launches:
        if launch.kernel not in arguments:
            raise CandidateFault("interface", f"LAUNCH: the file has no @triton.jit function `{launch.kernel}`")
        for name, constant in arguments[launch.kernel].items():
            _argument(launch.kernel, name, constant, known, {*BUFFERS, *scratch})
    lines = ["import triton", "import triton.language as tl"]
    lines += [f"{name} = tl.constexpr({value!r})" for name, value in constexprs.items()]
    lines += ["\n" + ast.unparse(one) for one in checked]
    return Program("\n".join(lines) + "\n", arguments, constants, launches, scratch)


def _demand_no_cycle(functions: Mapping[str, ast.FunctionDef]) -> None:
    """Triton has no recursion; its interpreter would have it, and take long to tell."""
    calls = {name: functions.keys() & set(_called(node)) for name, node in functions.items()}
    try:
        graphlib.TopologicalSorter(calls).prepare()
    except graphlib.CycleError as error:
        name = str(error.args[1][0])
        refuse(functions[name], f"`{name}` calls itself, maybe by way of others")


def _called(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def _new(node: ast.AST, word: str, *taken: Mapping[str, object]) -> str:
    """A name that the file has not bound yet."""
    bound = (*BUFFERS, *SCRATCH, *SIZES, SCALE, "tl", "triton", "range", "float")
    if any(word in names for names in taken) or word in bound:
        refuse(node, f"`{word[:64]}` is bound twice, or has a meaning of its own")
    return grammar.name(node, word)


def _import(node: ast.Import) -> None:
    if [(one.name, one.asname) for one in node.names] not in ([("triton", None)], [("triton.language", "tl")]):
        refuse(node, "only `import triton` and `import triton.language as tl` are allowed")


def _number(node: ast.Call) -> Number:
    value = _literal(node.args[0]) if len(node.args) == 1 and not node.keywords else None
    if not isinstance(value, int | float):
        refuse(node, "`tl.constexpr` takes one number")
    return value


def _literal(node: ast.expr) -> Any:
    """The value of numbers, texts, tuples, lists and dicts of them. No other node is looked into."""
    if isinstance(node, ast.Constant) and isinstance(node.value, bool | int | float | str | None):
        if isinstance(node.value, int) and abs(node.value) > grammar.MAX_INTEGER:
            refuse(node, "an integer of more than 62 bits")
        if isinstance(node.value, float) and not math.isfinite(node.value):
            refuse(node, "a number that is not finite")
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return -value
    if isinstance(node, ast.Tuple | ast.List):
        return tuple(_literal(one) for one in node.elts)
    if isinstance(node, ast.Dict) and all(isinstance(key, ast.Constant) for key in node.keys):
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values, strict=True) if key}
    refuse(node, f"`{type(node).__name__}` at top level: only numbers, texts, and tuples and dicts of them")


def _launches(given: Any, constants: Mapping[str, Number]) -> tuple[Launch, ...]:
    example = 'LAUNCH = {"attend": {"grid": ("B * H", "SPLITS"), "num_warps": 4}}'
    if not isinstance(given, dict) or not 1 <= len(given) <= MAX_LAUNCHES:
        raise CandidateFault("interface", f"the file must hold 1 to {MAX_LAUNCHES} launches, such as {example}")
    found: list[Launch] = []
    for kernel, told in given.items():
        if not isinstance(kernel, str) or not isinstance(told, dict) or not isinstance(told.get("grid"), tuple):
            raise CandidateFault("interface", f"LAUNCH maps a kernel to its grid and options, as in {example}")
        options = {name: value for name, value in told.items() if name != "grid"}
        for name, value in options.items():
            if name not in OPTIONS or value not in OPTIONS[name] or isinstance(value, bool):
                allowed = "; ".join(f"{key} in {list(values)}" for key, values in OPTIONS.items())
                raise CandidateFault("interface", f"LAUNCH: {kernel}: {name!r:.40} = {value!r:.40}; allowed: {allowed}")
        if not 1 <= len(told["grid"]) <= 3:
            raise CandidateFault("interface", f"LAUNCH: {kernel}: a grid has one to three axes")
        found.append(Launch(kernel, tuple(_product(axis, constants) for axis in told["grid"]), options))
    return tuple(found)


def _scratch(given: Any, constants: Mapping[str, Number]) -> dict[str, tuple[str, Product]]:
    found: dict[str, tuple[str, Product]] = {}
    for name, told in given.items() if isinstance(given, dict) else [(given, None)]:
        if name not in SCRATCH or not isinstance(told, tuple) or len(told) != 2 or told[0] not in WIDTHS:
            example = 'SCRATCH = {"partial": ("float32", "B * H * G * SPLITS * D")}'
            words = f"SCRATCH may hold {' and '.join(SCRATCH)} of {' or '.join(WIDTHS)}, as in {example}"
            raise CandidateFault("interface", words)
        found[name] = (told[0], _product(told[1], constants))
    return found


def _product(given: Any, constants: Mapping[str, Number]) -> Product:
    """A number, a name, or names and numbers with `*` between them."""
    factors = tuple(part.strip() for part in str(given).split("*"))
    whole = {name for name, value in constants.items() if isinstance(value, int) and not isinstance(value, bool)}
    for one in factors:
        if one not in {*SIZES, *whole} and not re.fullmatch("[0-9]{1,9}", one, re.ASCII):
            known = ", ".join([*SIZES, *sorted(whole)])
            raise CandidateFault("interface", f"a size is a product such as 'B * H'; {one!r:.40} is none of {known}")
    return Product(factors)


def _argument(kernel: str, name: str, constant: bool, known: set[str], buffers: set[str]) -> None:
    if name in known or (name in buffers and not constant):
        return
    if name in buffers:
        raise CandidateFault("interface", f"`{kernel}`: `{name}` is a pointer and no tl.constexpr")
    if name in SCRATCH:
        raise CandidateFault("interface", f"`{kernel}` asks for `{name}`, which SCRATCH does not declare")
    words = f"`{kernel}` asks for '{name[:64]}', which is none of: {', '.join([*sorted(buffers), *sorted(known)])}"
    raise CandidateFault("interface", words)
