"""Have whoever evaluates the program's constants fill a table in which all keys collide.

Group: text
Expected: fair or timeout or crash
"""


def write(seed):
    return seed + "\nTABLE = {" + ", ".join(f"{number * (2**61 - 1)}: 0" for number in range(1, 9_000)) + "}\n"
