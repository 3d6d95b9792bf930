"""Solvers without derivatives of claims E38b and E39b: each asks the forward model as often as it is told."""

import pytest

from guidekit.evidence import flows

NAMES = ("EnKG", "EKI", "stochastic control", "best of N", "GSG", "DPG")


def test_all_solvers_have_the_same_solves():
    figures = flows.compared(0, NAMES, members=32, moves=4, truths=1)
    assert [figures[f"solves, {name}, x4"] for name in NAMES] == [128.0] * 6
    assert all(figures[f"error, {name}, x4"] > 0 for name in NAMES)
    pairs = (("EnKG", "EKI"),)
    difference = figures["error, EnKG, x4"] - figures["error, EKI, x4"]
    assert flows.less(figures, pairs)["EnKG less EKI, x4"] == pytest.approx(difference)
