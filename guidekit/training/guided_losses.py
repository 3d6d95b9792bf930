"""Losses of conditional priors that train for guidance: one call in place of two, or the guided prediction itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from guidekit.core.state import column
from guidekit.errors import UnknownNameError
from guidekit.training.known import KnownPoints
from guidekit.training.regression import DenoisingError


@dataclasses.dataclass(frozen=True)
class ModelGuidance:
    """Guidance in the target: x_0 + s (D_c - D_0) in place of x_0, with both predictions of the averaged weights.

    A network that has converged predicts what classifier-free guidance of weight 1 / (1 - s) would, in one call, since
    its own prediction D_c is in the target. Where the label was hidden the correction is zero.

    Args:
        loss: plain loss.
        strength: s, in [0, 1); 0 is the plain loss.

    Raises:
        ValueError: a strength outside [0, 1), where nothing converges.

    Source: Tang et al. 2025, arXiv:2502.12154; the fixed point is derived here.
    """

    loss: DenoisingError
    strength: float = 0.5
    averaged: ClassVar[bool] = True

    def __post_init__(self) -> None:
        """Refuse strengths without a fixed point."""
        if not 0 <= self.strength < 1:
            raise ValueError(f"strength={self.strength}; model guidance needs one in [0, 1): it learns 1 / (1 - s)")

    def __call__(
        self,
        network: nn.Module,
        x0: Tensor,
        labels: Tensor | None = None,
        generator: torch.Generator | None = None,
        average: nn.Module | None = None,
    ) -> Tensor:
        """Loss (B,) for clean states (B, *S) with labels (B, K); average: the network with averaged weights."""
        noisy, target = self.loss.noise(x0, generator), x0
        if self.strength and labels is not None:
            with torch.no_grad():
                conditional, null = _both(self.loss, network if average is None else average, noisy, labels)
            target = x0 + self.strength * (conditional - null)
        return self.loss.error(self.loss.mean(network, noisy, labels), target, noisy)


@dataclasses.dataclass(frozen=True)
class GuidedError:
    """Error of the guided prediction D_0 + w (D_c - D_0), mixed with that of D_c: trains what guidance will sample.

    With mix = 0 and one weight the guided prediction, not D_c, becomes the conditional one; random weights that the
    network is not told need the plain loss beside them.

    Args:
        loss: plain loss.
        weights: least and largest w, drawn uniformly for every sample.
        mix: share of the plain loss, in [0, 1].
        stop_null: no gradient through D_0.

    Raises:
        ValueError: weights or mix outside their range.

    Source: Patel et al. 2023, arXiv:2311.00938, reconstructed from the abstract; weights and mix are ours.
    """

    loss: DenoisingError
    weights: tuple[float, float] = (1.0, 4.0)
    mix: float = 0.5
    stop_null: bool = False

    def __post_init__(self) -> None:
        """Refuse settings outside their range."""
        low, high = self.weights
        if not low <= high or not 0 <= self.mix <= 1:
            raise ValueError(
                f"weights={list(self.weights)}, mix={self.mix}; least and largest weight, a share of 0 to 1"
            )

    def __call__(
        self, network: nn.Module, x0: Tensor, labels: Tensor | None = None, generator: torch.Generator | None = None
    ) -> Tensor:
        """Loss (B,) for clean states (B, *S) with labels (B, K)."""
        noisy = self.loss.noise(x0, generator)
        if labels is None:
            return self.loss.error(self.loss.mean(network, noisy, None), x0, noisy)
        low, high = self.weights
        w = column(low + (high - low) * torch.rand(len(x0), generator=generator, device=x0.device), x0)
        conditional, null = _both(self.loss, network, noisy, labels)
        base = null.detach() if self.stop_null else null
        guided = self.loss.error(base + w * (conditional - base), x0, noisy)
        # Rows without a label have one prediction: its plain error, which keeps the null trained.
        plain = self.loss.error(conditional, x0, noisy)
        hidden = (labels < 0).all(1)
        return torch.where(hidden, plain, (1 - self.mix) * guided + self.mix * plain)


LOSSES = {"model_guidance": ModelGuidance, "cfg_consistent": GuidedError, "known_points": KnownPoints}


def guided_loss(
    loss: DenoisingError, made: Mapping[str, Any] | None
) -> DenoisingError | ModelGuidance | GuidedError | KnownPoints:
    """The loss that trainer.guided = {name, ...} asks for; None is the plain one.

    Raises:
        UnknownNameError: no loss of that name.
        ValueError: settings outside their range, or unknown ones.
    """
    if made is None:
        return loss
    if not isinstance(made, Mapping):
        raise ValueError(
            f"trainer.guided={made!r}; a mapping is needed, such as {{name: model_guidance, strength: 0.5}}"
        )
    name, options = made.get("name"), {key: value for key, value in made.items() if key != "name"}
    if not isinstance(name, str) or name not in LOSSES:
        raise UnknownNameError("guided loss", name, LOSSES)
    known = [field.name for field in dataclasses.fields(LOSSES[name])][1:]
    for key in options:
        if key not in known:
            raise UnknownNameError(f"setting of trainer.guided.name={name}", key, known)
    try:
        return LOSSES[name](loss, **options)
    except TypeError as error:
        raise ValueError(f"trainer.guided={dict(made)}: {error}") from error


def _both(loss: DenoisingError, network: nn.Module, noisy, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Predictions (B, *S) with and without labels, from one call."""
    twice = type(noisy)(*(torch.cat([part, part]) for part in noisy))
    conditional, null = loss.mean(network, twice, torch.cat([labels, torch.full_like(labels, -1)])).chunk(2)
    return conditional, null
