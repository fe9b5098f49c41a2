"""Settings: what goes over what, and what is refused."""

from __future__ import annotations

import tomllib

import pytest

from vevolve.errors import BadInput, UnknownName
from vevolve.evolve.config import Config, to_toml
from vevolve.evolve.proposers.settings import ProposerSettings


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_flags_go_over_the_environment_over_the_file_over_defaults(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("evaluations = 4\nlag = 4\nretries = 4\n")
    config = Config.load(
        {"evaluations": 1, "lag": None},
        environment={"VEVOLVE_EVALUATIONS": "3", "VEVOLVE_LAG": "3", "HOME": "/"},
        file=file,
    )
    assert (config.evaluations, config.lag, config.retries) == (1, 3, 4)
    assert config.timeout == Config().timeout


def test_what_is_named_for_this_session_goes_over_an_earlier_one_and_a_file_that_is_merely_there_does_not(tmp_path):
    (tmp_path / "vevolve.toml").write_text("evaluations = 5\nretries = 5\n")
    (tmp_path / "named.toml").write_text('seed = "sparse_decode/quest"\nusd = 4.0\nlag = 4\n')
    base = {"seed": "circle_packing/grid", "directory": "here", "evaluations": 2, "lag": 2, "usd": 2.0, "retries": 2}
    environment = {"VEVOLVE_LAG": "3", "VEVOLVE_DIRECTORY": "elsewhere"}
    config = Config.load({"evaluations": 1}, environment=environment, file=tmp_path / "named.toml", base=base)
    assert (config.evaluations, config.lag, config.usd, config.retries) == (1, 3, 4.0, 2)
    assert (config.seed, config.directory) == ("circle_packing/grid", "here")
    assert Config.load({}, environment={}, base=base).evaluations == 2


def test_a_file_in_the_working_directory_is_read(tmp_path):
    (tmp_path / "vevolve.toml").write_text('style = "rewrite"\nworkers = "inline"\n[prices]\n"gpt-x" = [2.5, 10]\n')
    config = Config.load(environment={})
    assert (config.style, config.workers) == ("rewrite", "inline")
    assert config.prices["gpt-x"].output == 10


def test_the_environment_gives_lists_and_numbers():
    config = Config.load(
        environment={
            "VEVOLVE_MODELS": "offline=3, openai:gpt-x",
            "VEVOLVE_WORKERS": "2",
            "VEVOLVE_PRICES": '{"gpt-x": [1, 2]}',
            "VEVOLVE_ALLOW_DEGRADED": "true",
        }
    )
    assert config.weighted_models == (("offline", 3.0), ("openai:gpt-x", 1.0))
    assert (config.workers, config.allow_degraded, config.prices["gpt-x"].input) == (2, True, 1)


@pytest.mark.parametrize(
    ("flags", "environment", "toml", "nearest"),
    [
        ({"evaluatons": 1}, {}, "", "evaluations"),
        ({}, {"VEVOLVE_WORKER": "1"}, "", "workers"),
        ({}, {}, "usdd = 1", "usd"),
    ],
    ids=["flag", "environment", "file"],
)
def test_an_unknown_key_is_refused_with_the_nearest(tmp_path, flags, environment, toml, nearest):
    (tmp_path / "vevolve.toml").write_text(toml)
    with pytest.raises(UnknownName, match=f"Did you mean '{nearest}'") as error:
        Config.load(flags, environment=environment)
    assert "\n" not in str(error.value)


def test_prices_replace_those_of_the_same_models_alone():
    base = {"prices": {"a": [1, 2], "b": [3, 4]}}
    environment = {"VEVOLVE_PRICES": '{"c": [5, 6]}'}
    config = Config.load({"prices": {"b": [7, 8]}}, environment=environment, base=base)
    assert {name: (price.input, price.output) for name, price in config.prices.items()} == {
        "a": (1, 2), "b": (7, 8), "c": (5, 6)
    }  # fmt: skip


def test_a_base_url_belongs_to_the_provider_that_it_was_given_for():
    url = "http://localhost:1/v1"
    kept = Config.load({"models": ("openai:x=0.5", "offline"), "base_url": url}, environment={}).model_dump()
    assert kept["base_url"] == f"openai={url}"
    other = Config.load({"models": ("anthropic:y",)}, environment={}, base=kept)
    settings = ProposerSettings.of(other)
    assert (settings.server("openai"), settings.server("anthropic")) == (url, None)
    assert Config(models=("offline",), base_url=url).base_url is None, "who might be asked later is not known"
    assert Config(models=("openai:x", "anthropic:y"), base_url=f"anthropic={url}").base_url == f"anthropic={url}"
    with pytest.raises(BadInput, match=r"keys of anthropic and openai.*ANTHROPIC_BASE_URL"):
        Config(models=("openai:x", "anthropic:y"), base_url=url)
    with pytest.raises(UnknownName, match="Did you mean 'openai'"):
        Config(models=("openai:x",), base_url=f"opnai={url}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"evaluations": 0}, "evaluations.*greater than or equal to 1"),
        ({"evaluations": "many"}, "evaluations.*'many'"),
        ({"usd": -1}, "usd"),
        ({"workers": 0}, "'workers': expected a number of at least 1, or inline; found 0"),
        ({"workers": "outline"}, "'workers': expected a number of at least 1, or inline; found 'outline'"),
        ({"style": "poem"}, "style.*'poem'"),
        ({"models": ()}, "At least one model"),
        ({"models": ("openai:x=0",)}, "weight.*above 0"),
        ({"prices": "{"}, "prices"),
        ({"prices": {"x": [1]}}, "prices"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_setting(flags, message):
    with pytest.raises(BadInput, match=message) as error:
        Config.load(flags, environment={})
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_toml_or_is_not_there_is_one_line(tmp_path):
    (tmp_path / "bad.toml").write_text("evaluations =")
    with pytest.raises(BadInput, match="not valid TOML"):
        Config.load(environment={}, file=tmp_path / "bad.toml")
    with pytest.raises(BadInput, match="Cannot read"):
        Config.load(environment={}, file=tmp_path / "none.toml")


def test_a_weight_follows_the_last_equals_sign_if_it_is_a_number():
    config = Config(models=("mailbox:a=b", "openai:m=0.25"))
    assert config.weighted_models == (("mailbox:a=b", 1.0), ("openai:m", 0.25))


@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config.load({"models": ("openai:gpt-x=2", 'mailbox:/tmp/"quoted" \\ é'), "usd": 1.5, "workers": "inline"}),
        Config.load({"prices": {"gpt-x": [1, 2.5], "*": [0, 0]}, "directory": "runs/a b"}),
    ],
)
def test_settings_survive_toml_and_json(config, tmp_path):
    (tmp_path / "config.toml").write_text(to_toml(config))
    assert tomllib.loads((tmp_path / "config.toml").read_text())
    assert Config.load(environment={}, file=tmp_path / "config.toml") == config
    assert Config.load(config.model_dump(mode="json"), environment={}) == config
