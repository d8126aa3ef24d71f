"""What the properties are tried on, where it is of no use to a user, and how often."""

from hypothesis import HealthCheck, settings


def examples(count: int) -> settings:
    """So many examples of a property, however long one takes."""
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])
