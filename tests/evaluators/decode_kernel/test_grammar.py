"""What a kernel may be written in: all that is meant to be there passes, and nothing else does."""

import ast
import builtins

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vevolve.evaluators.decode_kernel import grammar
from vevolve.evaluators.decode_kernel.problem import problem
from vevolve.evaluators.decode_kernel.program import read
from vevolve.types import Candidate, CandidateFault

HEAD = 'import triton\nimport triton.language as tl\n\nSPLITS = 2\nLAUNCH = {"attend": {"grid": ("B", "SPLITS")}}\n'


def kernel(*lines, arguments="query, out, G, SPLITS: tl.constexpr", head=HEAD):
    body = "".join(f"    {line}\n" for line in lines)
    return f"{head}\n\n@triton.jit\ndef attend({arguments}):\n{body}"


def refused(text):
    with pytest.raises(CandidateFault) as caught:
        read(Candidate(text))
    return caught.value


@pytest.mark.parametrize("name", problem.seeds())
def test_a_shipped_seed_is_written_in_it(name):
    program = read(Candidate(problem.seed(name).read_text()))
    assert [launch.kernel for launch in program.launches] == ["attend", "merge"]
    assert program.constants["SPLITS"] in (4, 16)


ALLOWED = [
    "x = tl.arange(0, 16)[:, None] + tl.arange(0, 16)[None, :]",
    'x = tl.full((16,), float("-inf"), tl.float32)',
    "x, y = tl.program_id(0), tl.num_programs(1)",
    "x = tl.zeros([16, 16], dtype=tl.float32).to(out.dtype.element_ty)",
    'x = tl.dot(tl.zeros((16, 16), tl.float16), tl.zeros((16, 16), tl.float16), input_precision="ieee")',
    "x = 1 if G > 2 and not G == 3 else -1",
    "x = (G // 2 * 3 + 1 - 4 % 3) << 1 | ~G & 3 ^ 1",
    "return",
]


@pytest.mark.parametrize("line", ALLOWED)
def test_what_kernels_need_is_allowed(line):
    assert "def attend" in read(Candidate(kernel(line))).text


def test_a_kernel_that_calls_itself_is_refused_however_far_around():
    assert "calls itself" in refused(kernel("attend(query)")).feedback
    helpers = "".join(f"\n\n@triton.jit\ndef f{i}(x):\n    f{(i + 1) % 3}(x)\n" for i in range(3))
    assert "calls itself" in refused(kernel("f0(query)") + helpers).feedback


def test_loops_and_branches_are_allowed_and_helpers_may_be_called():
    lines = ["for i in range(G):", "    if i > 1:", "        helper(i)", "    else:", "        pass"]
    lines += ["for j in tl.static_range(SPLITS):", "    tl.store(out + j, helper(j))"]
    text = kernel(*lines) + "\n\n@triton.jit\ndef helper(i):\n    return i + 1\n"
    assert read(Candidate(text)).arguments.keys() == {"attend"}


