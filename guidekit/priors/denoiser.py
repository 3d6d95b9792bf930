"""Any network as a prior: a function, a process, and what the function predicts."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.core.prediction import CategoricalPrediction, GaussianPrediction, Prediction
from guidekit.core.prior import Codec, Prior, Time
from guidekit.core.state import State, spread
from guidekit.errors import UnknownNameError
from guidekit.priors.parametrization import to_mean
from guidekit.processes import DiscreteProcess, GaussianProcess, Masked

REAL = {"clean": "x0", "noise": "eps", "velocity": "v", "score": "score", "flow": "flow"}
"""What functions of real-valued states may predict, and its name in `parametrization`."""
TOKENS = ("logits",)


def same(t: Tensor) -> Tensor:
    """The time as it is, in [0, 1]."""
    return t


def from_denoiser(
    function: Callable[..., Tensor],
    process: GaussianProcess | DiscreteProcess,
    shape: Sequence[int],
    predicts: str = "noise",
    *,
    time: Callable[[Tensor], Tensor] = same,
    null_condition: Tensor | None = None,
    network_batch: int | None = None,
    codec: Codec | None = None,
    name: str = "my prior",
) -> Prior:
    """A prior from any network.

    The network stays the caller's: nothing is frozen, its mode (training or evaluation) is set to evaluation for a call
    and back, so a network may be sampled while it is trained.

    Args:
        function: (x, t) -> output, or (x, t, condition) -> output for a conditional prior; x (B, *S) states, t (B,)
            what `time` makes of the time, condition (B, ...). A torch module or any function.
        process: how clean states are noised; for tokens with its vocabulary.
        shape: S of one state, without the batch.
        predicts: what the output is, at x = a x_0 + s noise: "clean" E[x_0 | x], "noise" E[noise | x], "velocity"
            a noise - s x_0, "score" -noise / s, "flow" noise - x_0; for tokens "logits" of the clean token, (B, L, V),
            or (B, L, V + 1) with a last column for the mask, which is left out.
        time: turns times in [0, 1] into what the network is told, such as `lambda t: 999 * t`, or a noise level.
        null_condition: one row without the batch that stands for "no condition"; None for an unconditional network.
        network_batch: most states in one call; None is no limit.
        codec: between objects and states, see `guidekit.core.prior.Codec`.
        name: for messages.

    Raises:
        UnknownNameError: a prediction that is none of these.
        ValueError: a process of another kind of state.
    """
    tokens = isinstance(process, DiscreteProcess)
    known = TOKENS if tokens else tuple(REAL)
    if not tokens and not isinstance(process, GaussianProcess):
        raise ValueError(f"from_denoiser takes Gaussian processes and processes of tokens, got {process!r}")
    if predicts not in known:
        raise UnknownNameError(f"prediction of {'tokens' if tokens else 'real-valued states'}", str(predicts), known)
    if isinstance(process, DiscreteProcess) and process.vocab_size < 1:
        raise ValueError("give the process its vocabulary: Masked(vocab_size) of guidekit.processes")
    kind = TokenDenoiser if tokens else RealDenoiser
    return kind(function, process, tuple(shape), predicts, time, null_condition, network_batch, codec, name)


class Denoiser(Prior):
    """What `from_denoiser` makes, for real-valued states and for tokens."""

    process: Any

    def __init__(
        self,
        function: Callable[..., Tensor],
        process: Any,
        event_shape: tuple[int, ...],
        predicts: str,
        time: Callable[[Tensor], Tensor],
        null_condition: Tensor | None,
        network_batch: int | None,
        codec: Codec | None,
        name: str,
    ) -> None:
        self.function, self.process, self.event_shape, self.predicts = function, process, event_shape, predicts
        self.time, self.network_batch, self.codec, self.name = time, network_batch, codec, name
        self.null_condition = None if null_condition is None else torch.as_tensor(null_condition)

    @property
    def network(self) -> nn.Module | None:  # type: ignore[override]
        """The function, where it is a torch module: guidance may perturb its sites."""
        return self.function if isinstance(self.function, nn.Module) else None

    def condition(self, value: Any) -> State | None:
        """See `Prior.condition`: one row, or one a sample, as tensors."""
        value = super().condition(value)
        if value is None or self.null_condition is None:
            return value
        rows = torch.as_tensor(value)
        return rows[None] if rows.ndim == self.null_condition.ndim else rows

    def asked(self, x: Tensor, t: Time, condition: Tensor | None) -> Tensor:
        """The function's output at x (B, *S)."""
        times = torch.as_tensor(t, dtype=torch.float32, device=x.device).expand(len(x))
        given = () if self.null_condition is None else (condition,)
        if self.null_condition is not None and condition is None:
            given = (spread(self.null_condition.to(x.device), len(x)),)
        with evaluating(self.function):
            output = self.function(x, self.time(times), *given)
        output = getattr(output, "sample", output)  # diffusers wraps outputs
        if not isinstance(output, Tensor):
            raise ValueError(f"{self.name}: the network gave {type(output).__name__}; a tensor is expected")
        return output

    def to(self, device: torch.device | str) -> Denoiser:
        """See `Prior.to`; a network on another device is copied, the caller's stays where it is."""
        network = self.network
        here = next(network.parameters(), None) if network is not None else None
        if network is None or here is None or here.device == torch.device(device):
            return self
        new = copy.copy(self)
        new.function = copy.deepcopy(network).to(device)
        return new


class RealDenoiser(Denoiser):
    """Real-valued states."""

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Prediction:
        """See `Prior.predict`."""
        a, s = self.process.coefficients(t)
        output = self.asked(x, t, condition)
        if output.shape != x.shape:
            raise ValueError(
                f"{self.name}: the network gave shape {tuple(output.shape)} for states {tuple(x.shape)}; the same "
                "shape is expected (a network that also predicts variances: give its first channels)"
            )
        low = 1e-6  # outputs such as noise say nothing where there is no signal
        safe = a.clamp_min(low) if isinstance(a, Tensor) else max(a, low)
        return GaussianPrediction(to_mean(REAL[self.predicts], output.to(x.dtype), x, safe, s), x, a, s)


class TokenDenoiser(Denoiser):
    """Tokens."""

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> Prediction:
        """See `Prior.predict`; tokens that a masked process has revealed are certain."""
        size = self.process.vocab_size
        output = self.asked(x, t, condition)
        masked = isinstance(self.process, Masked)
        if output.shape[:2] != x.shape or output.ndim != 3 or output.shape[-1] not in (size, size + masked):
            raise ValueError(
                f"{self.name}: the network gave shape {tuple(output.shape)} for tokens {tuple(x.shape)}; expected "
                f"{(*x.shape, size)}"
            )
        log_probs = torch.log_softmax(output[..., :size].float(), -1)
        prediction: CategoricalPrediction = self.process.prediction(log_probs, x)
        return prediction


@contextmanager
def evaluating(network: Any) -> Iterator[None]:
    """While a network, where it is one, is in evaluation mode; each part returns to the mode it was in."""
    parts = [part for part in network.modules() if part.training] if isinstance(network, nn.Module) else []
    for part in parts:
        part.training = False
    try:
        yield
    finally:
        for part in parts:
            part.training = True
