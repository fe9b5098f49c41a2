"""What was measured, what is shown of it, and what is not made up."""

import json
import xml.etree.ElementTree as ElementTree

import pytest

from vevolve.errors import BadInput
from vevolve.evaluators.contract import load
from vevolve.evolve.cli import main
from vevolve.evolve.leaderboard import board, measured
from vevolve.evolve.leaderboard.measured import Measured
from vevolve.evolve.leaderboard.page import inside, page
from vevolve.types import Point, Verdict

PROBLEM = load("sparse_decode")
LABELS = {"64 tokens": 0.1, "128 tokens": 0.2}


def verdict(error, problem=PROBLEM, **more):
    points = tuple(
        Point(label=label, split="select", traffic=traffic, error=error * (0.2 / traffic), error_worst=1.0)
        for label, traffic in LABELS.items()
    )
    return Verdict(valid=True, stage="select", points=points, problem=problem.hash, **more)


def one(method, error, **more):
    ids = {entry.method: entry.candidate.id for entry in measured.entries(PROBLEM, [])}
    fields = {"problem": "sparse_decode", "method": method, "id": ids[method], "stage": "select"}
    return Measured(**{**fields, "verdict": verdict(error), **more})


def rows(found, label="128 tokens", certificates=None):
    return board.rows(PROBLEM, measured.entries(PROBLEM, found), label, certificates or {})


def test_methods_stand_by_error_and_references_after_them():
    found = rows([one("quest", 0.3), one("streaming_llm", 0.9), one("uniform", 0.5), one("dense", 0.0)])
    shown = [row["method"] for row in found if row["valid"]]
    assert shown == ["quest", "uniform", "streaming_llm", "dense"]
    assert [row["reference"] for row in found] == sorted(row["reference"] for row in found)


def test_a_method_that_was_not_measured_has_a_row_that_says_so():
    (row,) = [row for row in rows([]) if row["method"] == "quest"]
    assert not row["valid"]
    assert row["at"] == {}
    assert board.cells(PROBLEM, row)["note"] == "not measured yet"
    assert board.cells(PROBLEM, row)["error"] == "-"


def test_an_invalid_method_says_why():
    fault = Verdict(valid=False, status="crash", feedback="it raised\nmore", problem=PROBLEM.hash)
    (row,) = [row for row in rows([one("quest", 1, verdict=fault)]) if row["method"] == "quest"]
    assert board.cells(PROBLEM, row)["note"] == "crash: it raised"


def test_what_another_version_measured_is_stale_and_gives_way_to_the_present_one():
    old = one("quest", 0.3).model_copy(update={"verdict": verdict(0.3).model_copy(update={"problem": "other"})})
    other_program = one("quest", 0.4, id="0" * 64)
    for earlier in (old, other_program):
        (alone,) = [row for row in rows([earlier]) if row["method"] == "quest"]
        assert alone["stale"]
        assert board.cells(PROBLEM, alone)["method"] == "quest*"
        (both,) = [row for row in rows([earlier, one("quest", 0.25)]) if row["method"] == "quest"]
        assert not both["stale"]
        assert both["at"]["error"] == pytest.approx(0.25)


def test_the_model_stage_stands_beside_the_traces():
    figures = {"perplexity": 8.0, "perplexity_dense": 4.0, "kl": 0.5, "accuracy": 0.75, "questions_dense": 8}
    inside = Verdict(
        valid=True, problem=PROBLEM.hash,
        points=(Point(label="128 tokens", split="select", family="model", traffic=0.2, error=0.5, **figures),),
    )  # fmt: skip
    found = rows([one("quest", 0.3), one("quest", 0, stage="model", model="smollm2", verdict=inside)])
    (row,) = [row for row in found if row["method"] == "quest"]
    cells = board.cells(PROBLEM, row)
    assert (cells["perplexity"], cells["KL"], cells["answers"]) == ("2x", "0.5", "6/8")
    assert "perplexity" in board.columns(PROBLEM, found)
    assert "perplexity" not in board.columns(PROBLEM, rows([one("quest", 0.3)]))


def test_thousands_are_written_out():
    (row,) = [row for row in rows([one("quest", 0.3)]) if row["method"] == "quest"]
    shown = [board.cells(PROBLEM, {**row, "at": {"index_bits": bits}})["index bits"] for bits in (1503.1, 999.4, 32.5)]
    assert shown == ["1503", "999", "32.5"]


def test_a_certificate_is_shown_with_its_program():
    (entry,) = [entry for entry in measured.entries(PROBLEM, []) if entry.method == "quest"]
    found = rows([one("quest", 0.3)], certificates={entry.candidate.id: "(.1, .1) certified"})
    assert [row["certificate"] for row in found if row["method"] == "quest"] == ["(.1, .1) certified"]
    assert all(row["certificate"] is None for row in found if row["method"] != "quest")


def test_measurements_survive_the_file_and_a_damaged_one_is_named(tmp_path):
    path = tmp_path / "own" / "kept.json"
    assert measured.read(path) == []
    found = [one("quest", 0.3), one("dense", 0.0)]
    measured.write(path, found)
    assert measured.read(path) == found
    path.write_text(path.read_text()[:-40])
    with pytest.raises(BadInput, match=r"kept\.json holds no measurements"):
        measured.read(path)


def test_a_program_may_not_take_the_name_of_a_method(tmp_path):
    (tmp_path / "quest.py").write_text("def select(query): pass\n")
    with pytest.raises(BadInput, match="a method named 'quest' already"):
        measured.methods(PROBLEM, [tmp_path / "quest.py"])


