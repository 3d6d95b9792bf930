"""Guidance paid in advance: a small network that maps noise to the noise whose unguided sample is the guided one."""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.core.step import Step
from guidekit.processes import GaussianProcess
from guidekit.registry import register
from guidekit.samplers.ancestral import DDIM


@dataclasses.dataclass(frozen=True, eq=False)
class Refiner:
    """Noise to refined noise, x + s R(x / s, c): R is a network of the kind that denoises, asked at full noise.

    Args:
        network: (states (B, *S), level (B,), labels (B, K) or None) -> (B, *S); zero at first, where its head is.
        process: of the prior it was trained for.
        event_shape: S.
        times: of the unguided DDIM steps it was trained for, from noise to 0.
        conditions: (M, ...) it was trained with; None where there was none.
        weights: `fingerprint` of the prior; None lets any prior of these states and this process pass.

    Source: Ahn et al. 2024, arXiv:2412.03895, section 4.
    """

    network: nn.Module
    process: GaussianProcess
    event_shape: tuple[int, ...]
    times: tuple[float, ...]
    conditions: Tensor | None = None
    weights: str | None = None

    def __call__(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """Refined noise (B, *S) of noise x (B, *S) at the first of `times`, with conditions (B, ...)."""
        std = float(self.process.coefficients(self.times[0])[1])
        return x + std * self.network(x / std, x.new_ones(len(x)), condition)

    def to(self, device: torch.device | str) -> Refiner:
        """The refiner with its network on another device."""
        if next(self.network.parameters()).device == torch.device(device):
            return self
        return dataclasses.replace(self, network=copy.deepcopy(self.network).to(device))


def fingerprint(prior: Prior) -> str | None:
    """A hash of the weights of a prior's network; None where it has none."""
    network = getattr(prior, "network", None)
    if not isinstance(network, nn.Module):
        return None
    found = hashlib.blake2b(digest_size=12)
    for name, value in network.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


@register("guidance", "refined_noise")
@dataclasses.dataclass(frozen=True, eq=False)
class RefinedNoise(Guidance[None]):
    """Start from refined noise: what was guidance at every step is one call of a small network at the start.

    It is counted as a value call. The steps are those of DDIM that the refiner was trained for; stochastic samplers
    would forget their start.

    Args:
        refiner: made by `guidekit.training.refiner.train_refiner`, or the file of one.

    Source: Ahn et al. 2024, arXiv:2412.03895, section 4.
    """

    refiner: Refiner
    layer = Layer.START
    requires = frozenset({Fact.FLOW, Fact.WHOLE})

    @property
    def default_sampler(self) -> Sampler:  # type: ignore[override]
        """The steps the refiner was trained for, whatever number of steps a run asks for."""
        return DDIM(times=self.refiner.times)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """Prior and sampler must be those of the training."""
        made = self.refiner
        if tuple(prior.event_shape) != tuple(made.event_shape):
            shapes = f"{tuple(made.event_shape)}, and this prior ({prior.name}) has {tuple(prior.event_shape)}"
            raise GuidanceError(f"{self.name}: the refiner was trained on states {shapes}")
        if prior.process != made.process:
            raise GuidanceError(
                f"{self.name}: the refiner was trained on {made.process}, this prior ({prior.name}) has {prior.process}"
            )
        if made.weights is not None and fingerprint(prior) != made.weights:
            raise GuidanceError(f"{self.name}: the refiner was trained for another prior than this one ({prior.name})")
        if not isinstance(sampler, DDIM) or sampler.eta != 0:
            raise GuidanceError(
                f"{self.name}: a refiner is made for steps of DDIM, not for {sampler}: leave sampler= out, or take "
                f"sampler=ddim steps={len(made.times) - 1}"
            )

    def plan(self, steps: tuple[Step, ...], prior: Prior) -> tuple[Step, ...]:
        """The steps as they are.

        Raises:
            GuidanceError: others than those of the training.
        """
        times = [*(step.t for step in steps), steps[-1].u]
        if len(times) != len(self.refiner.times):
            count = len(self.refiner.times) - 1
            raise GuidanceError(f"the refiner was trained for {count} steps, not {len(times) - 1}: steps={count}")
        if max(abs(a - b) for a, b in zip(times, self.refiner.times, strict=True)) > 1e-6:
            raise GuidanceError("the refiner was trained for other times than those of this sampler: leave it out")
        return steps

    def start(self, population: Population) -> Population:
        """The refined start.

        Raises:
            GuidanceError: conditions that the refiner was not trained with.
        """
        setup, given = population.setup, population.condition
        self._check_condition(setup.prior, given)
        refiner = self.refiner.to(population.device)
        parts = torch.arange(len(population), device=population.device).split(setup.network.limit or len(population))
        with torch.no_grad():
            refined = [refiner(population.state[rows], None if given is None else given[rows]) for rows in parts]
        setup.network.ledger.count(value_calls=len(population))
        return population.at(torch.cat(refined))

    def _check_condition(self, prior: Prior, given: Tensor | None) -> None:
        seen = self.refiner.conditions
        if (seen is None) != (given is None):
            raise GuidanceError(
                "the refiner was trained without a condition: leave condition= out"
                if seen is None
                else "the refiner was trained with conditions: give condition="
            )
        if seen is not None and given is not None:
            known, asked = (_names(prior, rows) for rows in (seen, given))
            other = [name for name in asked if name not in known]
            if other:
                raise GuidanceError(
                    f"the refiner was not trained with condition {other[0]}; it knows {'; '.join(known)}"
                )


def _names(prior: Prior, conditions: Tensor) -> list[str]:
    """Conditions (M, ...) as users write them: the values of the prior's labels, or numbers."""
    rows, labels = conditions.reshape(len(conditions), -1).tolist(), getattr(prior, "labels", ())
    texts = [
        [label.values[number] if number >= 0 else "none" for label, number in zip(labels, row, strict=True)]
        if labels
        else map(str, row)
        for row in rows
    ]
    return list(dict.fromkeys(", ".join(text) for text in texts))
