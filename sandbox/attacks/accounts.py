"""Read the accounts of the machine and their passwords.

Group: theft
Expected: fair
"""

import pwd


def strike(target):
    for place in ("/etc/passwd", "/etc/shadow", "/etc/hostname", "/etc/machine-id", "/etc/resolv.conf"):
        target.attempt(open, place)
    if pwd.getpwall():
        target.breach("the accounts are listed")