REFUSED = {
    "a module": ("x = tl", "may only stand before a point"),
    "a name of the interpreter": ("x = interpreter_builder", "`interpreter_builder` is not bound"),
    "numpy as the interpreter sees it": ("np.zeros(1)", "attribute `.zeros`"),
    "a name of the file": ("x = LAUNCH", "`LAUNCH` is not bound"),
    "a class": ("x = query.__class__", "attribute `.__class__`"),
    "a member of the language": ("x = tl.core", "`tl.core` is not on the list"),
    "a function as a value": ("x = tl.load", "`tl.load` is not on the list of what a kernel may name"),
    "a kernel as a value": ("x = attend", "`attend` may only be called"),
    "a builtin as a value": ("x = range", "`range` may only be called"),
    "inline assembly": ('x = tl.inline_asm_elementwise("", "", [G], tl.int32, True, 1)', "inline_asm_elementwise"),
    "a device library": ("x = tl.extra.cuda.libdevice.exp(G)", "attribute `.exp`"),
    "an atomic": ("x = tl.atomic_add(out, 1)", "atomic_add"),
    "a block pointer": ("x = tl.make_block_ptr(out, (1,), (1,), (0,), (1,), (0,))", "make_block_ptr"),
    "printing": ('tl.device_print("x", G)', "device_print"),
    "a method": ("x = query.store(1)", "attribute `.store`"),
    "a call of a result": ("x = tl.load(query)(1)", "names its function"),
    "a call of a type": ("x = tl.float32(1)", "is a type"),
    "a text": ('x = "text"', "short word that is passed"),
    "a long text": ('tl.load(query, cache_modifier="' + "x" * 40 + '")', "short word"),
    "a text with lines": ('tl.load(query, cache_modifier=".c\\ndef f():")', "short word"),
    "bytes": ("x = b'1'", "constant of type bytes"),
    "an ellipsis": ("x = ...", "constant of type ellipsis"),
    "a complex number": ("x = 1j", "constant of type complex"),
    "a huge integer": (f"x = {1 << 70}", "62 bits"),
    "a float of an argument": ("x = float(G)", "`float` may only make"),
    "a float of another text": ('x = float("1e9")', "`float` may only make"),
    "a range as a value": ("x = tl.range(3)", "may only stand in"),
    "an argument of the compiler's own": ("tl.load(query, _semantic=G)", "leading underscore"),
    "a loop over a list": ("for i in [1, 2]: pass", "a loop is"),
    "a loop over several names": ("for i, j in range(3): pass", "a loop is"),
    "an else of a loop": ("for i in range(3): pass\n    else: pass", "no `else`"),
    "while": ("while G: pass", "`While`"),
    "a lambda": ("x = lambda: 1", "`Lambda`"),
    "a comprehension": ("x = [i for i in (1, 2)]", "`ListComp`"),
    "a generator": ("x = tl.sum(i for i in (1, 2))", "`GeneratorExp`"),
    "a dict": ("x = {1: 2}", "`Dict`"),
    "an f-string": ('x = f"{G}"', "`JoinedStr`"),
    "a walrus": ("x = (y := G)", "`NamedExpr`"),
    "unpacked arguments": ("tl.load(*(query,))", "`Starred`"),
    "unpacked names": ("tl.load(**{})", "`Dict`"),
    "an annotated name": ("x: print(1) = 2", "`AnnAssign`"),
    "an import": ("import os", "`Import`"),
    "an import from": ("from os import path", "`ImportFrom`"),
    "a class definition": ("class A: pass", "`ClassDef`"),
    "a nested function": ("def f(): pass", "`FunctionDef`"),
    "an async function": ("async def f(): pass", "`AsyncFunctionDef`"),
    "yield": ("x = yield 1", "`Yield`"),
    "with": ("with query: pass", "`With`"),
    "try": ("try: pass\n    except Exception: pass", "`Try`"),
    "raise": ("raise G", "`Raise`"),
    "assert": ("assert G", "`Assert`"),
    "delete": ("del query", "`Delete`"),
    "global": ("global SPLITS", "`Global`"),
    "match": ("match G:\n        case 1: pass", "`Match`"),
    "a power": ("x = 9 ** 9 ** 9", "`Pow`"),
    "identity": ("x = G is None", "`Is`"),
    "membership": ("x = G in (1, 2)", "`In`"),
    "a chained comparison": ("x = 0 < G < 3", "two values at a time"),
    "an index": ("x = query[0]", "a subscript holds only"),
    "a part": ("x = query[1:2]", "a subscript holds only"),
    "an assignment to a part": ("query[:] = 1", "binds one name"),
    "an assignment to an attribute": ("query.dtype = 1", "binds one name"),
    "two targets": ("x = y = 1", "binds one name"),
    "adding to an attribute": ("query.dtype += 1", "only a name may be assigned"),
    "an expression of its own": ("G + 1", "a line of its own"),
    "a leading underscore": ("_x = 1", "leading underscore"),
    "another alphabet": ("\u03b1 = 1", "ASCII"),
    "tl bound anew": ("tl = 1", "may not be bound again"),
    "range bound anew": ("for range in range(3): pass", "may not be bound again"),
    "a kernel bound anew": ("attend = 1", "may not be bound again"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_on_the_list_is_refused_by_name(what):
    line, message = REFUSED[what]
    fault = refused(kernel(line))
    assert fault.status == "interface" and message in fault.feedback and "line 10" in fault.feedback


def test_no_builtin_of_python_can_be_read():
    for name in dir(builtins):
        if not name.startswith("_") and name not in ("True", "False", "None"):
            assert refused(kernel(f"x = {name}")).status == "interface", name
        if not name.startswith("_") and name not in ("True", "False", "None", "float", "range"):
            assert refused(kernel(f"x = {name}(1)")).status == "interface", name


def test_every_kind_of_node_that_is_not_meant_is_missing_from_the_list():
    python = {kind for kind in vars(ast).values() if isinstance(kind, type) and issubclass(kind, ast.expr | ast.stmt)}
    kept = {kind.__name__ for kind in python if issubclass(kind, (*grammar.STATEMENTS, *grammar.EXPRESSIONS))}
    old = {"Num", "Str", "Bytes", "NameConstant", "Ellipsis", "Index", "ExtSlice"}
    assert kept - old == {
        *("Expr", "Assign", "AugAssign", "For", "If", "Return", "Pass"),
        *("BinOp", "UnaryOp", "BoolOp", "Compare", "IfExp", "Call", "Name", "Constant", "Attribute"),
        *("Subscript", "Slice", "Tuple", "List"),
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("query, G=1", "without defaults"),
        ("query, *rest", "plain arguments"),
        ("query, **rest", "plain arguments"),
        ("query, /, G", "plain arguments"),
        ("query, *, G", "plain arguments"),
        ("query: print(1)", "may only be `tl.constexpr`"),
        ("query: 'tl.constexpr'", "may only be `tl.constexpr`"),
        ("query: tl.constexpr", "is a pointer"),
        ("partial", "which SCRATCH does not declare"),
        ("anything", "asks for 'anything'"),
        ("__class__", "leading underscore"),
        ("tl", "may not be bound again"),
    ],
)
def test_arguments_are_plain_and_known(arguments, message):
    assert message in refused(kernel("return", arguments=arguments)).feedback


@pytest.mark.parametrize(
    "decorator",
    ["triton.jit()", "triton.jit(noinline=True)", "tl.jit", "triton.autotune", "(lambda f: f)", "triton.jit.jit"],
)
def test_no_other_decorator_is_taken(decorator):
    text = kernel("return").replace("@triton.jit", f"@{decorator}")
    assert "decorator" in refused(text).feedback
    assert "decorator" in refused(kernel("return").replace("@triton.jit", f"@{decorator}\n@triton.jit")).feedback
    assert "decorator" in refused(kernel("return").replace("@triton.jit\n", "")).feedback


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import os", "only `import triton`"),
        ("import triton as tl", "only `import triton`"),
        ("import triton.language", "only `import triton`"),
        ("import triton, os", "only `import triton`"),
        ("from triton.language.extra import libdevice", "`ImportFrom` at top level"),
        ("print(1)", "`Expr` at top level"),
        ("X = print(1)", "`Call` at top level"),
        ("X = [print(1)]", "`Call` at top level"),
        ("X = {print(1): 2}", "at top level"),
        ("X = {**{}}", "at top level"),
        ("X = 1 + 1", "`BinOp` at top level"),
        ("X = tl.constexpr(print(1))", "`Call` at top level"),
        ("X = tl.constexpr('text')", "takes one number"),
        ("X = tl.constexpr(1, 2)", "takes one number"),
        ("X = 1e999", "not finite"),
        ("X: int = 1", "`AnnAssign` at top level"),
        ("X = Y = 1", "`Assign` at top level"),
        ("if True: pass", "`If` at top level"),
        ("SPLITS = 3", "bound twice"),
        ("scale = 3", "meaning of its own"),
        ("tl = 3", "meaning of its own"),
        ("__builtins__ = 3", "leading underscore"),
    ],
)
def test_the_top_level_holds_literals_and_kernels_alone(line, message):
    assert message in refused(kernel("return", head=f"{HEAD}{line}\n")).feedback


