"""Statistics that hold while you watch: limits, paired comparisons and online control of false discoveries."""
