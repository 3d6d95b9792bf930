"""Gaussian and Gaussian-mixture priors with exact denoisers, posteriors and evidences."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior, Time
from guidekit.priors.labels import class_numbers
from guidekit.processes import VP, GaussianProcess

if TYPE_CHECKING:
    from guidekit.objectives.gaussian import LinearGaussian, QuadraticReward


class GaussianMixture(Prior):
    """Mixture of Gaussians sum_k w_k N(m_k, C_k) with the exact denoiser of any Gaussian process.

    Args:
        means: m_k, (M, D).
        stds: a number, (M,) or (M, D) standard deviations; or None when `covariances` is given.
        weights: w_k, (M,), positive; normalized here. None is equal weights.
        process: forward process.
        covariances: C_k, (M, D, D) symmetric positive definite, instead of `stds`.

    A condition is the index (B,) int64 of a component, -1 the whole mixture: the prior is class-conditional for free.

    Raises:
        ValueError: shapes that do not fit, or a covariance that is not positive definite.
    """

    name = "gaussian mixture"
    process: GaussianProcess

    def __init__(
        self,
        means: Tensor,
        stds: Tensor | float | None = None,
        weights: Tensor | None = None,
        process: GaussianProcess | None = None,
        covariances: Tensor | None = None,
    ) -> None:
        self.means = torch.as_tensor(means)
        if self.means.ndim != 2 or not self.means.is_floating_point():
            raise ValueError(
                f"means have shape {tuple(self.means.shape)}; expected (components, dimensions) of real numbers"
            )
        count, size = self.means.shape
        if (stds is None) == (covariances is None):
            raise ValueError("give either stds or covariances")
        if covariances is None:
            spread = torch.as_tensor(stds, dtype=self.means.dtype)
            spread = (spread[:, None] if spread.ndim == 1 else spread).expand(count, size)
            covariances = torch.diag_embed(spread.square())
        self.covariances = torch.as_tensor(covariances, dtype=self.means.dtype)
        if self.covariances.shape != (count, size, size):
            raise ValueError(f"covariances have shape {tuple(self.covariances.shape)}; expected {(count, size, size)}")
        weights = torch.ones(count) if weights is None else torch.as_tensor(weights)
        self.log_w = torch.log_softmax(weights.to(self.means).log(), 0)
        self.process = process or VP()
        self.event_shape, self.dtype = (size,), self.means.dtype
        self.null_condition, self.choices = torch.tensor(-1), (self.weights,)
        # Eigenbasis of every covariance: noising adds to the eigenvalues only.
        values, self._basis = torch.linalg.eigh(self.covariances.double())
        if values.min() <= 0:
            raise ValueError("a covariance is not positive definite")
        self._values = values.to(self.means)
        self._basis = self._basis.to(self.means)
        # Spherical components need no rotation, which is most of the cost of a small mixture.
        self._round = bool((values.amax(1) - values.amin(1)).max() < 1e-12 * values.max())

    @property
    def weights(self) -> Tensor:
        """Component weights (M,), summing to one."""
        return self.log_w.exp()

    def condition(self, value: Any) -> Tensor | None:
        """Components by number, one or one a sample.

        Raises:
            ValueError: what is no number of a component.
        """
        return class_numbers(value, len(self.means), self.name)

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """Exact posterior mean; see `Prior.predict`."""
        a, s = self.process.coefficients(t)
        aa, ss = (v[:, None, None] if isinstance(v, Tensor) else v for v in (a, s))
        gap = torch.sub(x[:, None], aa * self.means)
        if self._round:
            variance = aa * aa * self._values[:, :1] + ss * ss
            log_r = (
                self.log_w
                - 0.5 * (gap.square().sum(-1, keepdim=True) / variance + gap.shape[-1] * variance.log())[..., 0]
            )
            gain = aa * self._values[:, :1] / variance
            pull = gain * gap
        else:
            rotated = torch.einsum("kji,bkj->bki", self._basis, gap)
            variance = aa * aa * self._values + ss * ss
            log_r = self.log_w - 0.5 * (rotated.square() / variance + variance.log()).sum(-1)
            pull = torch.einsum("kij,bkj->bki", self._basis, aa * self._values / variance * rotated)
        if condition is not None:
            other = torch.arange(len(self.means), device=x.device) != condition[:, None]
            log_r = log_r.masked_fill(other & (condition[:, None] >= 0), -torch.inf)
        r = torch.softmax(log_r, -1)
        mean = r @ self.means.to(r) + (r[..., None] * pull).sum(1)
        return GaussianPrediction(mean, x, a, s)

    def marginal(self, t: float) -> MixtureSameFamily:
        """Law of x_t, as a torch distribution in float64 with `sample` and `log_prob`."""
        a, s = self.process.coefficients(t)
        eye = torch.eye(self.event_shape[0], dtype=torch.float64)
        components = MultivariateNormal(a * self.means.double(), a * a * self.covariances.double() + s * s * eye)
        return MixtureSameFamily(Categorical(logits=self.log_w.double()), components)

    def mean(self) -> Tensor:
        """Mean of the clean law, (D,)."""
        return self.weights @ self.means

    def covariance(self) -> Tensor:
        """Covariance of the clean law, (D, D)."""
        centered = self.means - self.mean()
        spread = torch.einsum("k,ki,kj->ij", self.weights, centered, centered)
        return spread + torch.einsum("k,kij->ij", self.weights, self.covariances)

    def posterior(self, likelihood: LinearGaussian) -> GaussianMixture:
        """The exact law of x_0 given y = A x_0 + noise: a mixture with components reweighted by evidence."""
        parts = [_condition(m, c, likelihood) for m, c in zip(self.means, self.covariances, strict=True)]
        means, covariances, log_evidence = (torch.stack(list(p)) for p in zip(*parts, strict=True))
        log_w = torch.log_softmax(self.log_w.double() + log_evidence, 0)
        return self._like(means.to(self.means), covariances.to(self.means), log_w.exp().to(self.means))

    def log_evidence(self, likelihood: LinearGaussian) -> Tensor:
        """log p(y) in nats, float64 scalar."""
        parts = [_condition(m, c, likelihood)[2] for m, c in zip(self.means, self.covariances, strict=True)]
        return torch.logsumexp(self.log_w.double() + torch.stack(parts), 0)

    def tilted(self, reward: QuadraticReward, temperature: float = 1.0) -> GaussianMixture:
        """The exact law proportional to p(x_0) exp(reward / temperature)."""
        return self.posterior(reward.likelihood(temperature))

    def log_normalizer(self, reward: QuadraticReward, temperature: float = 1.0) -> Tensor:
        """log E[exp(reward / temperature)] in nats, float64 scalar."""
        likelihood = reward.likelihood(temperature)
        size, noise_std = len(likelihood.y), torch.as_tensor(likelihood.noise_std).double()
        return self.log_evidence(likelihood) + size * torch.log(noise_std) + 0.5 * size * _LOG_2PI

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Exact draws of x_0, (n, D)."""
        which = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.event_shape[0], generator=generator).to(self.means)
        return self.means[which] + torch.einsum("bij,bj->bi", self._basis[which], self._values[which].sqrt() * noise)

    def _like(self, means: Tensor, covariances: Tensor, weights: Tensor) -> GaussianMixture:
        return GaussianMixture(means, weights=weights, covariances=covariances, process=self.process)

    def to(self, device: torch.device | str) -> GaussianMixture:
        """The mixture with its tensors on another device."""
        new = copy.copy(self)
        for name in ("means", "covariances", "log_w", "_basis", "_values", "null_condition"):
            setattr(new, name, getattr(self, name).to(device))
        return new


