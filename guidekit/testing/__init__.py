"""Checks that every guidance, domain and reward must pass; public, so that other packages can run them on their own.

Each check takes plain objects, raises AssertionError with a sentence that names the broken property, and needs no test
framework.
"""

from guidekit.testing.counting import counting
from guidekit.testing.domains import check_domain
from guidekit.testing.guidances import check_guidance
from guidekit.testing.laws import exact_law
from guidekit.testing.operators import check_operator
from guidekit.testing.rewards import check_reward

__all__ = ["check_domain", "check_guidance", "check_operator", "check_reward", "counting", "exact_law"]
