"""A specification names a proposer; what it cannot name is refused with what it could."""

from __future__ import annotations

import pytest
from tests.evolve.proposers.conftest import request, settings

from vevolve.errors import BadInput, UnknownName
from vevolve.evolve.config import Config
from vevolve.evolve.prices import Price
from vevolve.evolve.proposers.open import kinds, open_proposer
from vevolve.evolve.proposers.settings import ProposerSettings


def test_kinds_are_found_by_file_name():
    assert kinds() == ["anthropic", "mailbox", "offline", "openai", "replay"]


def test_offline_opens_without_settings_and_proposes():
    proposer = open_proposer("offline", settings())
    assert proposer.name == "offline"
    assert "```python" in proposer.propose(request()).text
    with pytest.raises(BadInput, match="found offline:x"):
        open_proposer("offline:x", settings())


def test_an_unknown_kind_offers_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'anthropic'") as unknown:
        open_proposer("antropic:claude", settings())
    assert unknown.value.nearest == "anthropic"


@pytest.mark.parametrize("spec", ["contract", "settings:x", "open", "hosted", "../x", ""])
def test_modules_that_are_no_proposers_are_no_kinds(spec):
    with pytest.raises(UnknownName):
        open_proposer(spec, settings())


def test_a_name_keeps_its_own_colons(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abcdefgh")
    assert open_proposer("openai:llama3:8b", settings()).name == "openai:llama3:8b"


def test_settings_are_read_off_a_runs_configuration():
    config = Config(timeout=7.0, retries=1, max_output_tokens=99, base_url="openai=http://h", prices={"m": (1.0, 2.0)})
    found = ProposerSettings.of(config)
    assert (found.timeout, found.retries, found.max_output_tokens, found.base_url) == (7.0, 1, 99, "openai=http://h")
    assert found.prices == {"m": Price(input=1.0, output=2.0)}
    assert ProposerSettings.of(found) is found