_LOG_2PI = torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64))


def _condition(mean: Tensor, covariance: Tensor, likelihood: LinearGaussian) -> tuple[Tensor, Tensor, Tensor]:
    """Posterior mean (D,), covariance (D, D) and log-evidence of one Gaussian, in float64."""
    m, c, a, y = (v.double() for v in (mean, covariance, likelihood.a, likelihood.y))
    noise = torch.as_tensor(likelihood.noise_std).double() ** 2 * torch.eye(len(y), dtype=torch.float64)
    law = MultivariateNormal(a @ m, a @ c @ a.T + noise)
    gain = torch.linalg.solve(law.covariance_matrix, a @ c).T
    # Joseph's form stays symmetric positive definite when the measurement is nearly exact.
    rest = torch.eye(len(m), dtype=torch.float64) - gain @ a
    return m + gain @ (y - a @ m), rest @ c @ rest.T + gain @ noise @ gain.T, law.log_prob(y)


class Gaussian(GaussianMixture):
    """One Gaussian N(mean, covariance): a mixture of one component, for which most guidances have closed forms.

    Args:
        mean: (D,).
        covariance: (D, D), a vector (D,) of variances or one variance.
        process: forward process.
    """

    name = "gaussian"

    def __init__(self, mean: Tensor, covariance: Tensor | float = 1.0, process: GaussianProcess | None = None) -> None:
        mean = torch.as_tensor(mean)
        covariance = torch.as_tensor(covariance, dtype=mean.dtype)
        full = covariance if covariance.ndim == 2 else torch.diag_embed(covariance.expand(len(mean)))
        super().__init__(mean[None], covariances=full[None], process=process)

    def conditional_covariance(
        self, v: Tensor, t: Time | None = None, *, a: Time | None = None, s: Time | None = None
    ) -> Tensor:
        """Cov[x_0 | x_t] v = (C^-1 + a^2 / s^2)^-1 v of v (B, D); give a time, or signal and noise (a, s) themselves.

        Raises:
            ValueError: neither was given.
        """
        if t is not None:
            a, s = self.process.coefficients(t)
        if a is None or s is None:
            raise ValueError("give a time, or both a and s")
        aa, ss = (x[:, None].to(v) if isinstance(x, Tensor) and x.ndim else x for x in (a, s))
        basis, values = self._basis[0].to(v), self._values[0].to(v)
        return (v @ basis * (values * ss * ss / (aa * aa * values + ss * ss))) @ basis.T

    def conditional_root(self, v: Tensor, *, a: Time, s: Time) -> Tensor:
        """Cov[x_0 | x_t]^(1/2) v of v (B, D): of white noise, a draw of x_0 given x_t less its mean."""
        aa, ss = (x[:, None].to(v) if isinstance(x, Tensor) and x.ndim else x for x in (a, s))
        basis, values = self._basis[0].to(v), self._values[0].to(v)
        return (v @ basis * (values * ss * ss / (aa * aa * values + ss * ss)) ** 0.5) @ basis.T

    def _like(self, means: Tensor, covariances: Tensor, weights: Tensor) -> Gaussian:
        return Gaussian(means[0], covariances[0], self.process)


def posterior_covariance(prior: Gaussian, t: float) -> Tensor:
    """Cov[x_0 | x_t] of a Gaussian prior, (D, D): C - a^2 C (a^2 C + s^2)^-1 C. It does not depend on x_t."""
    a, s = prior.process.coefficients(t)
    c = prior.covariances[0].double()
    noisy = a * a * c + s * s * torch.eye(len(c), dtype=torch.float64)
    return c - a * a * c @ torch.linalg.solve(noisy, c)


__all__ = ["Gaussian", "GaussianMixture", "posterior_covariance"]
