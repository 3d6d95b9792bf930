"""Training losses of discrete diffusion: functions of a network and clean tokens that return one loss per sequence."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.state import column
from guidekit.errors import UnknownNameError
from guidekit.processes import DiscreteProcess, Masked, Stepped

AUXILIARY = 0.001
"""Weight of the cross-entropy beside the bound of D3PM."""

Loss = Callable[..., Tensor]
"""(network, clean tokens (B, L), labels (B, K) or None, generator) -> (B,)."""


@dataclasses.dataclass(frozen=True)
class MaskedLikelihood:
    """Negative evidence lower bound of a masked (absorbing) process, in nats per sequence.

    With n real tokens and k of them masked, the bound is E_k[(n / k) sum_masked -log p(token)] for k uniform on 1..n:
    the time integral of the continuous bound done in closed form, so no draw is wasted on an unmasked sequence and
    the loss does not depend on the schedule. Counts are stratified over the batch.

    Args:
        mask_id: id of the mask token.
        pad_id: id of padding, never masked and never scored; None when every position is real.
        ends: share of the sequences whose first token is shown and not scored, and of those whose last one is,
            independently: for priors that are told both.

    Source: Sahoo et al. 2024, arXiv:2406.07524, eq. 10; the count form follows from integrating t^(k-1) (1-t)^(n-k).
    """

    mask_id: int
    pad_id: int | None = None
    ends: float = 0.0

    def __call__(
        self, network: nn.Module, tokens: Tensor, labels: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Loss (B,) in nats for clean tokens (B, L) int64 with labels (B, K)."""
        real = torch.ones_like(tokens, dtype=torch.bool) if self.pad_id is None else tokens != self.pad_id
        if self.ends:
            shown = torch.rand(len(tokens), 2, generator=generator, device=tokens.device) < self.ends
            last = (real.sum(1, keepdim=True) - 1).clamp_min(0)
            real[:, 0] &= ~shown[:, 0]
            real.scatter_(1, last, real.gather(1, last) & ~shown[:, 1:])
        n = real.sum(1)
        u = strata(len(tokens), tokens.device, generator)
        k = (u * n).long().minimum(n - 1).clamp_min(0) + 1  # an empty sequence costs nothing
        order = torch.rand(tokens.shape, generator=generator, device=tokens.device).masked_fill(~real, 2.0)
        masked = order.argsort(1).argsort(1) < k[:, None]
        logits = network(torch.where(masked, self.mask_id, tokens), select=masked, labels=labels)
        nats = F.cross_entropy(logits.float(), tokens[masked], reduction="none")
        per_token = torch.zeros(tokens.shape, device=tokens.device).masked_scatter(masked, nats)
        return per_token.sum(1) * n / k


@dataclasses.dataclass(frozen=True)
class RatioPrediction(CategoricalPrediction):
    """A prediction of a network that was made for concrete scores.

    Args:
        ratios: (B, L, C), which the prediction may not hold exactly.
    """

    ratios: Tensor | None = None


@dataclasses.dataclass(frozen=True)
class DiscreteObjective:
    """What the losses below share: noise the tokens at stratified times and ask the network.

    Args:
        process: forward process.
        parametrization: "clean" (logits of the clean token) or "ratios" (logarithms of the concrete score, SEDD; see
            `DiscreteProcess.score`).
        earliest: least time drawn, above 0.
    """

    process: DiscreteProcess
    parametrization: str = "clean"
    earliest: float = 1e-3

    def noised(
        self, network: nn.Module, tokens: Tensor, labels: Tensor | None, generator: torch.Generator | None
    ) -> tuple[CategoricalPrediction, Tensor]:
        """The network's prediction at noisy tokens and the times (B,) they were noised for."""
        t = self.earliest + (1 - self.earliest) * strata(len(tokens), tokens.device, generator).double()
        if isinstance(self.process, Stepped):  # only its own times exist
            t = (t * len(self.process.matrices)).ceil() / len(self.process.matrices)
        u = torch.rand(tokens.shape, generator=generator, device=tokens.device, dtype=torch.float64)
        z = self.process.noise(tokens, t, u)
        level = 1 - torch.as_tensor(self.process.alpha(t)).float()
        return self.prediction(network(z, labels=labels, level=level).float(), z, t), t

    def prediction(self, outputs: Tensor, z: Tensor, t: Tensor) -> CategoricalPrediction:
        """Network outputs (B, L, V) as a prediction; padding is certain."""
        pinned = self.process.pinned
        if self.parametrization == "ratios":
            ratios = self.process.score(outputs, z, t)
            return RatioPrediction(self.process.from_ratios(ratios, z, t).log_probs, z, ratios=ratios)
        if pinned is not None:
            column = torch.arange(outputs.shape[-1], device=z.device) == pinned
            outputs = outputs.masked_fill(column, -torch.inf)
        log_probs = torch.log_softmax(outputs, -1)
        if pinned is not None:
            certain = torch.where(column, 0.0, -torch.inf)
            log_probs = torch.where((z == pinned)[..., None], certain, log_probs)
        return self.process.prediction(log_probs, z)


