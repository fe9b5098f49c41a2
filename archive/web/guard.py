"""Who may ask: pages that other sites open must not read a run through the browser of the person who serves it.

The server listens on loopback, but every page in that person's browser can reach loopback too. So a request is
answered only where its Host is one that was asked for (which stops a foreign name that resolves to 127.0.0.1) and its
Origin, if any, is the page itself; and only reading is answered.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'; "
    "form-action 'self'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
}


class Guard:
    """Refuses what is not a reader's own request, and gives every answer the headers that keep it harmless.

    Args:
        app: what answers.
        hosts: names, without port, that may stand in Host. The address itself that a request came to may always: a
            foreign name that leads here is a name, and a page that was loaded from this address is this page.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str]) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer or refuse."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self.app(scope, receive, send)
            return

        async def harmless(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name.decode("latin-1") not in HEADERS]
                kept += [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                if b"cache-control" not in dict(kept):
                    kept.append((b"cache-control", b"no-store"))
                message = {**message, "headers": kept}
            await send(message)

        if refusal := self.refusal(scope):
            from starlette.responses import PlainTextResponse

            await PlainTextResponse(refusal[1] + "\n", refusal[0])(scope, receive, harmless)
            return
        await self.app(scope, receive, harmless)

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Status and reason, where a request is refused."""
        headers: dict[bytes, list[bytes]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.lower(), []).append(value)
        if scope["method"] not in ("GET", "HEAD"):
            return 405, "This page only reads; use GET."
        hosts = [value.decode("latin-1") for value in headers.get(b"host", [])]
        if len(hosts) != 1 or host_name(hosts[0]) not in {*self.hosts, address(scope)}:
            return 421, "This Host is not served here; open the address that `vevolve web` printed."
        for origin in headers.get(b"origin", []):
            if origin.decode("latin-1").lower() not in (f"http://{hosts[0].lower()}", f"https://{hosts[0].lower()}"):
                return 403, "Another site asked; only the page itself may."
        foreign = headers.get(b"sec-fetch-site", [b"none"])[0] not in (b"none", b"same-origin")
        followed = headers.get(b"sec-fetch-mode") == [b"navigate"] and headers.get(b"sec-fetch-dest") == [b"document"]
        if foreign and not followed:  # a link on another page may lead here, but none may embed or read what is here
            return 403, "Another site asked; only the page itself may."
        return None


def address(scope: Scope) -> str:
    """The address of this machine that a request came to; one of IPv4 on a listener for both stands plain."""
    server = scope.get("server") or ("", 0)
    return str(server[0]).lower().removeprefix("::ffff:").partition("%")[0]


def host_name(host: str) -> str:
    """The name in a Host header, without its port: `[::1]:80` means `::1`."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()
