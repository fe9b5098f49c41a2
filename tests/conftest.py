"""What hypothesis draws is the same in every run, and no example is timed: a test fails for the code alone.

Other examples are tried with `--hypothesis-profile=default`.
"""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "repeatable",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")
