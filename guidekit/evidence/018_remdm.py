"""Row 18: remasking goes on gaining from steps where the ancestral sampler stops, under a true chain of letters."""

from __future__ import annotations

import torch
from torch import Tensor

import guidekit as gk
from guidekit.core.prediction import Prediction
from guidekit.evidence.claim import Check, Claim
from guidekit.testing import exact_law

LENGTH, STEPS, N = 32, (32, 128, 512), 2_000


class NextLetters(gk.priors.Prior):
    """A Markov chain of four letters, as a short-sighted network knows it: of what is revealed it sees two neighbors.

    Its answer is exact where both are revealed, so that revising a sequence can mend what was guessed early.
    """

    name = "chain seen from nearby"
    process: gk.processes.Masked
    timeless = True

    def __init__(self, transitions: Tensor) -> None:
        size = len(transitions)
        self.process, self.event_shape = gk.processes.Masked(size), (LENGTH,)
        self.transitions = transitions
        self.law = torch.linalg.matrix_power(transitions, 200)[0]
        # with rows of ones and of the stationary law for what is masked, or not there
        self.to_right = torch.cat([transitions, self.law[None]])
        self.from_right = torch.cat([transitions, torch.ones(size, 1, dtype=torch.float64)], 1)

    def predict(self, x: Tensor, t: object, condition: Tensor | None = None) -> Prediction:
        """See `Prior.predict`."""
        masked = torch.full_like(x[:, :1], len(self.transitions))
        left, right = torch.cat([masked, x[:, :-1]], 1), torch.cat([x[:, 1:], masked], 1)
        weights = self.to_right[left] * self.from_right.T[right]
        return self.process.prediction((weights / weights.sum(-1, keepdim=True)).log(), x)

    def nats(self, x: Tensor) -> float:
        """-log p(x) a letter, on average over sequences."""
        steps = self.transitions[x[:, :-1], x[:, 1:]].log().sum(1) + self.law[x[:, 0]].log()
        return -float(steps.mean()) / LENGTH


def measure(seed: int) -> dict[str, float]:
    """-log p a letter at several numbers of steps, on one chain of letters; distances of an exact chain."""
    generator = torch.Generator().manual_seed(0)  # of the chain: the same for all seeds
    transitions = torch.softmax(3 * torch.randn(4, 4, dtype=torch.float64, generator=generator), 1)
    prior, remdm = NextLetters(0.98 * transitions + 0.005), gk.samplers.ReMDM("cap", 0.05)
    plain, remasked = (
        [prior.nats(gk.sample(prior, None, N, steps, seed, sampler).samples) for steps in STEPS]
        for sampler in (gk.samplers.Ancestral(), remdm)
    )
    entropy = -float(prior.law @ (prior.transitions * prior.transitions.log()).sum(1))
    chain = gk.priors.CategoricalChain(torch.rand(3, 3, generator=generator))
    none = gk.samplers.ReMDM("cap", 0.0)
    gap = exact_law(chain, none, steps=20) - exact_law(chain, gk.samplers.Ancestral(), steps=20)
    far = [float((exact_law(chain, remdm, steps=n) - chain.probabilities).abs().sum() / 2) for n in (20, 200)]
    return {
        "remasking less ancestral at 512 steps": remasked[2] - plain[2],
        "remasking, 512 less 128 steps": remasked[2] - remasked[1],
        "ancestral, 512 less 128 steps": plain[2] - plain[1],
        "gap at eta = 0": float(gap.abs().max()),
        "distance at 200 steps": far[1],
        "distance, 200 less 20 steps": far[1] - far[0],
        "entropy": entropy,
        **{f"ancestral at {n} steps": one for n, one in zip(STEPS, plain, strict=True)},
        **{f"remasking at {n} steps": one for n, one in zip(STEPS, remasked, strict=True)},
    }


CLAIM = Claim(
    row=18,
    method="ReMDM",
    provides=("samplers.ReMDM",),
    tier="A",
    says="With a denoiser that sees nearest letters only, the exact -log p of 32 letters (nats a letter) goes "
    "on falling with steps under remasking, schedule cap (.05), where the ancestral sampler has stopped; "
    "with an exact denoiser the data law is met; eta = 0 is the ancestral sampler.",
    domains=("exact",),
    checks=(
        Check(
            "-log p a letter at 512 steps: remasking less ancestral",
            "remasking less ancestral at 512 steps",
            most=-0.05,
        ),
        Check("remasking: 512 less 128 steps", "remasking, 512 less 128 steps", most=-0.02),
        Check("ancestral: 512 less 128 steps stays", "ancestral, 512 less 128 steps", least=-0.02, most=0.02),
        Check("eta = 0 against the ancestral law, largest probability apart", "gap at eta = 0", most=1e-12),
        Check("distance from the data law of a 3 x 3 chain, 200 steps", "distance at 200 steps", most=0.02),
        Check("that distance at 200 less at 20 steps", "distance, 200 less 20 steps", most=0),
    ),
    measure=measure,
    oracles=(
        "tests/oracles/test_discrete_samplers.py::test_remasking_keeps_the_marginals_of_the_masked_process",
        "tests/oracles/test_discrete_samplers.py::test_remasking_with_eta_zero_is_the_ancestral_sampler_bit_for_bit",
    ),
    longer="the same with networks trained on DNA and on molecule strings, several hours",
)
