"""What holds for all tests: the time of one example of a property says more of the machine than of the code."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile(
    "graphmesh", settings.default, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("graphmesh")
