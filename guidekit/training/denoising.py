"""Lightning module that trains the denoiser of a diffusion prior."""

from __future__ import annotations

import contextlib
import copy
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from guidekit.core.random import keyed_generator


class DenoisingModule(lightning.LightningModule):
    """Trains a network with any per-sample objective; keeps an exponential moving average of its weights.

    Hidden matrices are trained with Muon, everything else (embeddings, head, gains) with AdamW. The learning rate
    warms up linearly, stays constant and decays linearly to zero over the last `decay` share of `total_steps`.

    Args:
        network: maps a (noised) state to its prediction; the objective decides how it is called.
        objective: (network, states, labels) -> loss (B,), in nats where the loss is a likelihood bound; one with a true
            attribute `averaged` is also given average=, the network with averaged weights.
        learning_rate: peak rate of both optimizers; Muon's update is scaled to the root-mean-square of AdamW's.
        warmup: steps of linear warm-up.
        decay: share of the training, in [0, 1], over which the rate falls to zero.
        total_steps: optimizer steps the schedule is made for.
        ema: decay of the moving average per step; early on it averages over a tenth of the steps done.
        gradient_clip: largest global gradient norm of an update.
        label_dropout: probability with which each label of a sequence is hidden from the network, independently.
        optimizer: "muon" trains hidden matrices with it; "adamw" trains everything with that.
        seed: of noise and hidden labels; those of an update depend on it and on the update only, so that a training
            that is resumed is the one that was not interrupted.

    Source of Muon: Jordan et al. 2024, kellerjordan.github.io/posts/muon, as shipped in torch.optim.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Callable[[nn.Module, Tensor, Tensor | None], Tensor],
        learning_rate: float = 3e-3,
        warmup: int = 200,
        decay: float = 0.3,
        total_steps: int = 20_000,
        ema: float = 0.999,
        gradient_clip: float = 5.0,
        label_dropout: float = 0.2,
        seed: int = 0,
        optimizer: str = "muon",
    ) -> None:
        super().__init__()
        self.network, self.objective = network, objective
        self.average = copy.deepcopy(network).requires_grad_(False)
        self.learning_rate, self.warmup, self.decay, self.total_steps = learning_rate, warmup, decay, total_steps
        self.ema, self.gradient_clip, self.label_dropout = ema, gradient_clip, label_dropout
        self.automatic_optimization = False  # the rate is set by hand
        self.updates, self.seed, self.optimizer = 0, seed, optimizer

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One update of the network and of its moving average, on states or (states, labels)."""
        states, labels = labelled(batch)
        self._reseed("update", self.updates)
        if labels is not None:
            hidden = torch.rand(labels.shape, device=labels.device) < self.label_dropout
            labels = labels.masked_fill(hidden, -1)
        more = {"average": self.average} if getattr(self.objective, "averaged", False) else {}
        with full_precision(self.network, self.average):
            loss = self.objective(self.network, states, labels, **more).mean()
        optimizer: Any = self.optimizers()
        optimizer.zero_grad()
        self.manual_backward(loss)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.gradient_clip)
        rate = self.learning_rate * schedule(self.updates, self.warmup, self.decay, self.total_steps)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        self.updates += 1
        with torch.no_grad():
            keep = min(self.ema, self.updates / (self.updates + 10))
            for slow, fast in zip(self.average.parameters(), self.network.parameters(), strict=True):
                slow.lerp_(fast.to(slow.dtype), 1 - keep)
            for kept, now in zip(self.average.buffers(), self.network.buffers(), strict=True):
                kept.copy_(now)
        self.log("train/loss", loss.detach(), prog_bar=True)
        self.log("train/rate", rate)

    def on_train_start(self) -> None:
        """The average is kept in float32: half precision (bf16-true) would lose its small steps."""
        self.average.float()

    def on_validation_epoch_start(self) -> None:
        """The same noise in every validation."""
        self._reseed("validation")

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Loss of the averaged weights on held-out data."""
        states, labels = labelled(batch)
        with full_precision(self.average):
            loss = self.objective(self.average, states, labels).mean()
        self.log("val/loss", loss, prog_bar=True, batch_size=len(states))

    def _reseed(self, *key: object) -> None:
        torch.manual_seed(keyed_generator("cpu", self.seed, *key).initial_seed())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Muon on hidden matrices (2-D weights of linear layers but the head), AdamW on the rest."""
        trained = [(name, p) for name, p in self.network.named_parameters() if p.requires_grad]
        head = {id(p) for name, p in trained if "head" in name.split(".")}
        linear = {id(m.weight) for m in self.network.modules() if isinstance(m, nn.Linear)}
        # Convolutions have no 2-D weights: AdamW trains them.
        hidden = [p for _, p in trained if id(p) in linear and id(p) not in head and self.optimizer == "muon"]
        chosen = {id(p) for p in hidden}
        rest = [p for _, p in trained if id(p) not in chosen]
        adam = torch.optim.AdamW(rest, lr=self.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)
        if not hidden:
            return adam
        muon = torch.optim.Muon(hidden, lr=self.learning_rate, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")
        return Together([muon, adam])

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """Keep the number of updates, which drives the schedule and the average."""
        checkpoint["updates"] = self.updates

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """Resume the schedule where the checkpoint left it."""
        self.updates = checkpoint["updates"]


class Together(torch.optim.Optimizer):
    """Several optimizers that step as one, so that who counts steps (`max_steps` of Lightning) counts updates.

    Args:
        parts: of different parameters.
    """

    def __init__(self, parts: Sequence[torch.optim.Optimizer]) -> None:
        super().__init__(
            [{"params": [p for part in parts for group in part.param_groups for p in group["params"]]}], {}
        )
        self.parts = list(parts)
        self._gather()

    def _gather(self) -> None:
        self.param_groups = [group for part in self.parts for group in part.param_groups]

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """One step of each."""
        loss = None if closure is None else closure()
        for part in self.parts:
            part.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Those of the parts."""
        return {"parts": [part.state_dict() for part in self.parts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Those of the parts, as `state_dict` gave them."""
        for part, state in zip(self.parts, state_dict["parts"], strict=True):
            part.load_state_dict(state)
        self._gather()


def labelled(batch: Any) -> tuple[Tensor, Tensor | None]:
    """(states, labels) of a batch: a pair, states alone, or a list of states alone as `TensorDataset` gives it."""
    states, *labels = [batch] if isinstance(batch, Tensor) else batch
    return _wide(states), labels[0] if labels else None


HALVES = (torch.bfloat16, torch.float16)


@contextlib.contextmanager
def full_precision(*networks: nn.Module) -> Iterator[None]:
    """While losses are worked out in float32; networks in half precision are shown theirs, and answer in float32."""
    usual, hooks = torch.get_default_dtype(), []
    torch.set_default_dtype(torch.float32 if usual in HALVES else usual)
    for network in networks:
        dtype = next((p.dtype for p in network.parameters()), usual)
        if dtype in HALVES:
            hooks.append(network.register_forward_pre_hook(functools.partial(_narrowed, dtype), with_kwargs=True))
            hooks.append(network.register_forward_hook(lambda module, given, output: _wide(output)))
    try:
        yield
    finally:
        torch.set_default_dtype(usual)
        for hook in hooks:
            hook.remove()


def _narrowed(dtype: torch.dtype, module: nn.Module, args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    def cast(value: Any) -> Any:
        return value.to(dtype) if isinstance(value, Tensor) and value.is_floating_point() else value

    return tuple(map(cast, args)), {key: cast(value) for key, value in kwargs.items()}


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.dtype in HALVES else value


def schedule(step: int, warmup: int, decay: float, total: int) -> float:
    """Share of the peak learning rate at a step: linear warm-up, constant, linear decay to zero."""
    remaining = (total - step) / max(1.0, decay * total)
    return max(0.0, min(1.0, (step + 1) / max(1, warmup), remaining))
