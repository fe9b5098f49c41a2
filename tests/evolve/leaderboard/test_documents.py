"""docs/methods is what the programs and the measurements say."""

from pathlib import Path

import pytest

from vevolve.evaluators.contract import load
from vevolve.evolve.leaderboard import measured
from vevolve.evolve.leaderboard.documents import pages

FOLDER = Path(__file__).parents[3] / "docs" / "methods"


def test_every_page_is_up_to_date():
    written = dict(pages())
    assert sorted(written) == sorted(path.name for path in FOLDER.iterdir())
    old = [name for name, text in written.items() if (FOLDER / name).read_text(encoding="utf-8") != text]
    assert old == [], "write them anew: python -m vevolve.evolve.leaderboard.documents"


@pytest.mark.parametrize("name", measured.PROBLEMS)
def test_the_board_that_ships_has_no_gaps(name):
    entries = measured.entries(load(name), measured.read(measured.SHIPPED))
    assert len(entries) >= 7
    assert [entry.method for entry in entries if entry.select is None or not entry.select.valid] == []
    # A reference that scores with what has not happened yet cannot be put into a model.
    inside = [entry.method for entry in entries if entry.inside is None or not entry.inside.valid]
    assert inside == (["oracle_future"] if name == "kv_eviction" else [])
    assert all(entry.published for entry in entries)
    assert all(entry.title for entry in entries)
