"""Repair: finished samples that break a rule of their domain are mended by its own search."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch

from guidekit.core.guidance import Guidance, GuidanceError, Layer
from guidekit.core.population import Population
from guidekit.core.prior import Prior
from guidekit.core.sampler import Sampler
from guidekit.registry import register


@register("guidance", "repair")
@dataclasses.dataclass(frozen=True, eq=False)
class Repair(Guidance[None]):
    """Hands finished states to the prior's codec, which mends those that it finds broken and leaves the others.

    Plans get detours around what they run into, by A* on a grid: a global search where gradients are local. What is
    mended is no draw from the prior. `result.info` says how many were "broken" and how many still are ("unmended").

    Raises:
        GuidanceError: the prior's codec mends nothing.
    """

    layer = Layer.FILTER

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """See `Guidance.check`."""
        if not callable(getattr(prior.codec, "repaired", None)):
            raise GuidanceError(f"{self.name} asks the prior's codec to mend samples, and that of {prior.name} cannot")

    def finish(self, population: Population) -> Population:
        """See `Guidance.finish`."""
        states, before, after = population.setup.prior.codec.repaired(population.state)  # type: ignore[union-attr]
        shape = (population.groups, population.particles)
        for name, broken in (("broken", before), ("unmended", after)):
            population.setup.recorder.record(name, torch.as_tensor(broken).view(shape).sum(1))
        return population.at(states)
