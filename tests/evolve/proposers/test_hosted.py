"""Both providers against a server that answers well, badly, late or not at all."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from tests.evolve.proposers.conftest import KEY, VARIABLES, Answer, Server, good, request, settings

from vevolve.errors import BadInput, ProposerError
from vevolve.evolve.config import Config
from vevolve.evolve.prices import Price
from vevolve.evolve.proposers.contract import Prompt, ProposalFailed, Proposer
from vevolve.evolve.proposers.hosted import checked_key, retry_after, shown
from vevolve.evolve.proposers.open import open_proposer

SILENCE = Answer(body={}, sleep=60.0)
PATIENCE_S = 2.0
"""More than any answer but a silence takes, on a busy machine too."""
PRICES = {"m": Price(input=10.0, output=40.0, cached_input=1.0)}


@pytest.fixture(params=["openai", "anthropic"])
def provider(request, monkeypatch) -> str:
    monkeypatch.setenv(VARIABLES[request.param], KEY)
    return request.param


def opened(provider: str, server: Server, **changes) -> Proposer:
    return open_proposer(f"{provider}:m", settings(base_url=server.url, **changes))


# -------------------------------------------------------------------------------------------------------------- success


def test_an_answer_comes_with_its_tokens_and_cost(provider, server):
    server.answers(good(provider))
    reply = opened(provider, server, prices=PRICES).propose(request())
    assert (reply.text, reply.model, reply.input_tokens, reply.output_tokens) == ("Idea: y", "m-1", 1000, 50)
    assert reply.usd == pytest.approx((800 * 10 + 200 * 1 + 50 * 40) / 1e6)


def test_the_question_arrives_as_asked(provider, server):
    server.answers(good(provider))
    opened(provider, server, max_output_tokens=77).propose(request(user="Grüße 🎈"))
    seen = server.seen[0]
    assert KEY in seen["headers"]
    assert seen["body"]["model"] == "m"
    assert seen["body"]["messages"][-1] == {"role": "user", "content": "Grüße 🎈"}
    assert seen["body"]["max_tokens"] == 77
    assert "temperature" not in seen["body"]
    assert "You improve programs." in str(seen["body"])
    assert seen["path"].endswith({"openai": "/chat/completions", "anthropic": "/v1/messages"}[provider])


def test_a_temperature_is_sent_where_one_is_set(provider, server):
    server.answers(good(provider))
    opened(provider, server, temperature=0.5).propose(request())
    assert server.seen[0]["body"]["temperature"] == 0.5


def test_a_model_without_a_price_costs_none_and_one_without_usage_is_charged_by_length(provider, server):
    server.answers(good(provider, text="y" * 300, usage=None))
    assert opened(provider, server).propose(request()).usd is None
    reply = opened(provider, server, prices=PRICES).propose(request())
    assert reply.output_tokens == 0
    assert reply.usd == pytest.approx((11 * 10 + 101 * 40) / 1e6)  # 32 characters were sent


def test_requests_of_many_threads_get_their_own_answers(provider, server):
    server.answers(Answer(429), *[good(provider)] * 8, Answer(500), good(provider))
    proposer = opened(provider, server)
    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda i: proposer.propose(request(i, user=f"number {i}")), range(24)))
    assert {reply.text for reply in replies} == {"Idea: y"}
    assert {seen["body"]["messages"][-1]["content"] for seen in server.seen} == {f"number {i}" for i in range(24)}


def test_half_a_surrogate_in_an_answer_does_not_reach_the_archive(provider, server):
    server.answers(good(provider, text="a\ud800b"))
    with pytest.raises(ProposalFailed, match="cannot be read"):
        opened(provider, server).propose(request())


def test_an_estimate_is_above_the_cost_of_a_longest_answer(provider, server):
    prompt = Prompt(system="s" * 300, user="u" * 600)
    proposer = opened(provider, server, prices=PRICES, max_output_tokens=1000)
    assert proposer.estimate(prompt) == pytest.approx((301 * 10 + 1000 * 40) / 1e6)
    assert opened(provider, server).estimate(prompt) is None


# -------------------------------------------------------------------------------------------------------------- retries


@pytest.mark.parametrize("status", [429, 500, 503, 529, 408])
def test_a_fault_that_passes_is_tried_again(provider, server, status):
    server.answers(Answer(status, {"error": {"message": "busy"}}), good(provider))
    assert opened(provider, server).propose(request()).text == "Idea: y"
    assert len(server.seen) == 2


def test_retry_after_goes_before_the_back_off(provider, server):
    server.answers(Answer(429, {}, {"Retry-After": "0"}), Answer(429, {}, {"retry-after-ms": "5"}), good(provider))
    assert opened(provider, server, retry_wait=100.0).propose(request()).text == "Idea: y"


def test_a_pause_that_is_too_long_ends_the_request_at_once(provider, server):
    server.answers(Answer(429, {"error": {"message": "come back tomorrow"}}, {"Retry-After": "86400"}))
    with pytest.raises(ProposalFailed, match="429: come back tomorrow"):
        opened(provider, server).propose(request())
    assert len(server.seen) == 1


def test_retries_end(provider, server):
    server.answers(Answer(500, {"error": {"message": "broken"}}))
    with pytest.raises(ProposalFailed, match=r"answered 500: broken\. Given up after 2 retries"):
        opened(provider, server).propose(request())
    assert len(server.seen) == 3


def test_a_silent_server_is_given_up(provider, server):
    server.answers(SILENCE)
    with pytest.raises(ProposalFailed, match=r"did not answer within 0.1 s. Given up after 1 retry\."):
        opened(provider, server, timeout=0.1, retries=1).propose(request())


def test_closing_ends_a_wait(provider, server):
    server.answers(Answer(429, {}, {"Retry-After": "100"}))
    proposer = opened(provider, server)
    threading.Timer(0.2, proposer.close).start()
    with pytest.raises(ProposalFailed, match="was closed"):
        proposer.propose(request())


def test_a_server_that_was_never_there_ends_the_run_and_one_that_went_away_does_not(provider, server):
    with socket.socket() as taken:  # nobody listens there, and nobody else gets the port meanwhile
        taken.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
        proposer = open_proposer(f"{provider}:m", settings(base_url=nowhere, retries=1))
        with pytest.raises(ProposerError, match=f"no connection to {nowhere}.*{provider.upper()}_BASE_URL"):
            proposer.propose(request())

    server.answers(good(provider))
    proposer = opened(provider, server, retries=1)
    proposer.propose(request())
    server.close()
    with pytest.raises(ProposalFailed, match="no connection"):
        proposer.propose(request())


# ------------------------------------------------------------------------------------------------------- for good


def test_a_missing_key_is_said_before_anything_is_sent(server):
    for name, url in (("openai", None), ("anthropic", None), ("anthropic", server.url)):
        with pytest.raises(ProposerError, match=f"set {VARIABLES[name]} to your key"):
            open_proposer(f"{name}:m", settings(base_url=url))


def test_a_compatible_server_of_ones_own_needs_no_key(server, monkeypatch):
    server.answers(good("openai"))
    monkeypatch.setenv("OPENAI_BASE_URL", server.url + "/v1/")
    assert open_proposer("openai:m", settings()).propose(request()).text == "Idea: y"
    assert server.seen[0]["path"] == "/v1/chat/completions"


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, r"the key was refused \(401\). Set {variable} to a valid key."),
        (403, r"may not use this model \(403\): nope. Set {variable} to one that may."),
        (
            404,
            r"no model 'm' at http://127.0.0.1:\d+ \(404\). Check the name given to --model; {kind}_BASE_URL or --base",
        ),
        (402, r"has no credit \(402\): nope. Set {variable} to another."),
    ],
)
def test_what_will_not_pass_ends_the_run_with_one_line(provider, server, status, message):
    server.answers(Answer(status, {"error": {"message": "nope"}}))
    with pytest.raises(ProposerError) as refused:
        opened(provider, server, retries=9).propose(request())
    variable = VARIABLES[provider]
    assert refused.match(message.format(variable=variable, kind=variable.partition("_")[0]))
    assert "\n" not in str(refused.value)
    assert len(server.seen) == 1


def test_an_account_without_credit_ends_the_run_whatever_status_says_so(provider, server):
    body = {
        "openai": {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}},
        "anthropic": {"error": {"message": "Your credit balance is too low", "type": "invalid_request_error"}},
    }[provider]
    server.answers(Answer({"openai": 429, "anthropic": 400}[provider], body))
    with pytest.raises(ProposerError, match="has no credit"):
        opened(provider, server).propose(request())


def test_a_refused_temperature_ends_the_run_only_where_one_was_set(provider, server):
    server.answers(Answer(400, {"error": {"message": "temperature must be 1"}}))
    with pytest.raises(ProposerError, match="refuses the temperature"):
        opened(provider, server, temperature=0.2).propose(request())
    with pytest.raises(ProposalFailed, match="answered 400"):
        opened(provider, server).propose(request())


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://x", "http://", "http://host:99999", "nonsense"])
def test_a_base_url_that_is_none_is_refused(provider, url):
    with pytest.raises(BadInput, match="A base URL is"):
        open_proposer(f"{provider}:m", settings(base_url=url))


def test_a_model_without_a_name_is_refused(provider):
    with pytest.raises(BadInput, match=f"{provider}:NAME"):
        open_proposer(f"{provider}:", settings())


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "The requested model 'm' does not exist.", "code": "model_not_found"}),
        (400, {"message": "m is not a valid model ID"}),
        (422, {"message": "invalid request", "code": "invalid_model"}),
    ],
)
def test_an_unknown_model_ends_the_run_whatever_status_says_so(provider, server, status, error):
    server.answers(Answer(status, {"error": error}))
    with pytest.raises(ProposerError, match=rf"no model 'm' at .* \({status}\)\. Check the name given to --model"):
        opened(provider, server).propose(request())
    assert len(server.seen) == 1


def test_other_faults_of_a_question_do_not_end_the_run(provider, server):
    server.answers(Answer(400, {"error": {"message": "this model's context length is 8192 tokens"}}))
    with pytest.raises(ProposalFailed, match="answered 400"):
        opened(provider, server).propose(request())


# ------------------------------------------------------------------------------------------------- keys and servers


def test_a_refused_key_shows_before_the_first_call_and_nothing_else_does(provider, server):
    proposer = opened(provider, server)
    server.answers(Answer(401, {"error": {"message": "nope"}}))
    with pytest.raises(ProposerError, match=rf"refused \(401\). Set {VARIABLES[provider]}") as refused:
        proposer.check()
    assert KEY not in leaks(refused.value)
    server.seen.clear()
    for answer in (
        Answer(200, {"id": "m"}),
        Answer(401, {"error": {"message": "Missing scopes: api.model.read"}}),
        *(Answer(status, {"error": {"message": "no list of models here"}}) for status in (403, 404, 405, 429, 500)),
        Answer(body=b"<html>"),
    ):
        server.answers(answer)
        proposer.check()
    assert {seen["path"].rpartition("/models/")[2] for seen in server.seen} == {"m"}
    server.close()
    proposer.check()


def test_no_server_sees_the_key_of_another_provider(monkeypatch):
    keys = {"openai": "sk-openai-0123456789", "anthropic": "sk-anthropic-0123456789"}
    servers = {name: Server() for name in keys}
    for name, key in keys.items():
        monkeypatch.setenv(VARIABLES[name], key)
        monkeypatch.setenv(f"{name.upper()}_BASE_URL", servers[name].url)
        servers[name].answers(good(name))
    elsewhere = Server()
    elsewhere.answers(good("openai"))
    both = ("openai:x", "anthropic:y")
    first = Config(models=both)
    resumed = Config.load(
        {"models": both}, environment={}, base=Config(models=both[:1], base_url=elsewhere.url).model_dump()
    )
    for config in (first, resumed):
        for model in both:
            proposer = open_proposer(model, config)
            proposer.check()
            assert proposer.propose(request()).text == "Idea: y"
    for name, key in keys.items():
        seen = str(servers[name].seen)
        (other,) = set(keys.values()) - {key}
        assert key in seen
        assert other not in seen
    assert keys["openai"] in str(elsewhere.seen), "it was named for this provider"
    assert keys["anthropic"] not in str(elsewhere.seen)
    for one in (*servers.values(), elsewhere):
        one.close()


def test_a_bearer_token_serves_where_there_is_no_key(server, monkeypatch):
    server.answers(good("anthropic"), Answer(401, {"error": {"message": "nope token-0123456789"}}))
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "token-0123456789")
    proposer = opened("anthropic", server)
    assert proposer.propose(request()).text == "Idea: y"
    assert "Bearer token-0123456789" in server.seen[0]["headers"]
    with pytest.raises(ProposerError, match="Set ANTHROPIC_AUTH_TOKEN to a valid key") as refused:
        proposer.propose(request())
    assert "token-0123456789" not in leaks(refused.value)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    server.answers(good("anthropic"))
    opened("anthropic", server).propose(request())
    assert KEY in server.seen[-1]["headers"]
    assert "token-0123456789" not in server.seen[-1]["headers"]


# ------------------------------------------------------------------------------------------------- unusable answers


@pytest.mark.parametrize(
    "answer",
    [
        Answer(body=b"<html>proxy error</html>", content_type="text/html"),
        Answer(body=b"<html>proxy error</html>"),
        Answer(body=b""),
        Answer(body=b'{"choices": [{"mess'),
        Answer(body=[1, 2]),
        Answer(body=None),
        Answer(body={"choices": "x", "content": 7}),
        Answer(body={"choices": [None], "content": [None]}),
        Answer(body={"error": {"message": "quiet failure"}}),
        Answer(body=b"\xff\xfe\x00"),
    ],
    ids=lambda answer: f"{str(answer.body)[:24]}",
)
def test_garbage_fails_the_request_and_may_have_been_billed(provider, server, answer):
    server.answers(answer)
    proposer = opened(provider, server, prices=PRICES)
    with pytest.raises(ProposalFailed, match="cannot be read") as failed:
        proposer.propose(request())
    assert failed.value.billed.text == ""
    assert failed.value.billed.usd == proposer.estimate(request().prompt) > 0


def late(provider: str) -> list[Answer]:
    """What may have been billed without an answer: silence, a gateway that gave up, and a broken message."""
    return [
        SILENCE,
        Answer(504, {"error": {"message": "upstream timed out"}}),
        Answer(body=b"{", headers={"Content-Length": "9"}),
    ]


def test_a_call_without_an_answer_in_time_counts_for_as_much_as_it_can_cost(provider, server):
    proposer = opened(provider, server, prices=PRICES, timeout=PATIENCE_S, retries=3)
    each = proposer.estimate(request().prompt)
    server.answers(*late(provider), good(provider))
    assert proposer.propose(request()).usd == pytest.approx(3 * each + (800 * 10 + 200 * 1 + 50 * 40) / 1e6)
    for answer in late(provider):
        server.seen.clear()
        server.answers(answer)
        with pytest.raises(ProposalFailed) as failed:
            opened(provider, server, prices=PRICES, timeout=PATIENCE_S, retries=1).propose(request())
        assert (failed.value.billed.text, len(server.seen)) == ("", 2)
        assert failed.value.billed.usd == pytest.approx(2 * each)


def test_a_call_that_was_refused_or_never_arrived_costs_nothing(provider, server):
    proposer = opened(provider, server, prices=PRICES, retries=1)
    for status in (429, 500, 529):
        server.answers(Answer(status, {"error": {"message": "busy"}}))
        with pytest.raises(ProposalFailed) as failed:
            proposer.propose(request())
        assert failed.value.billed is None
    server.close()
    with pytest.raises(ProposalFailed, match="no connection") as failed:
        proposer.propose(request())
    assert failed.value.billed is None


def test_a_late_call_is_made_again_only_where_the_budget_allows_another(provider, server):
    allowed = [True, False]
    proposer = opened(provider, server, prices=PRICES, timeout=PATIENCE_S, retries=5)
    server.answers(SILENCE)
    with pytest.raises(ProposalFailed, match=r"did not answer within 2 s\. .* too little is left of --usd") as failed:
        proposer.propose(replace(request(), afford=lambda: allowed.pop(0)))
    assert (len(server.seen), allowed) == (2, [])
    assert failed.value.billed.usd == pytest.approx(2 * proposer.estimate(request().prompt))


def test_what_may_have_been_billed_is_told_before_a_refusal_ends_the_run(provider, server):
    server.answers(SILENCE, Answer(401, {"error": {"message": "revoked"}}))
    proposer = opened(provider, server, prices=PRICES, timeout=PATIENCE_S)
    with pytest.raises(ProposalFailed, match="401") as failed:
        proposer.propose(request())
    assert failed.value.billed.usd == proposer.estimate(request().prompt)
    with pytest.raises(ProposerError, match="401"):
        proposer.propose(request())


def test_a_broken_encoding_fails_the_request(provider, server):
    server.answers(Answer(body=b"not gzip", headers={"Content-Encoding": "gzip"}))
    with pytest.raises(ProposalFailed, match="cannot be read"):
        opened(provider, server, retries=0).propose(request())


def test_an_answer_that_cannot_be_used_is_paid_for(provider, server):
    cut = {
        "openai": {"choices": [{"finish_reason": "length", "message": {"content": "Idea: half"}}]},
        "anthropic": {"stop_reason": "max_tokens"},
    }[provider]
    server.answers(good(provider, **cut))
    with pytest.raises(ProposalFailed, match=r"cut off .* --max-output-tokens") as failed:
        opened(provider, server, prices=PRICES).propose(request())
    assert failed.value.billed.usd == pytest.approx((800 * 10 + 200 * 1 + 50 * 40) / 1e6)


def test_a_refusal_and_an_empty_answer_fail_the_request(provider, server):
    refusal = {
        "openai": {"choices": [{"message": {"content": None, "refusal": "I may not"}}]},
        "anthropic": {"stop_reason": "refusal", "content": []},
    }[provider]
    empty = {"openai": {"choices": [{"message": {"content": None}}]}, "anthropic": {"content": []}}[provider]
    for body, message in ((refusal, "is a refusal"), (empty, "is empty")):
        server.answers(good(provider, **body))
        with pytest.raises(ProposalFailed, match=message):
            opened(provider, server).propose(request())


def test_no_choice_fails_the_request(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.answers(good("openai", choices=[]))
    with pytest.raises(ProposalFailed, match="holds no choice"):
        opened("openai", server).propose(request())


# --------------------------------------------------------------------------------------------- OpenAI's two limits


def test_the_other_name_of_the_limit_is_used_where_the_server_wants_it(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    complaint = {"error": {"message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."}}
    server.answers(Answer(400, complaint), good("openai"))
    proposer = opened("openai", server, max_output_tokens=9)
    proposer.propose(request())
    proposer.propose(request())
    limits = [[name for name in seen["body"] if name.startswith("max_")] for seen in server.seen]
    assert limits == [["max_tokens"], ["max_completion_tokens"], ["max_completion_tokens"]]


def test_both_names_refused_fail_the_request(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server.answers(Answer(400, {"error": {"message": "max_tokens and max_completion_tokens too large"}}))
    with pytest.raises(ProposalFailed, match="too large"):
        opened("openai", server).propose(request())
    assert len(server.seen) == 2


# ----------------------------------------------------------------------------------------------------------- secrets


def leaks(error: BaseException) -> str:
    """All that a log, a traceback or a report could show of an error."""
    chain = [error, error.__cause__, error.__context__]
    return "".join(traceback.format_exception(error)) + "".join(
        f"{one!r} {getattr(one, '__dict__', '')}" for one in chain
    )


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 422, 429, 500])
def test_a_server_that_repeats_the_key_does_not_get_it_into_errors_logs_or_replies(
    provider, server, status, caplog, monkeypatch
):
    caplog.set_level(logging.DEBUG)
    echo = Answer(status, {"error": {"message": f"bad key {KEY} (sk-test-01*****CRET)", "model": KEY}})
    server.answers(echo)
    proposer = opened(provider, server, retries=1)
    with pytest.raises((ProposerError, ProposalFailed)) as failed:
        proposer.propose(request())
    seen = leaks(failed.value) + caplog.text + repr(proposer) + str(getattr(failed.value, "billed", ""))
    assert KEY not in seen
    assert "CRET" not in seen
    assert failed.value.__cause__ is None
    assert failed.value.__context__ is None


def test_an_answer_that_repeats_the_key_is_cleaned(provider, server):
    server.answers(good(provider, text=f"key = '{KEY}'", model=KEY))
    reply = opened(provider, server).propose(request())
    assert KEY not in reply.model_dump_json()
    assert reply.text == "key = '***'"


def test_a_short_placeholder_for_a_key_does_not_spoil_answers(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "x")
    server.answers(good("openai", text="max(x)"))
    assert opened("openai", server).propose(request()).text == "max(x)"


@pytest.mark.parametrize("key", ["sk-ü", "two words", "a\nb", "\x00"])
def test_a_key_that_cannot_be_one_is_refused_without_repeating_it(key):
    with pytest.raises(ProposerError, match="K holds characters") as refused:
        checked_key(key, "K")
    assert key not in str(refused.value)
    assert checked_key(" sk-1\n", "K") == "sk-1"


def test_secrets_in_a_base_url_are_not_shown():
    assert shown("https://me:pw@host:1/v1?key=s#f") == "https://host:1/v1"


# -------------------------------------------------------------------------------------------------------------- small


def test_retry_after_reads_seconds_milliseconds_and_dates():
    assert retry_after({}) is None
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({"retry-after": "inf"}) is None
    assert retry_after({"retry-after": "1.5"}) == 1.5
    assert retry_after({"retry-after": "-3"}) == 0.0
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    later = format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)
    assert retry_after({"retry-after": later}) == pytest.approx(3600, abs=30)
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0.0


def test_clients_are_imported_only_when_a_model_is_opened():
    code = (
        "import sys, vevolve.evolve.proposers.open as o, vevolve.evolve.proposers.openai, "
        "vevolve.evolve.proposers.anthropic; o.kinds(); "
        "print(sorted({'openai', 'anthropic', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
