"""Decode attention over chosen tokens, or over all of them: split over the context, merged by log-sum-exp."""
