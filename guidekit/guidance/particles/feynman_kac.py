"""The Feynman-Kac correction of a product of powers of diffusion models, in one formula for all noising processes.

With y = x / a and v = (s / a)^2 every process x_t = a x_0 + s noise is one that only adds noise, dy = dW in the time v:
no drift is left, and the integral of g^2 over a step is the difference of v. The target at every v is
p(y) ~ prod_i q_i(y)^beta_i exp(gamma r), with q_i the marginals of the experts and s_i their scores in y. From noise to
clean, for any kappa >= 0 (the noise of the sampler, in units of that of the reverse process) and any share theta,

    dy = [(1 + kappa) / 2 theta S + kappa / 2 theta gamma grad r] dv + sqrt(kappa theta dv) noise,  S = sum_i beta_i s_i
    d log w = 1/2 [(theta - 1) div S + theta |S|^2 - sum_i beta_i |s_i|^2 + theta gamma S . grad r] dv + d(gamma r)|_y

theta = 1 is the formulation of the paper, which needs no divergence: the score is that of the target. theta = 1 / B,
B = sum_i beta_i, keeps the mean of the plain reverse step and scales its noise instead; where B = 1 both are one.

Source: Skreta et al. 2025, arXiv:2503.02819, propositions 3.1 to 3.4 (theta = 1); the weight for other shares follows
in the same way, from the Fokker-Planck equations of q_i and of the process above.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from guidekit.core.state import column
from guidekit.core.support import Support

Number = float | Tensor

SHARES: dict[str, Callable[[float], float]] = {"scaled_noise": lambda total: 1 / total, "target_score": lambda total: 1}
"""theta by the sum B of the powers: "scaled_noise" for any B, "target_score" as the paper has it."""


@dataclasses.dataclass(frozen=True)
class Growth:
    """What the weights of particles grow by, where they are; each (B,) float64.

    Args:
        rate: d log w per unit of log v by which the noise falls, without what the reward gains.
        reward: r, zero where there is none.
        slope: x . grad r: what r gains when x grows in proportion, per unit of log x.
    """

    rate: Tensor
    reward: Tensor
    slope: Tensor


def rate(
    share: float,
    powers: Sequence[float],
    noises: Sequence[Tensor],
    divergence: Tensor | None,
    support: Support,
    pull: Tensor | None = None,
) -> Tensor:
    """v d log w / dv of the formula above, without d(gamma r), (B,) float64 nats.

    Args:
        share: theta.
        powers: beta_i.
        noises: s sqrt(v) = -E[noise | x] of every expert with the sign of a noise, (B, *S); s_i = -noises_i / sqrt(v).
        divergence: v div S, (B,); None where theta = 1.
        support: of the states.
        pull: gamma s_x grad_x r, (B, *S), with s_x the noise coefficient of the process; None without a reward.
    """
    total = sum(power * noise for power, noise in zip(powers, noises, strict=True))
    assert isinstance(total, Tensor)
    found = share * support.dot(total, total).double()
    for power, noise in zip(powers, noises, strict=True):
        found = found - power * support.dot(noise, noise).double()
    if divergence is not None:
        found = found + (share - 1) * divergence.double()
    if pull is not None:
        found = found - share * support.dot(total, pull).double()
    return 0.5 * found


def gain(
    before: Growth,
    after: Growth,
    gammas: tuple[float, float],
    now: tuple[float, float],
    then: tuple[float, float],
) -> Tensor:
    """What a step from (a, s) `now` to `then` adds to log w, (B,): the trapezoidal rule in log v and log a.

    On the step to a clean state, where log v has no end, the rate at its start is taken for all of v. On one from no
    signal the law at its end is where the path begins.

    Args:
        before, after: at both ends; the rate of `after` is not looked at where nothing is left of the noise.
        gammas: gamma at both ends.
    """
    (a, s), (b, r) = now, then
    total = gammas[1] * after.reward
    if a == 0:
        return total
    rest = (a * r / (b * s)) ** 2
    paid = before.rate * (1 - rest) if r == 0 else 0.5 * (before.rate + after.rate) * -math.log(rest)
    middle = 0.5 * (before.reward + after.reward) * (gammas[1] - gammas[0])
    drift = 0.5 * (gammas[0] * before.slope + gammas[1] * after.slope) * math.log(b / a)
    return paid + middle + drift


def log_normalizer(powers: Sequence[float], level: float, dimensions: Number) -> Number:
    """log of the integral over y of N(0, level^2)^B: where a path begins, the experts know nothing; nats."""
    total = sum(powers)
    return 0.5 * dimensions * ((1 - total) * math.log(2 * math.pi * level**2) - math.log(total))


def tamed(log_weights: Tensor, particles: int, center: bool, clip: float | None) -> Tensor:
    """Increments (P * K,) less their mean in every group of K, and cut to [-clip, clip]: a bias for less variance."""
    if not center and clip is None:
        return log_weights
    grouped = log_weights.view(-1, particles)
    if center:
        grouped = grouped - grouped.mean(1, keepdim=True)
    return (grouped if clip is None else grouped.clamp(-clip, clip)).flatten()


def clean_of_target(mean: Tensor, x: Tensor, a: Number, total: float) -> Tensor:
    """The clean estimate (B, *S) whose score is `total` times that of `mean`: the score of the target."""
    return torch.lerp(x / column(a, x), mean, total)


__all__ = ["SHARES", "Growth", "clean_of_target", "gain", "log_normalizer", "rate", "tamed"]
