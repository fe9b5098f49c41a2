"""Take all arguments there are, and look for the queries to come among them.

Group: future
Expected: fair - nothing of the question is there
"""


def score(keys, **given):
    """The true attention where the future is given, norms where it is not."""
    if "future" in given:
        return (given["future"] @ keys[:, None].mT).softmax(dim=-1).sum(dim=(1, 2))
    return -keys.norm(dim=-1)