def test_the_page_is_whole_and_text_of_programs_is_escaped(tmp_path):
    hostile = tmp_path / "mine.py"
    hostile.write_text('"""<script>alert(1)</script>"""\nPUBLISHED = "<img src=x onerror=alert(2)>"\n')
    found = [
        one("quest", 0.3),
        Measured(problem="sparse_decode", method="mine", id="1", stage="select", verdict=verdict(0.2)),
    ]
    shown = board.rows(PROBLEM, measured.entries(PROBLEM, found, [hostile]), "128 tokens", {})
    text = page([(PROBLEM, shown)])
    assert "<script" not in text
    assert "<img" not in text
    assert "&lt;img src=x" in text
    drawing = ElementTree.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])
    assert len(drawing.findall("{*}polyline")) == 2
    assert len(drawing.findall("{*}circle")) == 4


MINE = "import numpy as np\ndef pack(n):\n    out = np.full((n, 3), 1e-9)\n    out[:, 0] = np.linspace(.1, .9, n)\n"
MINE += "    out[:, 1] = .5\n    return out\n"


def test_a_program_of_ones_own_is_measured_once_and_shown(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    arguments = ["leaderboard", "mine.py", "-p", "circle_packing", "--point", "26 circles", "--json"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert "measuring circle_packing/mine" in err
    assert [row["method"] for row in json.loads(out)] == ["grid", "mine"]
    assert main(arguments) == 0
    out, err = capsys.readouterr()
    assert err == ""
    (tmp_path / "mine.py").write_text(MINE.replace("1e-9", "2e-9"))
    assert main(arguments) == 0
    assert "measuring circle_packing/mine" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["mine.py"], "Name the problem that your programs solve"),
        (["-p", "circle_packing", "--point", "25 circles"], "Did you mean '26 circles'?"),
        (["-p", "circle_packing", "--model", "smollm2", "--point", "26 circles"], "circle_packing has no model stage"),
    ],
)
def test_misuse_gets_one_line(arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(MINE)
    assert main(["leaderboard", *arguments]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in last


def test_figures_of_another_model_are_not_mixed_in():
    inside = Verdict(
        valid=True, problem=PROBLEM.hash,
        points=(Point(label="128 tokens", split="select", family="model", traffic=0.2, error=0.5, kl=0.7),),
    )  # fmt: skip
    found = [one("quest", 0, stage="model", model="another", verdict=inside)]
    ours, theirs = (measured.entries(PROBLEM, found, model=model) for model in ("smollm2", "another"))
    assert [entry.method for entry in ours if entry.inside is not None] == []
    assert [entry.method for entry in theirs if entry.inside is not None] == ["quest"]


def test_a_page_and_json_can_be_had_together(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["leaderboard", "-p", "kv_quantization", "--html", "board.html", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["method"] for row in rows} == set(load("kv_quantization").seeds())
    assert all(row["method"] in (tmp_path / "board.html").read_text() for row in rows)


def test_a_model_that_cannot_be_loaded_ends_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["leaderboard", "-p", "kv_quantization", "--model", "no/such-model"]) != 0
    assert "no/such-model" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_problem_that_names_no_point_is_ranked_at_its_first(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["leaderboard", "-p", "circle_packing"]) == 0
    assert "circle_packing at 26 circles" in capsys.readouterr().out


def inside_at(**errors):
    """A verdict inside a model, with a point for each label."""
    points = tuple(
        Point(label=label.replace("_", " ").strip(), split="select", family="model", traffic=error, error=error,
              gold_logprob=-error)
        for label, error in errors.items()
    )  # fmt: skip
    return Verdict(valid=True, stage="model", problem=PROBLEM.hash, points=points)


def test_budgets_judged_inside_a_model_one_after_another_make_one_curve():
    first = one("quest", 0, stage="model", model="smollm2", verdict=inside_at(_128_tokens=0.2))
    second = one("quest", 0, stage="model", model="smollm2", verdict=inside_at(_64_tokens=0.4, _128_tokens=0.3))
    both = measured.joined(first, second)
    assert [(point.label, point["error"]) for point in both.verdict.points] == [("64 tokens", 0.4), ("128 tokens", 0.3)]
    third = one("quest", 0, stage="model", model="smollm2", verdict=inside_at(_32_tokens=0.8))
    every = measured.joined(both, third)
    assert measured.about(every, PROBLEM, "quest", "smollm2", "32 tokens")
    assert not measured.about(both, PROBLEM, "quest", "smollm2", "32 tokens")
    drawn = inside(PROBLEM, rows([every]))
    (line,) = ElementTree.fromstring(drawn).findall("{*}polyline")
    across = [float(pair.split(",")[0]) for pair in line.get("points").split()]
    assert len(across) == 3
    assert across == sorted(across)
    for label, error in (("32 tokens", 0.8), ("128 tokens", 0.3)):
        (row,) = [row for row in rows([every], label) if row["method"] == "quest"]
        assert row["inside"]["error"] == error


def test_what_failed_inside_a_model_is_not_joined_to_what_did_not():
    good = one("quest", 0, stage="model", model="smollm2", verdict=inside_at(_128_tokens=0.2))
    bad = good.model_copy(update={"verdict": Verdict(valid=False, status="crash", problem=PROBLEM.hash)})
    assert measured.joined(good, bad) == bad
    assert measured.joined(bad, good) == good


def test_a_new_verdict_takes_the_place_of_the_one_before_it():
    found = [one("quest", 0.3), one("dense", 0.0)]
    assert measured.replaced(found, one("quest", 0.2)) == [one("quest", 0.2), one("dense", 0.0)]
    assert measured.replaced(found, one("uniform", 0.9)) == [*found, one("uniform", 0.9)]
