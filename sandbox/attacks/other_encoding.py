"""Declare an encoding in which the text reads as another program.

Group: text
Expected: syntax or crash or fair
"""


def write(seed):
    return "# -*- coding: utf-7 -*-\n" + seed + "\n# +AAo-import os"
