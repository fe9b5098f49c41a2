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


NAMED = {
    "sparse_decode": (
        "hash_attention socket magicpig pqcache double_sparsity lightning_indexer quest streaming_llm uniform dense "
        "oracle_topk oracle_topp oracle_topk_tail pqcache_tail vattention vattention_tight vattention_oracle "
        "vattention_hash vattention_socket vattention_pqcache vattention_double_sparsity vattention_lightning"
    ),
    "kv_eviction": (
        "streaming_llm h2o scissorhands snapkv pyramidkv adakv tova keydiff knorm expected_attention lagkv compactor "
        "criticalkv kvcompose kvzip oracle_future random_tokens"
    ),
    "kv_quantization": "kivi kvquant turboquant_mse turboquant_prod turboquant_tiered int4 float16",
}
"""Methods that the board must show. A seed beyond them may ship before it was measured."""


@pytest.mark.parametrize("name", measured.PROBLEMS)
def test_the_board_that_ships_has_no_gaps(name):
    every = measured.entries(load(name), measured.read(measured.SHIPPED))
    entries = [entry for entry in every if entry.method in NAMED[name].split() or entry.select is not None]
    assert {entry.method for entry in entries} >= set(NAMED[name].split())
    assert [entry.method for entry in entries if entry.select is None or not entry.select.valid] == []
    # A reference that scores with what has not happened yet cannot be put into a model.
    inside = [entry.method for entry in entries if entry.inside is None or not entry.inside.valid]
    assert inside == (["oracle_future"] if name == "kv_eviction" else [])
    assert all(entry.published for entry in entries)
    assert all(entry.title for entry in entries)
