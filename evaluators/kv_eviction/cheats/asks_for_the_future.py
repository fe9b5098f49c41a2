"""Ask for the queries to come without being a reference.

Group: future
Expected: interface
"""


def score(keys, future=None):
    """The true attention, were it given."""
    return (future @ keys[:, None].mT).softmax(dim=-1).sum(dim=(1, 2))
