import re
from itertools import combinations

import pytest

from vevolve.errors import BadInput
from vevolve.evaluators.sparse_decode import texts
from vevolve.types import Seed

SEED = Seed(b"s" * 16)
SPLITS = ("search", "select", "sealed")


def origin(name):
    """A module counts once, whether as source or as docstrings."""
    kind, _, which = name.partition(":")
    return which if kind in ("code", "docstrings") else name


def test_splits_share_no_source():
    owned = {
        split: {origin(name) for kind in ("prose", "code") for name in texts.sources(split, kind)} for split in SPLITS
    }
    assert all(len(names) > 10 for names in owned.values())
    for one, other in combinations(SPLITS, 2):
        assert not owned[one] & owned[other]


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", ["prose", "code"])
def test_a_drawn_passage_is_long_enough_names_its_source_and_repeats(split, kind):
    drawn = [texts.draw(split, kind, SEED.derive(number), characters=20_000) for number in range(4)]
    assert all(len(passage.text) >= 20_000 and passage.source for passage in drawn)
    assert drawn[0] == texts.draw(split, kind, SEED.derive(0), characters=20_000)
    assert len({passage.text for passage in drawn}) == 4


def short(limit):
    return lambda found: len(found.user) <= limit


@pytest.mark.parametrize("task", texts.TASKS)
def test_a_needle_prompt_follows_rulers_rules(task):
    for number in range(5):
        found = texts.needle(task, "search", SEED.derive(number), short(5_000))
        keys = re.findall(r"One of the special magic numbers for ([a-z]+-[a-z]+) is: (\d{7})\.", found.user)
        assert len({key for key, _ in keys}) == len(keys) == texts.TASKS[task][1]
        key = found.statement.split(" for ")[1].split(" is")[0]
        assert (key, found.answer) in keys
        assert found.user.count(found.statement) == 1
        assert found.user.endswith(f"What is the special magic number for {key} mentioned in the provided text?")
        assert found.answer_prefix.endswith(f"{key} mentioned in the provided text is")
        assert found.depth in texts.DEPTHS
        assert found.answer not in found.user.replace(found.statement, "")


def test_a_needle_stands_at_its_depth():
    for number in range(8):
        found = texts.needle("niah_single_1", "search", SEED.derive(number), short(20_000))
        begin = found.user.index("The grass")
        end = found.user.rindex("What is the special")
        place = (found.user.index(found.statement) - begin) / (end - begin)
        assert abs(place - found.depth) < 0.05


def test_the_haystack_is_as_long_as_fits():
    asked = []

    def fits(found):
        asked.append(len(found.user))
        return len(found.user) <= 9_000

    found = texts.needle("niah_single_1", "search", SEED, fits)
    assert 9_000 - len(texts.NOISE) < len(found.user) <= 9_000
    assert max(asked) < 20_000  # doubling, then bisection: no prompt far beyond the limit is built


def test_what_cannot_be_made_is_refused():
    with pytest.raises(BadInput, match="niah_single_1"):
        texts.needle("niah_multikey_9", "search", SEED, short(5_000))
    with pytest.raises(BadInput, match="Allow more tokens"):
        texts.needle("niah_single_1", "search", SEED, short(10))
    with pytest.raises(BadInput, match="'prose' or 'code'"):
        texts.draw("search", "poem", SEED)


def test_the_topics_text_is_the_documentation_that_python_ships():
    whole = texts.topics()
    assert "pydoc_data.topics" in whole.source
    assert whole.text.startswith(texts.topics(500).text)
    assert len(whole.text) > 100_000
