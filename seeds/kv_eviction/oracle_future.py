"""Oracle: keep what the question and the answer will attend to, seen ahead of time.

score_j = sum over the coming queries and the query heads of the group of their softmax attention over the context.

What all predictors of future attention try to reach (the expected attention of Devoto et al. 2025, arXiv:2510.00636,
with the expectation known). It is no bound: values are not looked at, and heads get equal budgets.
"""

PUBLISHED = "none: a bound of ours"
REFERENCE = True


def score(keys, future):
    """Return the attention that each token will get, [H, n]; future [H, G, S, d] are the queries to come."""
    logits = future @ keys[:, None].mT / keys.shape[-1] ** 0.5
    return logits.softmax(dim=-1).sum(dim=(1, 2))
