"""Whether a Ray cluster can be joined, tried in a process of its own: `python ray_probe.py ADDRESS`.

Ray tries a silent or a guarded address again for ever, in code that no signal reaches, and ends the whole process
where it gives up. A probe can be killed. It prints one line of JSON: `{"error": null}`, or why it cannot.
"""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import sys

CONNECT_S = 10.0


def probe(address: str) -> dict[str, str | None]:
    """Why the cluster cannot be joined, or None."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    try:
        if port.isdigit():
            socket.create_connection((host.strip("[]"), int(port)), CONNECT_S).close()
    except OSError as error:
        return {"error": f"{error.strerror or error}"}
    try:
        import ray

        with contextlib.redirect_stdout(sys.stderr):
            ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
            return {"error": None}
    except Exception as error:
        return {"error": f"{error}" or type(error).__name__}


if __name__ == "__main__":
    sys.stdout.write(json.dumps(probe(sys.argv[1])) + "\n")
