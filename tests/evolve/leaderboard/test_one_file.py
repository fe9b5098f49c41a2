"""A new method is one file under seeds/: nothing else has to know of it."""

from __future__ import annotations

import json
import shutil

import pytest

from vevolve import registry
from vevolve.evolve.cli import main
from vevolve.evolve.leaderboard import measured
from vevolve.evolve.leaderboard.documents import pages

LOUDEST = '''"""Loudest: the tokens with the largest values stay.

    score_j = |v_j|.
"""

PUBLISHED = "none"


def score(values):
    """Return the norm of each value, [H, n]."""
    return values.norm(dim=2)
'''


@pytest.fixture
def dropped(tmp_path, monkeypatch):
    """The package with a copy of the seeds' folder into which one file was dropped."""
    for one in registry.PACKAGE.iterdir():
        if one.name != "seeds":
            (tmp_path / "package").mkdir(exist_ok=True)
            (tmp_path / "package" / one.name).symlink_to(one.resolve())
    shutil.copytree(registry.PACKAGE / "seeds", tmp_path / "package" / "seeds")
    (tmp_path / "package/seeds/kv_eviction/loudest.py").write_text(LOUDEST)
    before = dict(pages())
    monkeypatch.setattr(registry, "PACKAGE", tmp_path / "package")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    return before


def test_a_file_dropped_among_the_seeds_is_measured_and_stands_on_the_leaderboard(dropped, capsys):
    assert main(["leaderboard", "-p", "kv_eviction", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == ["measuring kv_eviction/loudest (1 of 1)"]
    rows = {row["method"]: row for row in json.loads(out)}
    assert rows["loudest"]["valid"]
    assert rows["loudest"]["title"] == "Loudest: the tokens with the largest values stay."
    assert rows["streaming_llm"]["at"]["error"] < rows["loudest"]["at"]["error"] < 10
    assert len(rows["loudest"]["points"]) == len(rows["knorm"]["points"])


def test_the_pages_that_ship_do_not_wait_for_it(dropped):
    assert "loudest" in registry.seed_names("kv_eviction")
    assert dict(pages()) == dropped


def test_what_was_not_measured_says_so_and_only_what_is_named_is_measured(dropped, capsys):
    assert main(["leaderboard", "-p", "kv_eviction", "--only", "knorm", "--fresh", "--json"]) == 0
    out, err = capsys.readouterr()
    assert err.splitlines() == ["measuring kv_eviction/knorm (1 of 1)"]
    rows = {row["method"]: row for row in json.loads(out)}
    assert rows["loudest"]["status"] == "not measured yet"
    (new,) = measured.read(measured.OWN)
    assert new.key == ("kv_eviction", "knorm", "select", "")
    assert rows["knorm"]["at"]["error"] == next(p["error"] for p in new.verdict.points if p.label == "keep 1/4")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-p", "kv_eviction", "--only", "knrm"], "Did you mean 'knorm'?"),
        (["--only", "knorm"], "Name the problem of the methods that --only measures"),
    ],
)
def test_a_name_that_measures_nothing_is_one_line(arguments, says, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["leaderboard", *arguments]) != 0
    err = capsys.readouterr().err
    assert says in err
    assert err.count("\n") == 1
