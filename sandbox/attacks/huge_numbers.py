"""Have the trusted side compute a constant that fills its memory.

Group: text
Expected: syntax or fair or crash or resource
"""


def write(seed):
    return seed + "\nA = " + "9" * 4_000 + "\nB = 9**9**9 if 0 else 0\nC = 'x' * 10**10 if 0 else 0\nD = [[]] * 0\n"
