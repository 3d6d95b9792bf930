"""What single-token edits of noisy sequences are worth: the table (B, L, C) that transition guidance multiplies in.

An estimator of edits is a callable (population, t) -> (B, L, C) float64: how much the objective's logarithm (or its
value) changes when token l of a sequence is set to y; zero at the present tokens. Edits are made to
  noisy states, by a value of noisy states (`ExactEdits`, `TaylorEdits`), or to
  the clean estimate, by a reward of clean states, with no training at all (`CleanEdits`, `GradientEdits`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.guidance import GuidanceError
from guidekit.core.population import Population
from guidekit.objectives.rewards import score

Edits = Callable[[Population, float], Tensor]

ROWS = 4096
"""Edited sequences evaluated in one call."""


def edits_for(reward: Callable | None, value: Callable | None, first_order: bool, rows: int = ROWS) -> Edits:
    """The estimator for what is there: a value of noisy states where given, otherwise the reward of the clean estimate.

    Raises:
        GuidanceError: neither is given, or first-order edits are asked of something without a gradient.
    """
    if value is None and reward is None:
        raise GuidanceError("transition guidance needs something to obey: give reward= or a value of noisy states")
    judge = reward if value is None else value
    if first_order and not hasattr(judge, "relaxed"):
        name = getattr(judge, "name", type(judge).__name__)
        raise GuidanceError(
            f"first-order edits (TAG) need a differentiable objective, one with `relaxed`, and {name} is a black box: "
            "use guidance=predictor or guidance=dcbg with first_order=false, or guidance=svdd"
        )
    if value is None:
        return GradientEdits(reward) if first_order else CleanEdits(reward, rows)
    return TaylorEdits(value) if first_order else ExactEdits(value, rows)


@dataclasses.dataclass(frozen=True)
class ExactEdits:
    """Value of every edited noisy sequence minus that of the present one; L V evaluations a sequence, in batches.

    Args:
        value: (noisy tokens (B, L), t) -> (B,), log p(y | z_t) or a soft value over its temperature, nats.
        rows: most sequences in one evaluation.

    Source: Schiff et al. 2024, arXiv:2412.10193, eq. 9; Nisonoff et al. 2024, arXiv:2406.01572, eq. 3.
    """

    value: Callable[[Tensor, float], Tensor]
    rows: int = ROWS

    def __call__(self, population: Population, t: float) -> Tensor:
        """See the module's documentation."""
        z, process, time = population.state, population.run.prior.process, population.time(t)
        present = self.value(z, time).double()
        row, place, token = editable(z, process).nonzero(as_tuple=True)
        table = torch.zeros(*z.shape, process.states, dtype=torch.float64, device=z.device)
        for cut in torch.arange(len(row), device=z.device).split(self.rows):
            edited = z[row[cut]].scatter(1, place[cut, None], token[cut, None])
            when = time[row[cut]] if isinstance(time, Tensor) else time
            table[row[cut], place[cut], token[cut]] = self.value(edited, when).double() - present[row[cut]]
        population.run.ledger.value_calls += len(row) + len(z)
        return table


@dataclasses.dataclass(frozen=True)
class TaylorEdits:
    """First-order change of a value: its gradient in the one-hot input, minus the entry of the present token.

    One forward and one backward pass of the value a step, whatever L and V are. Exact for a value that is linear.

    Args:
        value: has `relaxed(one_hot (B, L, C), t) -> (B,)`, differentiable, nats.

    Source: Nisonoff et al. 2024, arXiv:2406.01572, eq. 5 (TAG); Schiff et al. 2024, arXiv:2412.10193, eq. 12.
    """

    value: Callable

    def __call__(self, population: Population, t: float) -> Tensor:
        """See the module's documentation."""
        z, process = population.state, population.run.prior.process
        with torch.enable_grad():
            one_hot = F.one_hot(z, process.states).float().requires_grad_()
            (gradient,) = torch.autograd.grad(self.value.relaxed(one_hot, population.time(t)).sum(), one_hot)
        population.run.ledger.value_calls += len(z)
        gradient = gradient.double()
        return (gradient - gradient.gather(-1, z[..., None])) * editable(z, process)


@dataclasses.dataclass(frozen=True)
class CleanEdits:
    """Reward of the most probable clean sequence with token l set to v, minus its reward as it is; any black box.

    A clean sequence without a reward (it decodes to nothing) counts as the worst one seen among its own edits.

    Args:
        reward: clean tokens (B, L) -> (B,), in the unit of the reward.
        rows: most sequences in one evaluation.
    """

    reward: Callable
    rows: int = ROWS

    def __call__(self, population: Population, t: float) -> Tensor:
        """See the module's documentation."""
        z, process = population.state, population.run.prior.process
        clean = population.predict(t).clean
        open_ = editable(z, process)[..., : process.vocab_size]
        other = clean[..., None] != torch.arange(process.vocab_size, device=z.device)
        row, place, token = (open_ & other).nonzero(as_tuple=True)
        ledger = population.run.ledger
        present = score(self.reward, clean, ledger)
        values = present[:, None, None].repeat(1, z.shape[1], process.states)
        for cut in torch.arange(len(row), device=z.device).split(self.rows):
            edited = clean[row[cut]].scatter(1, place[cut, None], token[cut, None])
            values[row[cut], place[cut], token[cut]] = score(self.reward, edited, ledger)
        least = values.masked_fill(~values.isfinite(), torch.inf).amin((1, 2), keepdim=True)
        values = torch.where(values.isfinite(), values, torch.where(least.isfinite(), least, 0.0))
        # A token already there is compared with itself, an undecided one with the mean over what it may become.
        mean = (population.predict(t).probs.double() * values[..., : process.vocab_size]).sum(-1, keepdim=True)
        undecided = (z >= process.vocab_size)[..., None]
        return (values - torch.where(undecided, mean, values.gather(-1, z[..., None]))) * editable(z, process)


@dataclasses.dataclass(frozen=True)
class GradientEdits:
    """First-order change of the reward of the expected clean sequence: one backward pass of the reward.

    With G the gradient of the reward in the probabilities of the clean tokens, setting token l to y replaces its law
    p(x) by p(x) q(y | x) / q(z | x), normalised; the change is the difference of the means of G. For a masked token
    that is G(y) - E G. How the other tokens' laws would change is left out. The network is not called.

    Args:
        reward: has `relaxed(probabilities (B, L, V)) -> (B,)`, differentiable.
    """

    reward: Callable

    def __call__(self, population: Population, t: float) -> Tensor:
        """See the module's documentation."""
        process, prediction, time = population.run.prior.process, population.predict(t), population.time(t)
        with torch.enable_grad():
            probs = prediction.probs.float().detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.reward.relaxed(probs).sum(), probs)
        population.run.ledger.value_calls += len(prediction.z)
        weight = process.weights(prediction, time)
        total = process.spread(weight, time)
        mean = torch.where(total > 0, process.spread(weight * gradient.double(), time) / total, 0.0)
        here = mean.gather(-1, prediction.z[..., None])
        return (mean - here) * editable(prediction.z, process)


def editable(z: Tensor, process) -> Tensor:
    """Edits that a reverse step can make, (B, L, C) bool: not of pinned tokens, nor of what is already revealed."""
    other = z[..., None] != torch.arange(process.states, device=z.device)
    mask = getattr(process, "mask_id", None)
    if mask is not None:
        return other & (z == mask)[..., None]
    return other if process.pinned is None else other & (z != process.pinned)[..., None]
