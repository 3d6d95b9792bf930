r"""Likelihood of real-valued states under a Gaussian diffusion prior, by its probability flow.

Along the flow dx / dtau = v(x, tau) the log-density changes by minus the divergence of v, so that
log p(x_0) = log p_1(x_1) + \int div v dtau, with x_1 what x_0 flows to and p_1 = N(0, s(1)^2) the limit law.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor

from guidekit.core.divergence import divergence, estimated_divergence
from guidekit.core.prior import Prior
from guidekit.core.random import keyed_generator
from guidekit.core.state import State, take
from guidekit.extras import require
from guidekit.processes import GaussianProcess
from guidekit.sampling import per_group

TRACES = ("exact", "hutchinson")


@dataclasses.dataclass(frozen=True)
class FlowLikelihood:
    """What `flow_likelihood` found.

    Attributes:
        log_prob: (B,) float64, nats, density in the unit of the states.
        latents: (B, *S), the states at t = 1 they flow to.
        network_rows: states the network looked at, backward passes not counted.
    """

    log_prob: Tensor
    latents: Tensor
    network_rows: int

    @property
    def bits_per_dimension(self) -> Tensor:
        """Minus log_prob over the size of a state, in bits, (B,)."""
        return -self.log_prob / (math.log(2) * self.latents[0].numel())


def flow_likelihood(
    prior: Prior,
    states: Tensor,
    trace: str = "exact",
    probes: int = 1,
    condition: State | None = None,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    level: float = 1e-3,
    batch_size: int = 256,
    seed: int = 0,
) -> FlowLikelihood:
    """Log-density of clean states under the law that the probability flow of a prior has.

    It is the density of what `Euler`, `Heun` and the multistep samplers draw from in the limit of many steps, with the
    noise of `level` added. The flow starts at the time of that level and is solved by dopri5 in float64 (the network
    sees the type of the states); its step size looks at all states of a batch, which matters within the tolerances.

    Args:
        prior: with a Gaussian process and a network that can be differentiated in its input.
        states: clean (B, *S).
        trace: "exact" takes one backward pass for every number of a state; "hutchinson" one a probe, and is unbiased:
            random signs, drawn once and kept along the path.
        probes: of "hutchinson".
        condition: see `guidekit.sample`: one for all states, or one row a state.
        rtol, atol: tolerances of the solver.
        level: least noise over signal s / a, in units of the data; below it networks know nothing. Processes whose
            least level is larger start there.
        batch_size: states solved together.
        seed: of the signs, which depend on it and on the index of the state alone.

    Raises:
        ValueError: no states, states of another shape, another trace, or a process that is not Gaussian.
        MissingExtraError: torchdiffeq is not installed (extra `likelihood`).

    Source: Song et al. 2021, arXiv:2011.13456, section 4.3 and appendix D.2; the estimator of the trace is Skilling's
    and Hutchinson's.
    """
    require("likelihood", "torchdiffeq")
    process = prior.process
    if not isinstance(process, GaussianProcess):
        raise ValueError(
            f"a flow needs real-valued states and Gaussian noise; {prior.name} has a {type(process).__name__} process "
            "(for tokens there is bits_per_token)"
        )
    if trace not in TRACES or probes < 1:
        raise ValueError(f"trace={trace!r}, probes={probes}; accepted: {', '.join(TRACES)}, 1 or more")
    if len(states) == 0 or tuple(states.shape[1:]) != tuple(prior.event_shape):
        raise ValueError(f"states have shape {tuple(states.shape)}; expected (B, *{tuple(prior.event_shape)}), B >= 1")
    rows = per_group(prior.condition(condition), len(states), states.device)
    found = []
    for begin in range(0, len(states), batch_size):
        index = torch.arange(begin, min(begin + batch_size, len(states)), device=states.device)
        given = None if rows is None else take(rows, index)
        signs = None if trace == "exact" else _signs(states[index], index, probes, seed)
        found.append(_solve(prior, states[index], given, signs, max(process.at_level(level), 1e-9), rtol, atol))
    parts = zip(*found, strict=True)
    log_prob, latents, calls = next(parts), next(parts), next(parts)
    return FlowLikelihood(torch.cat(log_prob), torch.cat(latents), sum(calls))


def _signs(x: Tensor, index: Tensor, probes: int, seed: int) -> Tensor:
    """Random signs (probes, B, *S)."""
    made = [
        torch.randint(0, 2, (probes, *x.shape[1:]), generator=keyed_generator("cpu", seed, int(i), "trace"))
        for i in index
    ]
    return (2 * torch.stack(made, 1) - 1).to(x)


def _solve(
    prior: Prior, x: Tensor, condition: State | None, signs: Tensor | None, first: float, rtol: float, atol: float
) -> tuple[Tensor, Tensor, int]:
    from torchdiffeq import odeint

    process: Any = prior.process
    calls = 0

    def field(tau: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        nonlocal calls
        calls += len(x)
        t = min(max(process.at_tau(float(tau)), first), 1.0)
        with torch.enable_grad():
            at = state[0].detach().to(x.dtype).requires_grad_()
            velocity = process.velocity(prior.predict(at, t, condition))[1]
            change = divergence(velocity, at) if signs is None else estimated_divergence(velocity, at, signs)
        return velocity.detach().double(), change

    a = process.coefficients(first)[0]
    span = torch.tensor([process.tau(first), process.tau(1.0)], dtype=torch.float64, device=x.device)
    start = (a * x.double(), torch.zeros(len(x), dtype=torch.float64, device=x.device))
    with torch.no_grad():
        paths = odeint(field, start, span, rtol=rtol, atol=atol, method="dopri5")
        latents, change = (path[-1] for path in paths)
    s = process.coefficients(1.0)[1]
    z = latents.flatten(1) / s
    limit = -0.5 * z.square().sum(1) - z.shape[1] * (math.log(s) + 0.5 * math.log(2 * math.pi))
    # The density of x is that of a x times a^D.
    return limit + change + z.shape[1] * math.log(a), latents, calls


__all__ = ["FlowLikelihood", "divergence", "estimated_divergence", "flow_likelihood"]
