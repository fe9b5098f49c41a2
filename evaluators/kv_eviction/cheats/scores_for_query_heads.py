"""Score for every query head, as if each had a cache of its own.

Group: numbers
Expected: wrong
"""


def score(queries):
    """One row a query head."""
    return queries.norm(dim=-1).flatten(0, 1)
