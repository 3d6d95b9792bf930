"""What is to be said of a particle filter's run: evidence with its error, effective sample sizes, lineages."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor

from guidekit.reporting.lineages import picture
from guidekit.sampling import Result
from guidekit.weighting import pooled, to_prior

FEW = 4.0
"""Effective number of groups below which the error of an evidence is no estimate of it."""
ALMOST = 0.6
"""The same as a share of all groups, where there are few."""


def filtered(result: Result) -> bool:
    """Whether particles were weighed."""
    return "survivors" in result.info


def evidence(log_normalizer: Tensor) -> tuple[float, float, float]:
    """log Z of groups that estimate it one by one, (P,) nats, its standard error, and the effective number of groups.

    Z is the mean of the groups' estimates, which are unbiased; the error of its logarithm is relative to Z. NaN for the
    error of one group. Where one group outweighs the others, the effective number is near one and the error too small.
    """
    groups, double = len(log_normalizer), log_normalizer.double()
    total = float(torch.logsumexp(double, 0)) - math.log(groups)
    if math.isinf(total):
        return total, math.nan, 0.0
    share = (double - total).exp()
    error = float(share.std()) / math.sqrt(groups) if groups > 1 else math.nan
    return total, error, float(share.sum() ** 2 / share.square().sum())


def figures(result: Result) -> dict[str, float]:
    """For the closing table: log Z, its error, and means over groups of effective sample sizes and lineages left."""
    total, error, _ = evidence(result.log_normalizer)
    last = last_sweep(result)
    ess, left = last["ess"].double(), last["survivors"].double()
    return {
        "log Z": total,
        "log Z, error": error,
        "least ESS": float(ess.min(1).values.mean()),
        "last ESS": float(ess[:, -1].mean()),
        "lineages left": float(left[:, -1].mean()),
    }


def last_sweep(result: Result) -> dict[str, Tensor]:
    """Diagnostics of the evaluations of the last sweep of particle Gibbs, all there are of other filters."""
    sweeps = int(result.info["sweeps"].flatten()[0]) if "sweeps" in result.info else 1
    names = [name for name in ("ess", "survivors", "ancestors", "resampled") if name in result.info]
    return {name: result.info[name][:, -(result.info[name].shape[1] // sweeps) :] for name in names}


def columns(result: Result) -> dict[str, list[float]]:
    """Log-weights of all samples as one population of the target, and of the prior, nats; see `guidekit.weighting`."""
    return {
        "pooled_log_weight": pooled(result).log_weights.tolist(),
        "prior_log_weight": to_prior(result).log_weights.tolist(),
    }


def remark(result: Result) -> str:
    """A sentence where the evidence, or the particles, cannot be trusted; empty where they can."""
    _, _, effective = evidence(result.log_normalizer)
    groups, left, told = len(result.log_normalizer), result.info["survivors"][:, -1].double().mean(), []
    dead = int(result.log_normalizer.isneginf().sum())
    if dead:
        told.append(
            f"in {dead} of {groups} groups no particle had a weight: their samples were taken as if all were equal"
        )
    if groups > 1 and 0 < effective < min(FEW, ALMOST * groups):
        told.append(
            f"log Z rests on {effective:.1f} of {groups} groups and is too low by an unknown amount: more particles, "
            "or a higher temperature"
        )
    k = result.info["ancestors"].shape[2]
    if k == 1:
        told.append("one particle a group has nothing to be chosen from: it is weighted, not guided; take particles=8")
    elif left < 1.5:
        told.append("nearly all particles of a group descend from one: resample less often (ess_threshold), or later")
    return "; ".join(told)


def draw(result: Result, path: Path) -> str | None:
    """Effective sample sizes, lineages left and, of the first group, who descends from whom; see `lineages.picture`."""
    total, error, _ = evidence(result.log_normalizer)
    last = last_sweep(result)
    info = {name: last[name].cpu().numpy() for name in ("ess", "survivors", "ancestors")}
    resampled = last.get("resampled")
    fired = None if resampled is None else resampled.double().mean(0).cpu().numpy()
    return picture(**info, fired=fired, title=f"log Z {total:.4g}" + f" ± {error:.2g}" * (error == error), path=path)
