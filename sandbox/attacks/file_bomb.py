"""Make files until there is no room for names.

Group: resources
Expected: fair
"""

import os


def strike(target):
    try:
        for number in range(100_000):
            os.close(os.open(f"name{number}", os.O_CREAT | os.O_WRONLY))
    except OSError as error:
        target.held(error)
    else:
        target.breach("100,000 files were made")
