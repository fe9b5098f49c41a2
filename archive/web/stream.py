"""The log of a run as server-sent events, for as long as somebody listens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from vevolve.archive.web.library import Library
from vevolve.archive.web.views.run import feed
from vevolve.errors import VEvolveError

PAUSE_S = 0.5
"""Between two looks at the log."""
SILENCE_S = 15.0
"""After which a comment is sent, so that a connection that is gone is noticed."""
MOST = 200
"""Lines of one message; a reader that was away for longer is told the last ones and to load the page anew."""


async def follow(library: Library, name: str, after: int) -> AsyncIterator[str]:
    """Messages of type `log` with `head`, `state` and `lines`; their ids let a browser go on where it was cut off."""
    state = ""
    silent = 0.0
    yield "retry: 2000\n\n"
    while not library.ending:

        def look(after: int = after) -> tuple[int, str, list[dict[str, Any]]]:
            sight = library.sight(name)
            return sight.head, sight.state, feed(sight, after)[-MOST:] if sight.head > after else []

        try:
            head, now, lines = await library.read(look)
        except VEvolveError as error:
            yield f"event: gone\ndata: {json.dumps({'error': str(error)})}\n\n"
            return
        except RuntimeError:  # the server ends
            return
        if head > after or now != state:
            after, state, silent = head, now, 0.0
            data = json.dumps({"head": head, "state": state, "lines": lines}, allow_nan=False)
            yield f"id: {head}\nevent: log\ndata: {data}\n\n"
        elif silent >= SILENCE_S:
            silent = 0.0
            yield ": still here\n\n"
        await asyncio.sleep(PAUSE_S)
        silent += PAUSE_S
