"""Guidance of discrete diffusion through the network's last hidden layer, which is continuous where tokens are not."""

from __future__ import annotations

import dataclasses
from functools import partial

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, Guidance, GuidanceError, overrides
from guidekit.core.prior import Time
from guidekit.core.prediction import CategoricalPrediction
from guidekit.core.run import Run
from guidekit.guidance.values.learned import LearnedValue
from guidekit.priors.tokens import TokenPrior


@dataclasses.dataclass(frozen=True)
class NOS(Guidance):
    """The last hidden layer h becomes h + d, with d minimising kl KL(p(x | h + d) || p(x | h)) - value(h + d).

    The minimisation is `steps` steps of Adagrad from d = 0, each with one pass through the network's head and the
    value's; the network itself is called once. The divergence sums over unknown positions, and every sequence is
    optimised by itself. It must be the innermost guidance of predictions, as it replaces the network's own.

    Args:
        value: trained on the prior's features: `train_value(..., trunk="prior")`.
        eta: 1 / temperature of the soft value, in units of 1 / reward; for the event of a classifier give a value made
            by `above` and eta=None.
        kl: weight of the divergence from the unguided prediction, lambda.
        steps, rate: of Adagrad; 0 steps is unguided.

    Source: Gruver et al. 2023, arXiv:2305.20009, eq. 5 and algorithm 1; defaults as in Schiff et al. 2024,
    arXiv:2412.10193.
    """

    value: LearnedValue
    eta: float | None = 1.0
    kl: float = 0.01
    steps: int = 1
    rate: float = 0.1
    replaces_network = True  # so that no other network may be asked in its place
    timeless = True  # the value looks at features only, which depend on the time only where the network's do

    def check(self, run: Run) -> None:
        """The prior must have features, and the value must have been trained on them."""
        if not hasattr(run.prior, "from_features"):
            raise GuidanceError(f"NOS moves a network's features, and this prior ({run.prior.name}) has none")
        mine = run.prior.network.state_dict()
        trunk = getattr(getattr(self.value, "network", None), "trunk", None)
        theirs = {} if trunk is None else trunk.state_dict()
        features = [name for name in mine if not name.startswith("head.")]
        if not all(name in theirs and torch.equal(mine[name], theirs[name].to(mine[name])) for name in features):
            raise GuidanceError(
                f"NOS needs a value of this prior's features ({run.prior.name}): train it with trainer.network=prior"
            )
        if any(overrides(plug, "denoise") for plug in run.plugs[: run.position(self)]):
            raise GuidanceError("NOS replaces the network's prediction: put it first, chain(NOS, others)")

    def denoise(self, inner: Denoiser, x: Tensor, t: Time, condition: Tensor | None) -> CategoricalPrediction:
        """The belief that the moved features mean."""
        run = inner.run
        asked = run.prior.network_rows(x)
        if asked == 0 or self.steps == 0:
            return inner(x, t, condition)
        run.ledger.value_calls += self.steps * asked
        return run.ask(partial(self._moved, run.prior), x, t, condition)

    def _moved(self, prior: TokenPrior, x: Tensor, t: Time, condition: Tensor | None) -> CategoricalPrediction:
        """The belief that h + d means."""
        h = prior.features(x, t, condition)
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
