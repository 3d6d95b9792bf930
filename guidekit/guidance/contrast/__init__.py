"""Guidance by contrast, away from a worse prediction; here is what a new rule is made of, see `cfg` and `nonlinear`."""

from guidekit.guidance.contrast import rules
from guidekit.guidance.contrast.branches import CONDITIONS, NULL, Branch, Changed, Drawn, Given, base
from guidekit.guidance.contrast.engine import Contrast, Remembering, contrast
from guidekit.guidance.contrast.rule import LINEAR, Answers, Rule, formal, recalled
from guidekit.guidance.contrast.schedules import Number, Scheduled, Schedules, Weight, everywhere, scheduled
from guidekit.guidance.contrast.settings import check_finite, check_range

__all__ = [
    "CONDITIONS",
    "LINEAR",
    "NULL",
    "Answers",
    "Branch",
    "Changed",
    "Contrast",
    "Drawn",
    "Given",
    "Number",
    "Remembering",
    "Rule",
    "Scheduled",
    "Schedules",
    "Weight",
    "base",
    "check_finite",
    "check_range",
    "contrast",
    "everywhere",
    "formal",
    "recalled",
    "rules",
    "scheduled",
]
