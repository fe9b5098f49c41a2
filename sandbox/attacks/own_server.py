"""Wait for visitors on a port of its own.

Group: escape
Expected: fair
"""

import socket


def strike(target):
    target.attempt(socket.create_server, ("0.0.0.0", 0))
    target.attempt(socket.create_server, ("127.0.0.1", 0))