@pytest.mark.parametrize(
    ("launch", "message"),
    [
        ('{"other": {"grid": ("B",)}}', "no @triton.jit function `other`"),
        ('{"attend": {"grid": ("B", "H", "G", "n")}}', "one to three axes"),
        ('{"attend": {"grid": "B"}}', "maps a kernel to its grid"),
        ('{"attend": {"grid": ("Q",)}}', "'Q' is none of"),
        ('{"attend": {"grid": ("B + 1",)}}', "is none of"),
        ('{"attend": {"grid": ("B ** 2",)}}', "is none of"),
        ('{"attend": {"grid": (1.5,)}}', "is none of"),
        ('{"attend": {"grid": ("B",), "num_warps": 3}}', "allowed: num_warps in [1, 2, 4, 8, 16]"),
        ('{"attend": {"grid": ("B",), "num_warps": True}}', "allowed: num_warps"),
        ('{"attend": {"grid": ("B",), "extern_libs": 1}}', "'extern_libs' = 1"),
        ("{}", "1 to 4 launches"),
        ("3", "1 to 4 launches"),
    ],
)
def test_launches_are_literal_and_within_bounds(launch, message):
    head = HEAD.replace(HEAD[HEAD.index("LAUNCH") :], f"LAUNCH = {launch}\n")
    assert message in refused(kernel("return", head=head)).feedback


