"""A neural prior over real-valued states."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Time
from guidekit.core.state import column
from guidekit.priors.denoiser import evaluating
from guidekit.priors.labelled import LabelledPrior
from guidekit.priors.labels import Label
from guidekit.priors.parametrization import PARAMETRIZATIONS, input_scale, noise_level, to_mean
from guidekit.processes import GaussianProcess

NUMBERS_A_CALL = 1 << 20
"""Numbers of all states in one network call."""


class NeuralGaussian(LabelledPrior):
    """Gaussian diffusion with a network; it may be sampled by other Gaussian processes than it was trained on.

    The network is told log(s / a) and sees x in unit size, so its answer depends on the signal-to-noise ratio alone.

    Args:
        network: (states (B, *S), level (B,) in [0, 1], labels (B, K) or None) -> outputs (B, *S).
        process: forward process.
        event_shape: S.
        parametrization: what the outputs mean, see `guidekit.priors.parametrization`.
        sigma_data: standard deviation of the data.
        labels: what a condition may name; none for an unconditional network.
        card: how it was made.

    Raises:
        ValueError: no such parametrization.
    """

    name = "neural prior"
    process: GaussianProcess
    network: nn.Module
    made: Mapping[str, Any]
    """{name, options} its network was made from; known for priors of checkpoints."""

    def __init__(
        self,
        network: nn.Module,
        process: GaussianProcess,
        event_shape: Sequence[int],
        parametrization: str = "edm",
        sigma_data: float = 0.5,
        labels: Sequence[Label] = (),
        card: dict | None = None,
    ) -> None:
        if parametrization not in PARAMETRIZATIONS:
            raise ValueError(f"no parametrization {parametrization!r}; there are {', '.join(PARAMETRIZATIONS)}")
        self.network = network
        self.process, self.event_shape = process, tuple(event_shape)
        self.parametrization, self.sigma_data = parametrization, sigma_data
        self.card = card or {}
        self.take_labels(labels)
        self.network_batch = max(1, NUMBERS_A_CALL // math.prod(self.event_shape))

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """See `Prior.predict`."""
        a, s = self.process.coefficients(t)
        with evaluating(self.network):
            mean = denoised(self.network, x, a, s, self.parametrization, self.sigma_data, condition)
        return GaussianPrediction(mean, x, a, s)


def denoised(
    network: nn.Module,
    x: Tensor,
    a: Tensor | float,
    s: Tensor | float,
    parametrization: str,
    sigma_data: float,
    labels: Tensor | None = None,
) -> Tensor:
    """E[x_0 | x], (B, *S), by a network that is told log(s / a) and sees x in unit size; a and s numbers or (B,)."""
    rows = [torch.as_tensor(value, dtype=x.dtype, device=x.device).expand(len(x)) for value in (a, s)]
    a, s = (value.clamp_min(1e-6) for value in rows)  # outputs such as eps say nothing where there is no signal
    output = network(column(input_scale(a, s, sigma_data), x) * x, noise_level(a, s).to(x.device), labels)
    return to_mean(parametrization, output.to(x.dtype), x, a, s, sigma_data)


def made_from(description: Mapping[str, Any], network: nn.Module) -> NeuralGaussian:
    """A prior from the description in a checkpoint and its network."""
    from guidekit.priors.descriptions import gaussian_process_from

    prior = NeuralGaussian(
        network,
        gaussian_process_from(description),
        description["event_shape"],
        description.get("parametrization", "edm"),
        description.get("sigma_data", 0.5),
        [Label(**label) for label in description.get("labels", ())],
        description.get("card"),
    )
    prior.made = description["network"]
    return prior
