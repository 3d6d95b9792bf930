"""An enumerable prior over token sequences: exact denoiser, exact sampler law, exact soft values, exact tilts."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from typing import Any

import torch
from torch import Tensor

from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.prior import Prior, Time
from guidekit.priors.labels import class_numbers
from guidekit.processes import DiscreteProcess, Masked


class CategoricalChain(Prior):
    """Any law over V^L short sequences, with everything about its diffusion computed by enumeration.

    Args:
        probabilities: (V, ..., V) with L axes, non-negative; normalized here.
        process: discrete forward process; its vocabulary size is filled in.
        conditionals: optional (C, V, ..., V) laws of C classes; a condition is a class index (B,) int64, -1 for
            `probabilities` itself.

    Raises:
        ValueError: negative entries, unequal axes, or too many states to enumerate (V^L > 4096).
    """

    name = "categorical chain"
    process: Any  # DiscreteProcess

    def __init__(
        self, probabilities: Tensor, process: DiscreteProcess | None = None, conditionals: Tensor | None = None
    ) -> None:
        table = torch.as_tensor(probabilities, dtype=torch.float64)
        size, length = table.shape[0], table.ndim
        if set(table.shape) != {size} or (table < 0).any() or table.sum() <= 0:
            raise ValueError(
                f"probabilities of shape {tuple(table.shape)} must be non-negative with equal axes (V, ..., V)"
            )
        if size**length > 4096:
            raise ValueError(f"{size}^{length} sequences are too many to enumerate; at most 4096")
        self.probabilities = table / table.sum()
        process = process or Masked()
        self.process = dataclasses.replace(process, vocab_size=size)
        self.event_shape = (length,)
        self.sequences = torch.tensor(list(itertools.product(range(size), repeat=length)))
        laws = self.probabilities.flatten()[None]
        if conditionals is not None:
            given = torch.as_tensor(conditionals, dtype=torch.float64).reshape(-1, size**length)
            laws = torch.cat([given / given.sum(1, keepdim=True), laws])
            self.null_condition, self.choices = torch.tensor(-1), (torch.ones(len(given)),)
        self._log_laws = laws.log()
        # The answer of a masked process depends on the state alone: alpha cancels.
        self.timeless = isinstance(process, Masked)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self._log_laws) - 1

    def condition(self, value: Any) -> Tensor | None:
        """Classes by number, one or one a sample; see `Prior.condition`."""
        return class_numbers(value, self.classes, self.name) if self.classes else super().condition(value)

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> CategoricalPrediction:
        """Exact marginals p(x_0^l | z_t), in float64; see `Prior.predict`."""
        size = self.process.vocab_size
        posterior = self.posterior(x, t, condition)
        one_hot = torch.nn.functional.one_hot(self.sequences, size).double()
        marginals = torch.einsum("bn,nlv->blv", posterior, one_hot)
        return self.process.prediction(marginals.log(), x)

    def posterior(self, z: Tensor, t: Time, condition: Tensor | None = None) -> Tensor:
        """p(x_0 | z_t) of every clean sequence in the order of `sequences`, (B, V^L) float64."""
        return torch.softmax(self._log_likelihood(z, t) + self._log_laws[-1 if condition is None else condition], -1)

    def expectation(self, table: Tensor, z: Tensor, t: Time) -> Tensor:
        """E[f(x_0) | z_t] for a table f (V, ..., V), (B,) float64: the exact value behind classifier guidance."""
        return self.posterior(z, t) @ table.double().flatten()

    def _log_likelihood(self, z: Tensor, t: Time) -> Tensor:
        """log q(z_t | x_0) of every clean sequence, (B, V^L)."""
        if isinstance(self.process, Masked):
            agrees = (z[:, None] == self.sequences) | (z[:, None] == self.process.mask_id)
            return torch.where(agrees.all(-1), 0.0, -torch.inf)
        table = self.process.likelihood(z, t).log()
        return torch.stack([table[:, i, self.sequences[:, i]] for i in range(z.shape[1])]).sum(0)

    def states(self) -> Tensor:
        """All noisy sequences, (C^L, L), C ids a position; the last position varies fastest."""
        return torch.tensor(list(itertools.product(range(self.process.states), repeat=self.event_shape[0])))

    def kernel_matrix(self, t: float, u: float) -> Tensor:
        """Matrix of the ancestral step p(z_u | z_t) between all noisy sequences, (C^L, C^L) float64."""
        states = self.states()
        kernel = self.process.reverse_kernel(self.predict(states, t), t, u)
        table = kernel.table().log_probs
        rows = [table[:, i, :][:, states[:, i]] for i in range(states.shape[1])]
        return torch.stack(rows).sum(0).exp()

    def sampler_law(self, grid: list[float]) -> Tensor:
        """Exact law (V, ..., V) of ancestral sampling on a time grid; coarse grids differ from `probabilities`."""
        states = self.states()
        law = self.limit_law()
        for t, u in itertools.pairwise(grid):
            law = law @ self.kernel_matrix(t, u)
        clean = (states < self.process.vocab_size).all(1)
        return law[clean].reshape(self.probabilities.shape)

    def soft_values(self, rewards: Tensor, grid: list[float], temperature: float = 1.0) -> list[Tensor]:
        """log E[exp(r(x_0) / temperature) | z] under ancestral sampling, for every time of the grid.

        Args:
            rewards: table (V, ..., V).
            grid: times from 1 to 0.
            temperature: of the tilt.

        Returns:
            one (C,) * L float64 table per time: index it with the noisy tokens.
        """
        states = self.states()
        clean = (states < self.process.vocab_size).all(1)
        value = torch.zeros(len(states), dtype=torch.float64)
        value[clean] = (rewards.double().flatten() / temperature).exp()
        shape = (self.process.states,) * self.event_shape[0]
        tables = [value.log().reshape(shape)]
        for t, u in reversed(list(itertools.pairwise(grid))):
            value = self.kernel_matrix(t, u) @ value
            tables.append(value.log().reshape(shape))
        return tables[::-1]

    def tilted(self, rewards: Tensor, temperature: float = 1.0) -> CategoricalChain:
        """The chain with law proportional to p(x_0) exp(r(x_0) / temperature); rewards (V, ..., V)."""
        return CategoricalChain(self.probabilities * (rewards.double() / temperature).exp(), self.process)

    def log_normalizer(self, rewards: Tensor, temperature: float = 1.0) -> Tensor:
        """log E[exp(r / temperature)] under `probabilities`, float64 scalar, nats."""
        return (self.probabilities * (rewards.double() / temperature).exp()).sum().log()

    def limit_law(self) -> Tensor:
        """Law of the noisy sequences at t = 1 in the order of `states`, (C^L,) float64."""
        states = self.states()
        if isinstance(self.process, Masked):
            return (states == self.process.mask_id).all(1).double()
        return self.process.limit[states].prod(1)

    def to(self, device: torch.device | str) -> CategoricalChain:
        """The chain with its tensors on another device."""
        new = copy.copy(self)
        for name in ("probabilities", "sequences", "_log_laws"):
            setattr(new, name, getattr(self, name).to(device))
        if self.null_condition is not None:
            new.null_condition = self.null_condition.to(device)
        return new
