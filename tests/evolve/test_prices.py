"""Prices: the table that ships, the user's own over it, and what a call costs."""

from __future__ import annotations

import datetime

import pytest
from pydantic import ValidationError

from vevolve.evolve.prices import Price, Usage, price, table


def test_a_cost_counts_cached_and_written_input_at_their_own_price():
    one = Price(input=10.0, output=40.0, cached_input=1.0, cache_write=12.5)
    usage = Usage(input_tokens=1_000_000, output_tokens=500_000, cached_tokens=200_000, written_tokens=100_000)
    assert one.cost(usage) == pytest.approx(7.0 + 0.2 + 1.25 + 20.0)


def test_without_prices_of_the_cache_all_input_costs_the_same():
    usage = Usage(input_tokens=1000, output_tokens=0, cached_tokens=400, written_tokens=400)
    assert Price(input=10.0, output=0.0).cost(usage) == pytest.approx(0.01)


def test_more_cached_tokens_than_input_are_not_believed():
    one = Price(input=10.0, output=0.0, cached_input=0.0)
    assert one.cost(Usage(input_tokens=10, cached_tokens=10**9, written_tokens=10**9)) == 0.0


def test_a_dated_name_has_the_price_of_the_name_without_its_date():
    assert price("gpt-4o-2024-08-06") == price("gpt-4o") is not None
    assert price("claude-haiku-4-5-20251001") == price("claude-haiku-4-5@20251001") == price("claude-haiku-4-5")


@pytest.mark.parametrize("model", ["gpt-4o-turbo-max", "gpt-4o-mini-x", "gpt", "openai/gpt-4o", "llama3:8b", "", "*"])
def test_no_other_name_is_guessed(model):
    assert price(model) is None


def test_the_users_prices_go_first_and_a_star_stands_for_every_model():
    mine = {"gpt-4o": Price(input=1, output=2), "*": Price(input=3, output=4)}
    assert price("gpt-4o", mine) == mine["gpt-4o"]
    assert price("gpt-4o-2024-08-06", mine) == mine["gpt-4o"]
    assert price("anything", mine) == mine["*"]


def test_every_shipped_price_is_dated_sourced_and_plausible():
    assert len(table()) > 30
    for model, one in table().items():
        assert datetime.date(2025, 1, 1) < datetime.date.fromisoformat(one.as_of), model
        assert one.source, model
        assert 0 < one.input < one.output <= 200, model
        assert (one.cached_input or 0) <= one.input <= (one.cache_write or one.input), model


def test_a_pair_is_a_price():
    assert Price.model_validate((1.0, 2.0)) == Price(input=1.0, output=2.0)


@pytest.mark.parametrize("figures", [(-1, 2), (1, float("nan")), (1, float("inf")), (1, 2, 3)])
def test_a_price_that_is_none_is_refused(figures):
    with pytest.raises(ValidationError):
        Price.model_validate(figures)