@pytest.mark.parametrize(
    "scratch",
    ['{"out": ("float32", "B")}', '{"partial": ("int64", "B")}', '{"partial": "B"}', '{"partial": ("float32",)}', "3"],
)
def test_scratch_is_one_of_two_buffers_of_floats(scratch):
    fault = refused(kernel("return", head=f"{HEAD}SCRATCH = {scratch}\n"))
    assert "SCRATCH may hold partial and stats of float32 or float16" in fault.feedback


def test_a_grid_or_a_scratch_that_is_too_large_is_refused_where_sizes_are_known():
    text = kernel("return", head=HEAD.replace("SPLITS = 2", "SPLITS = 2000000"))
    program = read(Candidate(text + "\nSCRATCH = {'partial': ('float32', 'SPLITS')}\n"))
    with pytest.raises(CandidateFault, match="1 to 1024"):
        program.launches[0].shape({"B": 1, "SPLITS": 2000000})
    with pytest.raises(CandidateFault, match="2000000 elements"):
        program.elements({"SPLITS": 2000000})


def test_what_runs_is_written_anew_without_texts_comments_or_layout():
    odd = kernel(
        '"""def attend(evil): pass"""',
        "x = (  # def attend(",
        "    G",
        ")",
        "return",
        head=HEAD + 'NOTE = """\ndef attend(query):\n    evil\n"""\n',
    )
    text = read(Candidate(odd)).text
    assert "evil" not in text and "#" not in text and text.count("def attend") == 1 and "    x = G\n" in text
    assert read(Candidate(text + '\nSPLITS = 2\nLAUNCH = {"attend": {"grid": ("B",)}}')).text == text


def test_a_text_that_is_nested_too_deeply_is_a_fault_of_the_candidate():
    fault = refused(kernel("x = " + "-" * 3000 + "G"))
    assert fault.status in ("syntax", "interface")


@given(st.text(max_size=200))
def test_any_line_is_read_or_refused_and_never_fails_otherwise(line):
    text = kernel("return") + "\n" + line
    try:
        found = read(Candidate(text)).text
    except CandidateFault as fault:
        assert fault.status in ("syntax", "interface")
    else:
        assert "def attend" in found
