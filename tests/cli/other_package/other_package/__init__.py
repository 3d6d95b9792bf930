"""A package beside guidekit that brings one of each: a guidance, a sampler, a domain with a reward, a reward."""

import dataclasses

import torch

import guidekit as gk
from guidekit.core.guidance import Layer
from guidekit.core.requirements import Fact
from guidekit.samplers import Ancestral


@dataclasses.dataclass(frozen=True, eq=False)
class Nudge(gk.Guidance):
    """Moves every clean estimate by a constant.

    Args:
        by: how far.
    """

    by: float = 1.0
    layer = Layer.ESTIMATE
    requires = frozenset({Fact.REAL})

    def denoise(self, inner, question):
        return inner(question).map(lambda support, mean: mean + self.by)


@dataclasses.dataclass(frozen=True, eq=False)
class SmallSteps(Ancestral):
    """Ancestral sampling in more steps than asked for."""

    factor: int = 2

    def grid(self, prior, steps):
        return super().grid(prior, self.factor * steps)


@dataclasses.dataclass(frozen=True)
class Right:
    """How far to the right a dot is."""

    scale: float = 1.0

    def __call__(self, dot):
        return self.scale * dot[0]


@dataclasses.dataclass(frozen=True)
class Heavy:
    """Number of heavy atoms."""

    floor = 0.0

    def __call__(self, mol):
        return float(mol.GetNumHeavyAtoms())


class Dot:
    """Dots are pairs of numbers."""

    language = "dots"

    def encode(self, objects):
        return torch.tensor([list(dot) for dot in objects])

    def decode(self, states):
        return [tuple(row) for row in states.tolist()]


@dataclasses.dataclass(frozen=True)
class Dots(gk.Domain):
    """Dots in the plane.

    Args:
        spread: their standard deviation.
    """

    spread: float = 1.0
    name = "dots"
    objects = "dots"
    codec = Dot()

    def load_prior(self, name="default"):
        prior = gk.priors.Gaussian(torch.zeros(2), self.spread)
        prior.codec = self.codec
        return prior
