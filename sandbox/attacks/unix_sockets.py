"""Connect to servers of this machine by path and by abstract name.

Group: escape
Expected: fair
"""

import socket


def strike(target):
    def reach(address):
        with socket.socket(socket.AF_UNIX) as one:
            one.connect(address)

    for address in (target.socket, target.abstract, "/var/run/docker.sock", "/run/systemd/private"):
        target.attempt(reach, address)
    target.attempt(socket.socketpair)
