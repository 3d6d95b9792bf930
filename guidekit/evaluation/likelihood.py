"""Likelihood of data under a discrete prior, bounded from the side that never flatters."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.prior import Prior
from guidekit.core.random import keyed_generator
from guidekit.core.state import State, take
from guidekit.processes import DiscreteProcess, Masked, Stepped, Uniform
from guidekit.sampling import per_group
from guidekit.training.objectives import bound_rate, step_divergence

LEAST = 1e-3
"""Share of lost tokens at which the continuous bound hands over to the probability of the clean tokens themselves."""


def bits_per_token(
    prior: Prior, states: Tensor, draws: int = 32, condition: State | None = None, seed: int = 0
) -> dict[str, float | int]:
    r"""Upper bound on the negative log-likelihood of sequences under a discrete prior, in bits a real token.

    The bound of a sequence is KL(q(z_1 | x) || limit) + \int bound_rate dt - E log p(x | z_e), with e the time at which
    a share `LEAST` of the tokens is lost. Not the time is drawn but the number of lost tokens, twice in each of
    draws / 2 strata of every sequence (see `_counted`); with a dense generator it is the root of the lost share. Where
    the prediction does not depend on the time (most masked priors) the integral over it is done in closed form, see
    `MaskedLikelihood`. A chain in discrete time has a sum over its steps instead.

    It is the likelihood given the lengths of the sequences: the law of the length is no part of it, and padding is
    neither scored nor counted. A `temperature` of the prior other than 1 is part of the law whose likelihood this is.

    Args:
        prior: discrete prior with a `predict`, as it would be sampled (labels, temperature).
        states: clean tokens (B, l), padded behind their end; l is at most the prior's length.
        draws: of a noisy sequence for each clean one, an even number; each is a network call, or two where the
            time matters.
        condition: see `guidekit.sample`: one for all sequences, or one row a sequence.
        seed: of times and noise; a sequence's share in it depends on the seed and its index alone.

    Returns:
        bits_per_token: mean over all tokens.
        standard_error: its Monte-Carlo error, for these sequences; it says nothing on how typical they are.
        tokens, sequences: that were counted; empty sequences are left out.

    Raises:
        ValueError: no sequence, one that is too long or has an unknown token, or an odd number of draws.
    """
    process = prior.process
    if not isinstance(process, DiscreteProcess):
        raise ValueError(f"bits per token needs a prior over tokens; {prior.name} is one over real numbers")
    if draws < 2 or draws % 2:
        raise ValueError(f"draws={draws}; an even number of at least 2 is needed, which tells the error as well")
    states = _fitted(states, prior)
    rows = per_group(prior.condition(condition), len(states), states.device)
    lengths = _real(states, process).sum(1)
    order = lengths.argsort(stable=True)  # a batch holds sequences of about one length, which saves padding
    size = max(1, min(prior.network_batch or 4096, 4096) // draws)
    mean, variance = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for batch in order[lengths[order] > 0].split(size):
        x = states[batch].repeat_interleave(draws, 0)
        given = None if rows is None else take(rows, batch.repeat_interleave(draws))
        random = [keyed_generator("cpu", seed, int(i), "likelihood") for i in batch]
        with torch.no_grad():
            terms = _terms(prior, x, given, draws, random)
        for nats in terms:
            pairs = nats.double().cpu().view(len(batch), -1, 2)
            mean += pairs.mean((1, 2)).sum()
            # Two draws of one stratum differ by sqrt(2) of its error.
            variance += (pairs[..., 0] - pairs[..., 1]).square().sum() / (2 * pairs.shape[1]) ** 2
    tokens = int(lengths.sum())
    unit = math.log(2) * max(1, tokens)
    return {
        "bits_per_token": float(mean) / unit,
        "standard_error": float(variance.sqrt()) / unit,
        "tokens": tokens,
        "sequences": int((lengths > 0).sum()),
    }


def _terms(prior: Any, x: Tensor, condition: State | None, draws: int, random: list[torch.Generator]) -> list[Tensor]:
    """The parts of the bound, unbiased nats of each sequence with pairs of draws from one stratum side by side."""
    process, length = prior.process, x.shape[1]

    def uniform(*shape: int) -> Tensor:
        """One number in [0, 1) for every entry of (B * draws, *shape)."""
        drawn = [torch.rand(draws, *shape, generator=one, dtype=torch.float64) for one in random]
        return torch.cat(drawn).to(x.device)

    stratum = (torch.arange(draws, device=x.device) // 2).repeat(len(random))
    u = (stratum + uniform()) / (draws // 2)
    if isinstance(process, Masked) and prior.timeless:
        return [_masked(prior, x, condition, u, uniform(length))]
    if isinstance(process, Stepped):
        return [_terminal(process, x), _stepped(prior, x, condition, u, uniform(length))]
    clean = 1 - float(process.alpha(torch.tensor(1e-12, dtype=torch.float64)))  # some schedules begin with a jump
    least, latest = max(LEAST, clean + 1e-6), 1 - max(float(process.alpha(1.0)), 1e-9)
    t = process.alpha.inverse(torch.full((len(x),), 1 - least, dtype=torch.float64, device=x.device))
    prediction = prior.predict(process.noise(x, t, uniform(length)), t, condition)
    nats = -prediction.log_probs.gather(-1, x[..., None])[..., 0].double()
    terms = [_terminal(process, x), torch.where(_real(x, process), nats, 0.0).sum(1)]
    if isinstance(process, Masked | Uniform):
        rest = _counted(prior, x, condition, u, uniform(length), uniform(length), least, latest)
    else:
        rest = _timed(prior, x, condition, u, uniform(length), least, latest)
    return [*terms, rest]


def _masked(prior: Any, x: Tensor, condition: State | None, u: Tensor, noise: Tensor) -> Tensor:
    """(n / k) times the cross-entropy of k masked tokens, k uniform on 1 .. n."""
    real = _real(x, prior.process)
    n = real.sum(1)
    k = (u * n).long().minimum(n - 1) + 1
    masked = noise.masked_fill(~real, 2.0).argsort(1).argsort(1) < k[:, None]
    prediction = prior.predict(x.masked_fill(masked, prior.process.mask_id), 0.5, condition)
    nats = -prediction.log_probs.gather(-1, x[..., None])[..., 0].double()
    return torch.where(masked, nats, 0.0).sum(1) * n / k


def _counted(
    prior: Any,
    x: Tensor,
    condition: State | None,
    u: Tensor,
    noise: Tensor,
    fresh: Tensor,
    least: float,
    latest: float,
) -> Tensor:
    """The integral for processes that lose tokens one by one, with the number k of lost ones drawn first.

    Given k >= 1, uniform on 1 .. n, the lost share s is the k-th least of n uniform numbers and counts (n / k) s times;
    where nothing is lost it is the least of n and counts (1 - s) / n times. A quarter of the draws goes to k = 0.
    """
    process, real = prior.process, _real(x, prior.process)
    none = 0.0 if isinstance(process, Masked) else 0.25  # the integrand is zero where no token is masked
    n = real.sum(1)
    k = ((u - none) / (1 - none) * n).floor().long().minimum(n - 1) + 1
    k = torch.where(u < none, 0, k)
    noise = noise.masked_fill(~real, 2.0)
    lost = noise.argsort(1).argsort(1) < k[:, None]
    share = noise.sort(1).values.gather(1, (k - 1).clamp_min(0)[:, None])[:, 0]
    if none:
        share = torch.where(k == 0, 1 - (1 - (u / none).clamp_max(1.0)) ** (1 / n), share)
    weight = n / k.clamp_min(1) * share / (1 - none)
    if none:
        weight = torch.where(k == 0, (1 - share) / n / none, weight)
    weight = torch.where((share >= least) & (share <= latest), weight, 0.0)
    t = process.alpha.inverse(1 - share.clamp(least, latest))
    a = process.alpha(t)[:, None]
    z = process.noise(x, t, torch.where(lost, a + (1 - a) * fresh, 0.0))
    return weight * bound_rate(process, prior.predict(z, t, condition), x, t) / process.alpha.slope(t)


def _timed(
    prior: Any, x: Tensor, condition: State | None, u: Tensor, noise: Tensor, least: float, latest: float
) -> Tensor:
    """The integral of any process, with the square root of the lost share 1 - a(t) uniform."""
    process = prior.process
    low, high = math.sqrt(least), math.sqrt(latest)
    root = low + (high - low) * u
    t = process.alpha.inverse(1 - root.square())
    prediction = prior.predict(process.noise(x, t, noise), t, condition)
    return bound_rate(process, prediction, x, t) / process.alpha.slope(t) * 2 * root * (high - low)


def _stepped(prior: Any, x: Tensor, condition: State | None, u: Tensor, noise: Tensor) -> Tensor:
    """The sum over the steps of a chain in discrete time."""
    process, steps = prior.process, len(prior.process.matrices)
    index = (u * steps).long() + 1
    t, before = index.double() / steps, (index - 1).double() / steps
    prediction = prior.predict(process.noise(x, t, noise), t, condition)
    return steps * step_divergence(process, prediction, x, t, before)


def _terminal(process: Any, x: Tensor) -> Tensor:
    """KL(q(z_1 | x) || law the sampler starts from), (B * draws,) nats, exact."""
    if isinstance(process, Masked):  # taken as fully masked
        return torch.zeros(len(x), dtype=torch.float64, device=x.device)
    end, limit = process.spread(F.one_hot(x, process.vocab_size).double(), 1.0), process.limit.to(x.device)
    nats = (torch.special.xlogy(end, end) - torch.special.xlogy(end, limit.clamp_min(1e-300))).sum(-1)
    return torch.where(_real(x, process), nats, 0.0).sum(1)


def _real(x: Tensor, process: DiscreteProcess) -> Tensor:
    """Positions that hold no padding, (B, L)."""
    return torch.ones_like(x, dtype=torch.bool) if process.pinned is None else x != process.pinned


def _fitted(states: Tensor, prior: Any) -> Tensor:
    """The states as wide as the prior's, or a sentence on why that cannot be."""
    size, (length,) = prior.process.vocab_size, prior.event_shape
    pinned = prior.process.pinned
    if states.ndim != 2 or not len(states):
        raise ValueError(f"states have shape {tuple(states.shape)}; one or more sequences (B, L) of tokens are needed")
    wrong = ((states < 0) | (states >= size)).any(1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        raise ValueError(f"sequence {row} has a token outside 0 to {size - 1}, the vocabulary of {prior.name}")
    real = _real(states, prior.process)
    used = (real * torch.arange(1, states.shape[1] + 1, device=states.device)).amax(1)
    if (used > length).any() or (pinned is None and states.shape[1] != length):
        row = int(used.argmax())
        most = "takes exactly" if pinned is None else "takes at most"
        raise ValueError(f"sequence {row} has {int(used[row])} tokens; {prior.name} {most} {length}")
    if (used > real.sum(1)).any():
        raise ValueError(f"sequence {int((used > real.sum(1)).nonzero()[0])} has padding between its tokens")
    return F.pad(states[:, :length], (0, max(0, length - states.shape[1])), value=pinned or 0)
