"""A server on loopback that speaks either provider's API and answers by a script, and what every test asks."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from vevolve.evolve.proposers.contract import Prompt, Request
from vevolve.evolve.proposers.settings import ProposerSettings
from vevolve.types import Candidate, Seed

KEY = "sk-test-0123456789abcdefSECRET"
VARIABLES = {"openai": "OPENAI_API_KEY", "anthropic": "ANTHROPIC_API_KEY"}


@dataclass
class Answer:
    """One scripted response."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    sleep: float = 0.0
    content_type: str = "application/json"


class Server:
    """Serves the scripted answers in order, the last one again and again, and keeps what it was asked."""

    def __init__(self) -> None:
        self.script: list[Answer] = []
        self.seen: list[dict[str, Any]] = []
        self.lock = threading.Lock()
        self.closed = threading.Event()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"] or 0)) or b"null"
                with server.lock:
                    answer = server.script[min(len(server.seen), len(server.script) - 1)]
                    server.seen.append({"path": self.path, "headers": str(self.headers), "body": json.loads(body)})
                if server.closed.wait(answer.sleep):
                    return
                raw = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", answer.content_type)
                self.send_header("Content-Length", str(len(raw)))
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST  # noqa: N815

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answers(self, *script: Answer) -> None:
        self.script = list(script)

    def close(self) -> None:
        self.closed.set()
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests see no key and no server but their own."""
    for name in ("API_KEY", "BASE_URL", "AUTH_TOKEN", "ORG_ID", "PROJECT_ID", "CUSTOM_HEADERS"):
        for provider in ("OPENAI", "ANTHROPIC"):
            monkeypatch.delenv(f"{provider}_{name}", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def request(iteration: int = 0, attempt: int = 0, user: str = "Improve it.") -> Request:
    prompt = Prompt(system="You improve programs.", user=user)
    return Request(iteration, attempt, "mutate", prompt, (Candidate("x = 1\n"),), (), Seed(b"0" * 16))


def settings(**changes: Any) -> ProposerSettings:
    return ProposerSettings(**{"retries": 2, "retry_wait": 0.01, "timeout": 60.0, **changes})


def good(provider: str, text: str = "Idea: y", **changes: Any) -> Answer:
    """A full answer in the provider's form: 1,000 tokens in, 200 of them cached, and 50 out."""
    if provider == "openai":
        body: dict[str, Any] = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m-1",
            "choices": [
                {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}},
            ],
            "usage": {
                "prompt_tokens": 1000,
                "completion_tokens": 50,
                "total_tokens": 1050,
                "prompt_tokens_details": {"cached_tokens": 200},
            },
        }
    else:
        body = {
            "id": "1",
            "type": "message",
            "role": "assistant",
            "model": "m-1",
            "content": [{"type": "thinking", "thinking": "hm", "signature": "s"}, {"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 800,
                "cache_read_input_tokens": 200,
                "cache_creation_input_tokens": None,
                "output_tokens": 50,
            },
        }
    return Answer(body={**body, **changes})
