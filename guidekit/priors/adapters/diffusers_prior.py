"""A network of diffusers as a prior."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from guidekit.core.guidance import GuidanceError
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Time
from guidekit.core.state import column
from guidekit.priors.adapters.latents import Autoencoder
from guidekit.priors.adapters.schedulers import Convention
from guidekit.priors.labelled import LabelledPrior
from guidekit.priors.labels import Label
from guidekit.priors.neural import NUMBERS_A_CALL
from guidekit.priors.parametrization import input_scale, to_mean
from guidekit.priors.weights import CheckpointError
from guidekit.processes import GaussianProcess


class DiffusersPrior(LabelledPrior):
    """A network of diffusers with the process it was trained on.

    Clean estimates are clipped or thresholded as the scheduler does, answer by answer: a guidance that combines
    several may leave the range again.

    Args:
        network: a `UNet2DModel` or a transformer of DiT.
        convention: see `convention_of`.
        labels: the class names, for networks with classes.
        null_class: number of the class that stands for "no class"; None where the network was trained without one.
        card: what is told of it.

    Attributes:
        autoencoder: whose latents its states are; None where they are what the codec reads.

    Raises:
        CheckpointError: the configuration of the network names no size, or it takes other channels than it predicts.
    """

    name = "diffusers prior"
    process: GaussianProcess
    network: nn.Module
    autoencoder: Autoencoder | None = None

    def __init__(
        self,
        network: nn.Module,
        convention: Convention,
        labels: tuple[Label, ...] = (),
        null_class: int | None = None,
        card: dict | None = None,
    ) -> None:
        self.network, self.convention = network.eval().requires_grad_(False), convention
        self.process, self.notes = convention.process, convention.notes
        self.null_class, self.card = null_class, card or {}
        self.event_shape = event_shape(network)
        self.network_batch = max(1, NUMBERS_A_CALL // (self.event_shape[0] * self.event_shape[1] * self.event_shape[2]))
        self.take_labels(labels)

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """See `Prior.predict`.

        Raises:
            GuidanceError: no class is given, and the network was trained without a null class.
        """
        a, s = self.process.coefficients(t)
        how = self.convention
        index = torch.as_tensor(how.told(t, a, s), dtype=torch.float32, device=x.device).expand(len(x))
        seen = x if how.sigma_data is None else column(input_scale(a, s, how.sigma_data), x) * x
        output = self.network(seen, index, **self.given(x, condition)).sample[:, : x.shape[1]]  # without the variance
        mean = to_mean(how.predicts, how.sign * output, x, a, s, how.sigma_data or 0.5)
        return GaussianPrediction(mean if how.bound is None else how.bound(mean), x, a, s)

    def given(self, x: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        """What the network is told besides the state (B, *S) and the time."""
        if not self.labels:
            return {}
        given = torch.full((len(x),), -1, device=x.device) if condition is None else condition.view(len(x))
        if self.null_class is None and (given < 0).any():
            raise GuidanceError(
                f"{self.name} was trained without a null class: give condition=, and for guidance a contrast that "
                "needs no null, such as guidance=icg"
            )
        return {"class_labels": given if self.null_class is None else torch.where(given < 0, self.null_class, given)}


def event_shape(network: nn.Module) -> tuple[int, int, int]:
    """(C, H, W) of the states of a network."""
    config: Any = network.config
    size, channels = config.sample_size, config.in_channels
    if size is None:
        raise CheckpointError(f"the configuration of {type(network).__name__} names no sample_size")
    if config.out_channels is not None and config.out_channels not in (channels, 2 * channels):
        raise CheckpointError(
            f"{type(network).__name__} takes {channels} channels and answers with {config.out_channels}: networks that "
            "are shown more than the state (inpainting, upscaling) are not read"
        )
    height, width = size if isinstance(size, list | tuple) else (size, size)
    return channels, height, width
