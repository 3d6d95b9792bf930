"""What single-token edits of noisy sequences are worth: the table (B, L, C) that transition guidance multiplies in.

An estimator of edits is a callable population -> (B, L, C) float64: how much the objective's logarithm (or its value)
changes when token l of a sequence is set to y; zero at the present tokens. Edits are made to
  noisy states, by a value of noisy states (`ExactEdits`, `TaylorEdits`), or to
  the clean estimate, by a reward of clean states or objects, with no training at all (`CleanEdits`, `GradientEdits`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.objective import Objective
from guidekit.core.population import Population
from guidekit.core.requirements import GuidanceError
from guidekit.core.state import take

Edits = Callable[[Population], Tensor]

ROWS = 4096
"""Edited sequences evaluated in one call."""


def edits_for(objective: Objective, first_order: bool, rows: int = ROWS) -> Edits:
    """The estimator that suits an objective: of noisy states, or else of clean ones or of objects.

    Raises:
        GuidanceError: first-order edits are asked of something without a gradient in the laws of tokens.
    """
    if first_order and not hasattr(objective, "relaxed"):
        raise GuidanceError(
            f"first-order edits (TAG) need a differentiable objective, one with `relaxed`, and {objective.name} is a "
            "black box: use predictor or dcbg with first_order=false, or svdd"
        )
    if objective.on == "noisy":
        return TaylorEdits(objective) if first_order else ExactEdits(objective, rows)
    return GradientEdits(objective) if first_order else CleanEdits(objective, rows)


@dataclasses.dataclass(frozen=True)
class ExactEdits:
    """Value of every edited noisy sequence minus that of the present one; L V evaluations a sequence, in batches.

    Args:
        value: of noisy states: log p(y | z_t) or a soft value over its temperature, nats.
        rows: most sequences in one evaluation.

    Source: Schiff et al. 2024, arXiv:2412.10193, eq. 9; Nisonoff et al. 2024, arXiv:2406.01572, eq. 3.
    """

    value: Objective
    rows: int = ROWS

    def __call__(self, population: Population) -> Tensor:
        """See the module's documentation."""
        z, process = population.state, population.process
        present = population.score(self.value)
        row, place, token = editable(z, process).nonzero(as_tuple=True)
        table = torch.zeros(*z.shape, process.states, dtype=torch.float64, device=z.device)
        for cut in torch.arange(len(row), device=z.device).split(self.rows):
            worth = _edited(population, self.value, z, row[cut], place[cut], token[cut])
            table[row[cut], place[cut], token[cut]] = worth - present[row[cut]]
        population.setup.network.ledger.count(value_calls=len(row) + len(z))
        return table


@dataclasses.dataclass(frozen=True)
class TaylorEdits:
    """First-order change of a value: its gradient in the one-hot input, minus the entry of the present token.

    One forward and one backward pass of the value a step, whatever L and V are. Exact for a value that is linear.

    Args:
        value: of noisy states; has `relaxed(one_hot (B, L, C), t) -> (B,)`, differentiable, nats.

    Source: Nisonoff et al. 2024, arXiv:2406.01572, eq. 5 (TAG); Schiff et al. 2024, arXiv:2412.10193, eq. 12.
    """

    value: Any

    def __call__(self, population: Population) -> Tensor:
        """See the module's documentation."""
        z, process = population.state, population.process
        with torch.enable_grad():
            one_hot = F.one_hot(z, process.states).float().requires_grad_()
            (gradient,) = torch.autograd.grad(self.value.relaxed(one_hot, population.time).sum(), one_hot)
        population.setup.network.ledger.count(value_calls=len(z))
        gradient = gradient.double()
        return (gradient - gradient.gather(-1, z[..., None])) * editable(z, process)


@dataclasses.dataclass(frozen=True)
class CleanEdits:
    """Reward of the most probable clean sequence with token l set to v, minus its reward as it is; any black box.

    A clean sequence without a reward (it decodes to nothing) counts as the worst one seen among its own edits.

    Args:
        reward: of clean states or objects, in its own unit.
        rows: most sequences in one evaluation.
    """

    reward: Objective
    rows: int = ROWS

    def __call__(self, population: Population) -> Tensor:
        """See the module's documentation."""
        z, process = population.state, population.process
        prediction: Any = population.predict()
        clean, size = prediction.clean, process.vocab_size
        other = clean[..., None] != torch.arange(size, device=z.device)
        row, place, token = (editable(z, process)[..., :size] & other).nonzero(as_tuple=True)
        values = population.score(self.reward)[:, None, None].repeat(1, z.shape[1], process.states)
        for cut in torch.arange(len(row), device=z.device).split(self.rows):
            worth = _edited(population, self.reward, clean, row[cut], place[cut], token[cut])
            values[row[cut], place[cut], token[cut]] = worth
        least = values.masked_fill(~values.isfinite(), torch.inf).amin((1, 2), keepdim=True)
        values = torch.where(values.isfinite(), values, torch.where(least.isfinite(), least, 0.0))
        # A token already there is compared with itself, an undecided one with the mean over what it may become.
        mean = (prediction.probs.double() * values[..., :size]).sum(-1, keepdim=True)
        undecided = (z >= size)[..., None]
        return (values - torch.where(undecided, mean, values.gather(-1, z[..., None]))) * editable(z, process)


@dataclasses.dataclass(frozen=True)
class GradientEdits:
    """First-order change of the reward of the expected clean sequence: one backward pass of the reward.

    With G the gradient of the reward in the probabilities of the clean tokens, setting token l to y replaces its law
    p(x) by p(x) q(y | x) / q(z | x), normalized; the change is the difference of the means of G. For a masked token
    that is G(y) - E G. How the other tokens' laws would change is left out. The network is not called.

    Args:
        reward: has `relaxed(probabilities (B, L, V)) -> (B,)`, differentiable.
    """

    reward: Any

    def __call__(self, population: Population) -> Tensor:
        """See the module's documentation."""
        process, time = population.process, population.time
        prediction: Any = population.predict()
        with torch.enable_grad():
            probs = prediction.probs.float().detach().requires_grad_()
            (gradient,) = torch.autograd.grad(self.reward.relaxed(probs).sum(), probs)
        population.setup.network.ledger.count(value_calls=len(prediction.z))
        weight = process.weights(prediction, time)
        total = process.spread(weight, time)
        mean = torch.where(total > 0, process.spread(weight * gradient.double(), time) / total, 0.0)
        here = mean.gather(-1, prediction.z[..., None])
        return (mean - here) * editable(prediction.z, process)


def _edited(
    population: Population, objective: Objective, tokens: Tensor, row: Tensor, place: Tensor, token: Tensor
) -> Tensor:
    """The objective (N,) float64 of N edits of tokens (B, L), each at the time and with the slot of its own row."""
    time, held = population.time, population.slots.get(objective)
    states = tokens[row].scatter(1, place[:, None], token[:, None])
    time = time[row] if isinstance(time, Tensor) else time
    return objective.look(partial(population.setup.seen, states), time, take(held, row)).double()


def editable(z: Tensor, process: Any) -> Tensor:
    """See `DiscreteProcess.editable`."""
    edits: Tensor = process.editable(z)
    return edits
