"""Solvers without derivatives on the flow of row 7, at equal numbers of solves: what two claims share."""

from __future__ import annotations

import functools
import importlib
import statistics
from collections.abc import Sequence
from typing import Any

import torch

import guidekit as gk

MEMBERS, MOVES, STEPS, TRUTHS = 128, 8, 32, 2
"""Of ensembles, whose product is the solves that each may ask for; steps of single chains; fields a seed."""

STRENGTHS = (2, 4)
"""Grid points from one that is seen to the next."""

flow = importlib.import_module("guidekit.evidence.007_enkg")


def solvers(likelihood: Any, members: int, moves: int) -> dict[str, tuple[Any, int, Any]]:
    """Guidance, steps and sampler by name, each with members x moves solves."""
    each = members * moves // STEPS
    gsg = gk.guidance.DPSGSG(likelihood, 0.01, each, loss="residual")
    dpg = gk.guidance.DiffusionPolicyGradient(likelihood, 0.8, each - 1)
    return {
        **flow.solvers(likelihood, members, moves),
        "GSG": (gsg, STEPS, flow.SEARCHING),
        "DPG": (dpg, STEPS, flow.SEARCHING),
    }


@functools.cache
def found(name: str, field: int, every: int, seed: int, members: int, moves: int) -> tuple[float, int]:
    """Relative error of the mean of what a solver hands back, and its solves; kept for the other claim."""
    truth, operator, likelihood = flow.problem(field, every, 1.0)
    guidance, steps, sampler = solvers(likelihood, members, moves)[name]
    operator.calls = 0
    result = gk.sample(flow.prior(), guidance, 1, steps, seed, sampler)
    gap = torch.linalg.vector_norm(result.samples.mean(0) - truth[0])
    return float(gap / torch.linalg.vector_norm(truth)), operator.calls


def compared(
    seed: int, names: Sequence[str], members: int = MEMBERS, moves: int = MOVES, truths: int = TRUTHS
) -> dict[str, float]:
    """Mean relative errors of solvers and the solves that they took, at either strength, noise 1/s."""
    figures: dict[str, float] = {}
    for every in STRENGTHS:
        for name in names:
            each = [found(name, truths * seed + field, every, seed, members, moves) for field in range(truths)]
            figures[f"error, {name}, x{every}"] = statistics.fmean(error for error, _ in each)
            figures[f"solves, {name}, x{every}"] = float(each[0][1])
    return figures


def less(figures: dict[str, float], pairs: Sequence[tuple[str, str]]) -> dict[str, float]:
    """Differences of errors, of the first of a pair less the second."""
    return {
        f"{one} less {other}, x{every}": figures[f"error, {one}, x{every}"] - figures[f"error, {other}, x{every}"]
        for every in STRENGTHS
        for one, other in pairs
    }
