"""Return the figures that it would like to have instead of a selection.

Group: forgery
Expected: wrong
"""

import torch


def select(query):
    """Points, as if anyone asked."""
    return {"traffic": torch.tensor([0.005]), "error": torch.tensor([0.001])}
