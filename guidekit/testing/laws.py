"""The law of a sampler on a prior whose states can be enumerated."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance
from guidekit.core.loop import populate, prepare
from guidekit.core.sampler import Sampler
from guidekit.priors.chain import CategoricalChain


def exact_law(
    prior: CategoricalChain,
    sampler: Sampler,
    guidance: Guidance | None = None,
    steps: int = 8,
    condition: int | None = None,
    weighted: bool = False,
) -> Tensor:
    """The law a guided sampler has on an enumerable chain, by multiplying its transition matrices: no Monte Carlo.

    Covers guidance of `denoise` and `propose`.

    Args:
        prior: chain whose noisy states can be enumerated.
        sampler: whose kernels depend on the state alone.
        guidance: one, or a chain.
        steps: of the time grid.
        condition: class, for chains with conditionals.
        weighted: multiply in the log-weights of proposals (`DiscreteFKC`, tilted kernels): the sum of the result is
            then the normalizer, and its normalized form what weighted particles estimate.

    Returns:
        (V, ..., V) float64.
    """
    states = prior.states()
    n = len(states)
    rows = None if condition is None else torch.full((n,), condition)
    setup = prepare(prior, guidance, sampler=sampler, steps=steps, groups=(0, n), condition=rows)
    setup = dataclasses.replace(setup, weighted=weighted)
    measure = prior.limit_law()
    with torch.no_grad():
        if weighted:
            begun = populate(setup, states, setup.steps[0].start, 1)
            for member in setup.members:
                begun = member.start(begun)
            assert begun.log_ratio is not None
            measure = torch.where(measure > 0, measure * begun.log_ratio.exp(), measure)
        for step in setup.steps:
            proposal = setup.propose(populate(setup, states, step.start, 1), step)
            columns = []
            for target in states:
                at = target.expand(n, -1)
                log_prob = proposal.kernel.log_prob(at)
                if weighted:
                    log_prob = log_prob + proposal.log_ratio(at)
                columns.append(log_prob.exp().nan_to_num(0.0))
            measure = measure @ torch.stack(columns, 1)
    clean = (states < prior.process.vocab_size).all(1)
    return measure[clean].reshape(prior.probabilities.shape)
