"""Fill the disk.

Group: resources
Expected: fair
"""

import signal


def strike(target):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        for number in range(64):
            with open(f"fill{number}", "wb") as file:
                for _ in range(8):
                    file.write(bytes(1 << 20))
    except OSError as error:
        target.held(error)
    else:
        target.breach("half a gigabyte was written")
