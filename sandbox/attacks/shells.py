"""Run other programs.

Group: escape
Expected: fair
"""

import os
import subprocess
import sys


def strike(target):
    for words in (["/bin/sh", "-c", "id"], [sys.executable, "-c", "1"], ["python3"], ["/lib64/ld-linux-x86-64.so.2"]):
        target.attempt(subprocess.run, words)
        target.attempt(os.posix_spawn, words[0], words, {})
    if os.system("true") == 0:
        target.breach("a shell ran")