@dataclasses.dataclass(frozen=True)
class DiscreteLikelihood(DiscreteObjective):
    """Continuous-time negative evidence lower bound of any discrete process, in nats per sequence (see `bound_rate`).

    For a masked process it is the loss of MDLM, for a uniform one that of UDLM (with posterior "plug_in"), and with
    parametrization "ratios" the score entropy of SEDD.

    Source: Lou et al. 2023, arXiv:2310.16834, eq. 10; Sahoo et al. 2024, arXiv:2406.07524; Schiff et al. 2024,
    arXiv:2412.10193, eq. 18.
    """

    def __call__(
        self, network: nn.Module, tokens: Tensor, labels: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Loss (B,) in nats for clean tokens (B, L) int64 with labels (B, K)."""
        prediction, t = self.noised(network, tokens, labels, generator)
        return bound_rate(self.process, prediction, tokens, t) * (1 - self.earliest)


@dataclasses.dataclass(frozen=True)
class DenoisingCrossEntropy(DiscreteObjective):
    """Cross-entropy of the clean token at a uniformly drawn time: the loss of discrete flow matching, no bound.

    Source: Gat et al. 2024, arXiv:2407.15595, eq. 27; Campbell et al. 2024, arXiv:2402.04997, eq. 9.
    """

    def __call__(
        self, network: nn.Module, tokens: Tensor, labels: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Loss (B,) in nats, summed over the tokens, for clean tokens (B, L) int64 with labels (B, K)."""
        prediction, _ = self.noised(network, tokens, labels, generator)
        return -prediction.log_probs.gather(-1, tokens[..., None])[..., 0].sum(1)


@dataclasses.dataclass(frozen=True)
class SteppedLikelihood(DiscreteObjective):
    """Discrete-time bound of D3PM, T E_i KL(q(z_u | z_t, x_0) || p(z_u | z_t)), plus a share of cross-entropy.

    Args:
        steps: T.
        auxiliary: weight of the cross-entropy of the clean token.

    Source: Austin et al. 2021, arXiv:2107.03006, eq. 5.
    """

    steps: int = 1000
    auxiliary: float = AUXILIARY

    def __call__(
        self, network: nn.Module, tokens: Tensor, labels: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Loss (B,) in nats for clean tokens (B, L) int64 with labels (B, K)."""
        index = (strata(len(tokens), tokens.device, generator) * self.steps).long() + 1
        t, u = index.double() / self.steps, (index - 1).double() / self.steps
        noise = torch.rand(tokens.shape, generator=generator, device=tokens.device, dtype=torch.float64)
        z = self.process.noise(tokens, t, noise)
        level = 1 - torch.as_tensor(self.process.alpha(t)).float()
        prediction = self.prediction(network(z, labels=labels, level=level).float(), z, t)
        loss = self.steps * step_divergence(self.process, prediction, tokens, t, u)
        if self.auxiliary:
            loss = loss - self.auxiliary * prediction.log_probs.gather(-1, tokens[..., None])[..., 0].sum(1)
        return loss


def step_divergence(
    process: DiscreteProcess, prediction: CategoricalPrediction, x0: Tensor, t: Tensor, u: Tensor
) -> Tensor:
    """KL(q(z_u | z_t, x_0) || p(z_u | z_t)) of the ancestral step, (B,) nats, for noisy tokens z_t ~ q(z_t | x_0)."""
    certain = process.prediction(F.one_hot(x0, process.vocab_size).double().log(), prediction.z)
    truth, model = process.reverse_table(certain, t, u), process.reverse_table(prediction, t, u)
    return (torch.special.xlogy(truth, truth) - torch.special.xlogy(truth, model.clamp_min(1e-300))).sum((1, 2))


def strata(n: int, device: torch.device, generator: torch.Generator | None) -> Tensor:
    """n numbers uniform on [0, 1), one in each of n equal strata, in random order."""
    order = torch.randperm(n, generator=generator, device=device)
    return (order + torch.rand(n, generator=generator, device=device)) / n


def bound_rate(process: DiscreteProcess, prediction: CategoricalPrediction, x0: Tensor, t: Tensor) -> Tensor:
    """Integrand of the continuous-time bound at noisy tokens z ~ q(z_t | x_0), (B,) nats per unit of time.

    sum over positions and ids y of Q_t(y -> z) [s(y) - r(y) log s(y) + r(y) (log r(y) - 1)] with the model's ratios s
    and the true ones r(y) = q(y | x_0) / q(z | x_0); zero for a perfect prediction.

    Args:
        process: forward process.
        prediction: at z; s are the ratios of a `RatioPrediction`, else those that it implies.
        x0: clean tokens (B, L).
        t: times (B,).

    Source: Lou et al. 2023, arXiv:2310.16834, theorem 3.6.
    """
    z = prediction.z
    model = prediction.ratios if isinstance(prediction, RatioPrediction) else None
    if isinstance(process, Masked) and model is None:
        rate = column(process.alpha.slope(t) / (1 - process.alpha(t)), z)
        nats = -prediction.log_probs.gather(-1, x0[..., None])[..., 0].double()
        return torch.where(z == process.mask_id, rate * nats, 0.0).sum(1)
    certain = process.prediction(F.one_hot(x0, process.vocab_size).double().log(), z)
    true = process.ratios(certain, t)
    model = process.ratios(prediction, t) if model is None else model
    terms = model - true - torch.special.xlogy(true, model.clamp_min(1e-300)) + torch.special.xlogy(true, true)
    terms = (process.rates_into(z, t) * terms).scatter(-1, z[..., None], 0.0)
    if process.pinned is not None:
        terms = terms.masked_fill((z == process.pinned)[..., None], 0.0)
    return terms.sum((1, 2))


OBJECTIVES: dict[str, Callable[..., Loss]] = {
    "likelihood": DiscreteLikelihood,
    "cross_entropy": DenoisingCrossEntropy,
    "stepped_likelihood": SteppedLikelihood,
}
"""Losses by name, for configs/trainer/; see `objective_for`."""


def objective_for(process: DiscreteProcess, name: str, parametrization: str = "clean", timed: bool = False) -> Loss:
    """The loss of a name for a process: for "likelihood" the closed form of a masked process where it applies.

    A chain in discrete time has its own steps, and `SteppedLikelihood` is its likelihood.
    """
    if name == "likelihood" and isinstance(process, Masked) and parametrization == "clean" and not timed:
        return MaskedLikelihood(process.mask_id, process.pinned)
    if parametrization == "ratios" and name != "likelihood":
        raise ValueError(f"objective={name} is for predictions of clean tokens; a network of ratios needs likelihood")
    if isinstance(process, Stepped) and name != "cross_entropy":
        steps, plain = len(process.matrices), name == "likelihood"
        return SteppedLikelihood(process, parametrization, steps=steps, auxiliary=0.0 if plain else AUXILIARY)
    if name not in OBJECTIVES:
        raise UnknownNameError("objective", name, OBJECTIVES)
    return OBJECTIVES[name](process, parametrization)
