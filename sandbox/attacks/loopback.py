"""Connect to a server on this machine, as to a metadata service or a database.

Group: escape
Expected: fair
"""

import socket


def strike(target):
    for address in (("127.0.0.1", target.port), ("::1", target.port), ("localhost", target.port)):
        target.attempt(socket.create_connection, address, 0.2)
    target.attempt(send, ("127.0.0.1", target.udp_port))


def send(address):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", address)
