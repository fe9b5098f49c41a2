"""The static alarm names what looks hostile, stays silent on honest programs, and changes no verdict."""

import textwrap
from pathlib import Path

import pytest

import vevolve
from vevolve.evaluators.alarm import MOST, alarms, notice
from vevolve.evaluators.circle_packing.problem import problem
from vevolve.evaluators.contract import load
from vevolve.evaluators.examination import examine
from vevolve.evaluators.testing import PlainSubject
from vevolve.types import Candidate, Seed

SEEDS = sorted((Path(vevolve.__file__).parent / "seeds").glob("*/*.py"))


def seen(source):
    return alarms(Candidate(textwrap.dedent(source)).tree)


@pytest.mark.parametrize("path", SEEDS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_no_shipped_seed_sets_it_off(path):
    assert alarms(Candidate(path.read_text()).tree, load(path.parent.name).modules) == []


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("import torch, os.path", "imports os.path"),
        ("from subprocess import run", "imports subprocess"),
        ("from torch.utils import cpp_extension\ncpp_extension.load('x')", "reads a file (.load)"),
        ("import torch.utils.cpp_extension", "reaches into torch.utils.cpp_extension"),
        ("exec('1')", "runs text as code (exec)"),
        ("open('/etc/passwd')", "opens a file (open)"),
        ("__import__('o' + 's')", "imports by name (__import__)"),
        ("().__class__.__bases__[0].__subclasses__()", "walks by __subclasses__"),
        ("__builtins__['open']", "walks by __builtins__"),
        ("getattr(x, '_' + 'C')", "getattr of a name that is made as it runs"),
        ("getattr(x, '__dict__')", "getattr of '__dict__'"),
        ("setattr(x, 'keys', 1)", "changes an object (setattr of 'keys')"),
        ("import torch\ntorch._C", "reaches below torch (._C)"),
        ("x._getframe().f_back", "walks the stack (._getframe)"),
        ("import torch\ntorch.manual_seed(0)", "takes randomness that is not in rng (.manual_seed)"),
        ("def f():\n    global SEEN\n    SEEN = 1", "keeps SEEN between calls"),
        ("def f(held={}): pass", "keeps a default of `f` between calls"),
        ("import functools\n@functools.lru_cache(8)\ndef f(): pass", "remembers what `f` returned (@lru_cache)"),
        ("SEEN = {}\ndef f(x):\n    SEEN[x] = 1", "keeps something in SEEN between calls"),
        ("SEEN = []\ndef f(x):\n    SEEN.append(x)", "keeps something in SEEN between calls"),
    ],
)
def test_it_names_what_looks_hostile_and_where(source, what):
    last = source.count("\n") + 1
    assert any(line.endswith(what) and 1 <= int(line.split()[1].rstrip(":")) <= last for line in seen(source))


@pytest.mark.parametrize(
    ("imported", "language"),
    [
        ("import triton\nimport triton.language as tl", "tl"),
        ("import triton", "triton.language"),
        ("import triton.language", "triton.language"),
        ("import triton as t", "t.language"),
        ("from triton import language", "language"),
        ("from triton import language as words", "words"),
    ],
)
def test_a_kernel_that_loads_from_memory_reads_no_file(imported, language):
    source = f"{imported}\ndef attend(keys):\n    return {language}.load(keys)\n"
    assert alarms(Candidate(source).tree, frozenset({"triton"})) == []
    named = [found.partition(": ")[2] for found in seen(source)]
    assert named
    assert all(found.startswith("imports triton") for found in named)


def test_another_load_beside_a_kernel_is_still_named():
    source = "import triton.language as tl\nimport torch\nheld = torch.load('x')\ntl = torch\n"
    assert alarms(Candidate(source).tree, frozenset({"triton"})) == ["line 3: reads a file (.load)"]


def test_modules_of_a_problem_are_named_in_the_feedback_of_others_alone():
    source = "import triton\n\n" + problem.seed("grid").read_text()
    candidate = PlainSubject(Candidate(source))

    class OfKernels(type(problem)):
        modules = frozenset({"triton"})

    told, quiet = (examine(one, candidate, Seed(b"alarm")).feedback for one in (problem, OfKernels()))
    assert "line 1: imports triton" in told
    assert "Static alarm" not in quiet


def test_ordinary_code_is_not_named():
    source = """
    import math
    import torch
    from torch.nn import functional

    PAGE = 16

    def select(query, cache, budget, rng):
        held = {}
        held["scores"] = getattr(budget, "tokens", None)
        self = torch.nn.Module.__init__
        fixed = torch.randn(4, generator=torch.Generator().manual_seed(7))
        return [fixed, list(range(3)).append(1), math.pi, functional.relu(query)]
    """
    assert seen(source) == []


def test_a_long_list_is_cut():
    source = "\n".join(f"import os.x{place}" for place in range(40))
    text = notice(Candidate(source).tree)
    assert text.count("imports") == MOST and f"and {40 - MOST} more" in text and len(text) < 1000


def test_it_stands_in_the_feedback_and_changes_no_verdict():
    honest = problem.seed("grid").read_text()
    verdicts = [
        examine(problem, PlainSubject(Candidate(source)), Seed(b"alarm"))
        for source in (honest, f"{honest}\n\ndef unused():\n    import socket\n    exec('1')\n")
    ]
    assert "Static alarm" not in verdicts[0].feedback
    assert verdicts[1].feedback.startswith(verdicts[0].feedback)
    assert "imports socket" in verdicts[1].feedback and "runs text as code (exec)" in verdicts[1].feedback
    assert [verdict.valid for verdict in verdicts] == [True, True]
    assert verdicts[0].points == verdicts[1].points


def test_it_goes_with_an_invalid_verdict_and_not_with_a_program_that_does_not_parse():
    crash = Candidate("import os\ndef pack(n): raise ValueError('no')")
    crashed = examine(problem, PlainSubject(crash), Seed(b"alarm"))
    assert crashed.status == "crash" and "line 1: imports os" in crashed.feedback
    broken = examine(problem, PlainSubject(Candidate("import os\ndef pack(n:")), Seed(b"alarm"))
    assert broken.status == "syntax" and "alarm" not in broken.feedback
