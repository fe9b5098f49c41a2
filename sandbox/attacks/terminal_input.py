"""Type into the terminal of whoever started it.

Group: escape
Expected: fair
"""

import fcntl
import os
import termios


def strike(target):
    for number in (0, 1, 2, 3):
        target.attempt(fcntl.ioctl, number, termios.TIOCSTI, b"x")
        target.attempt(fcntl.ioctl, number, termios.TIOCSCTTY, 0)
    for place in ("/dev/tty", "/dev/pts/0", "/dev/console", "/dev/ptmx"):
        target.attempt(os.open, place, os.O_RDWR)
