"""Open packet, netlink, vsock and raw sockets, for the network or to the host of a virtual machine.

Group: escape
Expected: fair
"""

import socket


def strike(target):
    for family, kind in ((17, 3), (16, 3), (40, 1), (2, 3), (38, 5), (31, 3), (29, 3), (44, 3)):
        target.attempt(socket.socket, family, kind)
