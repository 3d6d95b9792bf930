"""Row E37: searches over noises are never worse than what they tried, and small steps climb to the optimum."""

from __future__ import annotations

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim

N, STEPS, NEIGHBORS, ROUNDS = 100, 4, 4, 40


def measure(seed: int) -> dict[str, float]:
    """Rewards at equal calls, and what was tried on the way."""
    prior = gk.priors.Gaussian(torch.zeros(4), 1.0, gk.processes.VP("cosine"))
    near = gk.objectives.QuadraticReward(torch.ones(4))
    local, anew = (
        gk.sample(prior, gk.guidance.NoiseSearch(near, NEIGHBORS, ROUNDS, reach), N, STEPS, seed, "ddim")
        for reach in (0.3, 1.0)
    )
    trace = local.info["best reward"]
    best = gk.sample(prior, gk.guidance.BestOfN(near, NEIGHBORS), N, STEPS, seed, "ddim").samples
    once = gk.sample(prior, gk.guidance.NoiseSearch(near, NEIGHBORS, 1), N, STEPS, seed, "ddim").samples
    paths = gk.sample(prior, gk.guidance.PathSearch(near, 2, 4, interval=1), N, 8, seed, "heun").samples
    plain = gk.sample(prior, None, N, 8, seed, "heun").samples
    search = gk.guidance.NoiseSearch(near, 1, 2, reach=0.6)
    population = gk.sampling.prepare(prior, search, 4_000, STEPS, seed).setup.begin()
    drawn = search.near(population, population.state, 9)
    return {
        "loss, reach .3": -float(near(local.samples).mean()),
        "loss, reach 1": -float(near(anew.samples).mean()),
        "loss of reach .3 over reach 1": float(near(local.samples).mean() / near(anew.samples).mean()),
        "least change of the best": float(trace.diff(dim=1).min()),
        "worse than the first draw": float((near(local.samples) < trace[:, 0] - 1e-5).sum()),
        "differs from best-of-N in one round": float((once != best).sum()),
        "paths over the sampler, reward": float(near(paths).mean() - near(plain).mean()),
        "mean square of neighbors": float(drawn.square().mean()),
        "runs too many": local.ledger.network_rows / N / STEPS - NEIGHBORS * ROUNDS,
    }


CLAIM = Claim(
    row="E37",
    method="Noise search (2501.09732)",
    provides=("guidance.NoiseSearch", "guidance.PathSearch"),
    tier="",
    says="Four normal numbers, quadratic loss, steps without noise: in 40 rounds of 4 runs, neighbors at .3 come "
    "to less than half of the loss of fresh noise (100 samples), no sample is worse than any run that was "
    "tried, one round is best-of-N bit for bit, neighbors keep the variance of noise within 5 %, and search "
    "over paths improves a sampler that draws no noise.",
    domains=("exact",),
    checks=(
        Check("loss with reach .3 over that of fresh noise", "loss of reach .3 over reach 1", most=0.5),
        Check("best of the rounds never falls, least change", "least change of the best", least=0),
        Check("samples worse than the first draw", "worse than the first draw", most=0),
        Check("numbers that differ from best-of-N in one round", "differs from best-of-N in one round", most=0),
        Check("search over paths over the sampler alone, reward", "paths over the sampler, reward", least=0.5),
        Check("mean square of neighbors", "mean square of neighbors", least=0.95, most=1.05),
        Check("runs beyond rounds times neighbors", "runs too many", least=0, most=0),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_noise_search.py::test_never_worse_than_what_was_tried",
        "tests/oracles/test_noise_search.py::test_it_comes_to_the_optimum",
        "tests/oracles/test_noise_search.py::test_neighbors_have_the_law_of_noise",
    ),
    longer="pictures judged by a classifier, hours of a GPU",
)
