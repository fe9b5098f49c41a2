"""Reach a forbidden file by paths that a check of names would let pass.

Group: theft
Expected: fair
"""

import os


def strike(target):
    plain = target.secret_file
    up = "../" * 40
    for place in (
        up + plain,
        f"/proc/self/root{plain}",
        f"/proc/self/cwd/{up}{plain}",
        f"/dev/fd/0/{up}{plain}",
        f"//{plain}",
        f"{os.path.dirname(os.__file__)}/{up}{plain}",
        f"/.old{plain}",
    ):
        target.loot(lambda place=place: open(place).read())
    for number in range(3):
        target.attempt(os.open, plain, os.O_RDONLY, dir_fd=number)
