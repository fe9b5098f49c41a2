"""Read the environment and the arguments of other processes.

Group: theft
Expected: fair
"""


def strike(target):
    for pid in (1, "self", target.runner, target.bystander):
        for name in ("environ", "cmdline"):
            target.loot(lambda place=f"/proc/{pid}/{name}": open(place, "rb").read())
