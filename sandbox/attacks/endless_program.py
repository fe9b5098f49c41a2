"""Be so long that reading it takes for ever.

Group: text
Expected: fair or syntax or crash or timeout or resource
"""


def write(seed):
    return seed + "\n" + "\n".join(f"def unused{number}(x): return x + {number}" for number in range(5_000))
