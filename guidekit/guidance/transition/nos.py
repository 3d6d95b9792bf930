"""Guidance of discrete diffusion through the network's last hidden layer, which is continuous where tokens are not."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import torch

from guidekit.core.guidance import Fact, Guidance, GuidanceError, Layer, overrides
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Denoise, Marks, Question
from guidekit.core.sampler import Sampler
from guidekit.core.state import altered
from guidekit.guidance.values.learned import LearnedValue
from guidekit.registry import register


@register("guidance", "nos")
@dataclasses.dataclass(frozen=True, eq=False)
class NOS(Guidance[None]):
    """The last hidden layer h becomes h + d, with d minimizing kl KL(p(x | h + d) || p(x | h)) - value(h + d).

    The minimization is `steps` steps of Adagrad from d = 0, each with one pass through the network's head and the
    value's; the network itself is called once. The divergence sums over unknown positions, and every sequence is
    optimized by itself. It must be the innermost guidance of predictions, as it replaces the network's own.

    Args:
        value: trained on the prior's features: `train_value(..., trunk="prior")`.
        eta: 1 / temperature of the soft value, in units of 1 / reward; for the event of a classifier give a value made
            by `above` and eta=None.
        kl: weight of the divergence from the unguided prediction, lambda.
        steps, rate: of Adagrad; 0 steps is unguided.

    Raises:
        ValueError: a setting that is no finite number, or negative steps.

    Source: Gruver et al. 2023, arXiv:2305.20009, eq. 5 and algorithm 1; defaults as in Schiff et al. 2024,
    arXiv:2412.10193.
    """

    value: LearnedValue
    eta: float | None = 1.0
    kl: float = 0.01
    steps: int = 1
    rate: float = 0.1
    layer = Layer.CONTRAST
    requires = frozenset({Fact.SEQUENCE})
    timeless = True  # the value looks at features only, which depend on the time only where the network's do

    def __post_init__(self) -> None:
        """Check the settings."""
        for name in ("eta", "kl", "rate"):
            number = getattr(self, name)
            if number is not None and not math.isfinite(number):
                raise ValueError(f"{name} must be a finite number, got {number}")
        if self.steps < 0:
            raise ValueError(f"steps must be at least 0, got {self.steps}")

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """The prior must have features, and the value must have been trained on them."""
        if not hasattr(prior, "from_features"):
            raise GuidanceError(f"NOS moves a network's features, and this prior ({prior.name}) has none")
        mine = prior.network.state_dict()  # type: ignore[union-attr]
        trunk = getattr(getattr(self.value, "network", None), "trunk", None)
        theirs = {} if trunk is None else trunk.state_dict()
        features = [name for name in mine if not name.startswith("head.")]
        if not all(name in theirs and torch.equal(mine[name], theirs[name].to(mine[name])) for name in features):
            raise GuidanceError(
                f"NOS needs a value of this prior's features ({prior.name}): train it with trainer.network=prior"
            )
        if any(overrides(other, "denoise") for other in members[: members.index(self)]):
            raise GuidanceError("NOS replaces the network's prediction: put it first, chain(NOS, others)")

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """The prediction that the moved features mean: the network is asked for them in place of its answer."""
        asked, setup = question.prior.network_rows(question.x), question.population.setup
        if asked == 0 or self.steps == 0:
            return inner(question)
        if question.marks is not None or question.prior is not setup.prior:
            raise GuidanceError("NOS replaces the network's answer: no perturbed or other network can be asked for it")
        setup.network.ledger.count(value_calls=self.steps * asked)
        codes = torch.ones(len(question.x), dtype=torch.int64, device=question.x.device)
        return inner(altered(question, marks=Marks((self,), codes, torch.zeros_like(codes))))

    def answer(self, question: Question, prior: Any) -> Prediction:
        """The prediction that h + d means; see `guidekit.core.question.Perturbation`."""
        x, t = question.x, question.t
        h = prior.features(x, t, question.condition)
        old, value = prior.from_features(h, x, t), self.value if self.eta is None else self.value.at(self.eta)
        delta, total = torch.zeros_like(h), torch.zeros_like(h)
        for _ in range(self.steps):
            with torch.enable_grad():
                leaf = delta.requires_grad_()
                new = prior.from_features(h + leaf, x, t)
                change = torch.where(old.log_probs.isfinite(), new.log_probs - old.log_probs, 0.0)
                divergence = (new.probs * change).sum((1, 2))
                worth = value.of_features(h + leaf, x)
                (gradient,) = torch.autograd.grad((self.kl * divergence - worth).sum(), leaf)
            total = total + gradient.square()
            delta = (delta - self.rate * gradient / (total.sqrt() + 1e-10)).detach()
        return prior.from_features(h + delta, x, t)
