"""Latent diffusion: states are what an autoencoder makes of objects; it stands around the prior, in its codec."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.core.objective import Number, Objective
from guidekit.core.prior import Codec, Prior
from guidekit.core.requirements import GuidanceError

AT_ONCE = 1 << 24
"""Numbers in the pictures of one call of an autoencoder."""


@dataclasses.dataclass(frozen=True, eq=False)
class Autoencoder:
    """Between arrays (B, C, H, W) in [-1, 1] and the latents of a prior (B, c, h, w).

    Args:
        network: an `AutoencoderKL` of diffusers.
        shape: S of the latents.

    Latents are (mean of the encoder - shift) * scale, with the numbers of its configuration.
    """

    network: nn.Module
    shape: tuple[int, int, int]

    @property
    def decoded(self) -> tuple[int, int, int]:
        """(C, H, W) of the arrays."""
        config: Any = self.network.config
        factor = 2 ** (len(config.block_out_channels) - 1)
        return config.out_channels, self.shape[1] * factor, self.shape[2] * factor

    @property
    def scale(self) -> tuple[float, float]:
        """(scale, shift)."""
        config: Any = self.network.config
        return float(config.scaling_factor), float(getattr(config, "shift_factor", None) or 0.0)

    def encode(self, arrays: Tensor) -> Tensor:
        """Latents (B, *shape) of arrays (B, C, H, W); the mean of what the encoder believes in."""
        network: Any = self.network
        scale, shift = self.scale
        parts = [network.encode(part).latent_dist.mean for part in arrays.to(self.device).split(self.batch)]
        return ((torch.cat(parts) - shift) * scale).to(arrays.device)

    def decode(self, latents: Tensor) -> Tensor:
        """Arrays (B, C, H, W) of latents; differentiable."""
        network: Any = self.network
        scale, shift = self.scale
        parts = [network.decode(part / scale + shift).sample for part in latents.to(self.device).split(self.batch)]
        return torch.cat(parts).to(latents.device)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def batch(self) -> int:
        """Arrays a call."""
        channels, height, width = self.decoded
        return max(1, AT_ONCE // (64 * channels * height * width))


@dataclasses.dataclass(frozen=True, eq=False)
class LatentCodec:
    """The codec of a prior of latents: an autoencoder, and the codec of what it decodes.

    Args:
        autoencoder: between latents and arrays.
        inner: between arrays and objects.
    """

    autoencoder: Autoencoder
    inner: Any

    @property
    def language(self) -> str:
        """That of the objects, behind this autoencoder."""
        return f"latents {id(self.autoencoder.network)} of {getattr(self.inner, 'language', '')}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of decoded arrays."""
        return self.autoencoder.decoded

    def encode(self, objects: Sequence[Any]) -> Tensor:
        """Objects to latents (B, c, h, w)."""
        with torch.no_grad():
            return self.autoencoder.encode(self.inner.encode(objects))

    def decode(self, states: Tensor) -> list[Any]:
        """Latents to objects, None where there is none."""
        with torch.no_grad():
            return self.inner.decode(self.autoencoder.decode(states))


@dataclasses.dataclass(frozen=True, eq=False)
class OfDecoded(Objective[Any]):
    """An objective of arrays, asked about what latents decode to; gradients go through the decoder.

    Args:
        inner: of arrays (B, C, H, W).
        autoencoder: that decodes.
    """

    inner: Objective
    autoencoder: Autoencoder

    @property
    def name(self) -> str:
        """That of the inner one."""
        return self.inner.name

    @property
    def differentiable(self) -> bool:  # type: ignore[override]
        """Where the inner one is."""
        return self.inner.differentiable

    @property
    def temperature(self) -> float | None:  # type: ignore[override]
        """That of the inner one."""
        return self.inner.temperature

    @property
    def floor(self) -> float | None:  # type: ignore[override]
        """That of the inner one."""
        return self.inner.floor

    @property
    def unit(self) -> str:  # type: ignore[override]
        """That of the inner one."""
        return self.inner.unit

    def rows(self, samples: int) -> Any:
        """See `Objective.rows`."""
        return self.inner.rows(samples)

    def scores(self, states: Tensor, t: Number, rows: Any) -> Tensor:
        """See `Objective.scores`."""
        return self.inner(self.autoencoder.decode(states.float()).to(states.dtype), t, rows)

    def check(self, prior: Prior) -> None:
        """See `Objective.check`: it must be the prior whose latents are decoded."""
        codec = prior.codec
        if not isinstance(codec, LatentCodec) or codec.autoencoder.network is not self.autoencoder.network:
            raise GuidanceError(f"reward {self.name} decodes latents of another prior than {prior.name}")


def decoded(objective: Objective, codec: Codec | None) -> Objective:
    """An objective of arrays for a prior with this codec: as it is, unless its states are latents."""
    if not isinstance(codec, LatentCodec) or objective.on == "objects":
        return objective
    return OfDecoded(objective, codec.autoencoder)
