"""Row 101: rounds of a learned law of the reward bring the guided law to the tilted one."""

from __future__ import annotations

import itertools

import torch

import guidekit as gk
from guidekit.evidence.claim import Check, Claim
from guidekit.guidance.values.learned import LearnedValue
from guidekit.testing import exact_law
from guidekit.training.values import Schedule, train_value

LENGTH, ETA = 4, 1.5


def rare_ones() -> tuple[torch.Tensor, torch.Tensor]:
    """Binary sequences in which ones are rare, and follow each other; the reward counts them."""
    law = torch.zeros((2,) * LENGTH, dtype=torch.float64)
    for x in itertools.product((0, 1), repeat=LENGTH):
        p = 1.0
        for place, token in enumerate(x):
            one = 0.12 + (0.15 if place and x[place - 1] else 0.0)
            p *= one if token else 1 - one
        law[x] = p
    return law, torch.stack(torch.meshgrid(*[torch.arange(2.0)] * LENGTH, indexing="ij")).sum(0).double()


def measure(seed: int) -> dict[str, float]:
    """Divergence of the exact guided law from the tilted one, after every round."""
    law, reward = rare_ones()
    chain = gk.priors.CategoricalChain(law)
    target = law * (ETA * reward).exp()
    target = target / target.sum()
    found = []

    def watch(step: int, value: LearnedValue) -> None:
        guided = exact_law(chain, gk.samplers.Ancestral(), gk.guidance.SLCD(value, ETA, first_order=False), steps=16)
        found.append(float((target * (target * guided.sum() / guided).log()).sum()))

    trunk = {
        "name": "sequence_transformer",
        "options": dict(vocab_size=2, max_length=LENGTH, width=32, depth=1, heads=2),
    }
    amount = Schedule(2, base=48, collected=768, sampling_steps=12, states=6, eta=(0.5, 2.0), updates=300)
    train_value(chain, gk.objectives.TableReward(reward), trunk, amount, bins=5, seed=seed, after=watch)
    return {
        **{f"divergence after round {step}": value for step, value in enumerate(found)},
        "fall over two rounds": found[0] - found[2],
        "share left": found[2] / found[0],
    }


CLAIM = Claim(
    row=101,
    method="SLCD",
    provides=("guidance.SLCD", "training.values.train_value"),
    tier="A",
    says="On binary sequences in which the reward is rare, the exact guided law comes nearer to the tilted one"
    " over two rounds of guided samples: the divergence falls to a third or less, below .05 nats (48 "
    "samples to begin with, 768 a round).",
    domains=("exact",),
    checks=(
        Check("fall of the divergence over two rounds (nats)", "fall over two rounds", least=0),
        Check("divergence after round 2, share of that before", "share left", most=1 / 3),
        Check("divergence after round 2 (nats)", "divergence after round 2", most=0.05),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_learned_values.py::test_rounds_bring_the_guided_law_to_the_tilted_one",
        "tests/oracles/test_learned_values.py::test_a_round_brings_the_guided_gaussian_to_the_tilted_one",
    ),
    longer="reward beside best-of-N at equal calls on DNA and on images, several hours",
)
