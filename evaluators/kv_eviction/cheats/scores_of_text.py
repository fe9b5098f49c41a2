"""Return words in the place of numbers.

Group: numbers
Expected: wrong
"""


def score(keys):
    """A list of words."""
    return ["keep"] * keys.shape[1]
