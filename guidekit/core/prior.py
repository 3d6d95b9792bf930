"""A prior: a noise process, a denoiser for it, a codec between states and objects, and how it was made."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from guidekit.core.prediction import Prediction
from guidekit.core.process import Process
from guidekit.core.random import Draw
from guidekit.core.requirements import Fact, GuidanceError
from guidekit.core.state import State, batch, spread, take
from guidekit.core.units import PLAIN, Units

if TYPE_CHECKING:
    from guidekit.core.sampler import Sampler

Time = float | torch.Tensor


class Codec(Protocol):
    """Between the objects of a science and the states of a prior.

    It may have a `language`, a text that codecs share which read every state alike, and `units`, in which the science
    measures what a state holds.
    """

    def encode(self, objects: Sequence[Any]) -> State:
        """States (B, *S) of B objects."""

    def decode(self, states: State) -> list[Any]:
        """B objects of clean states, None where a state is no object."""


class Prior:
    """Base of all priors; subclasses set the attributes and implement `predict`.

    Attributes:
        name: for messages and records.
        process: how clean states were noised.
        event_shape: shape S of one state without the batch.
        null_condition: what stands for "no condition", one row without the batch; None when the prior takes none.
        choices: weights (C,) of the values 0 .. C - 1 of every number of a condition; empty where they are not known.
        timeless: True where the prediction depends on the state alone, so unchanged states keep their answer.
        network_batch: most states in one network call, None for no limit.
        dtype: of real-valued states where the caller names none.
        network: whose sites guidance may perturb; None where there is none.
        codec: between states and objects; None where states are all there is.
        card: how it was made (data, steps, hardware, metrics).
        dataset: name of the data it was made from, as its domain knows them; empty for others.
        notes: what whoever samples it should know, in sentences.
        default_sampler: the one that suits it, where neither user nor guidance asks for another; None is that of the
            process, see `guidekit.sampling.chosen_sampler`. Samplers of its kind take what they are not told from it.
    """

    name: str = "prior"
    process: Process
    event_shape: tuple[int, ...]
    null_condition: State | None = None
    choices: tuple[torch.Tensor, ...] = ()
    timeless: bool = False
    network_batch: int | None = None
    dtype: torch.dtype = torch.float32
    network: nn.Module | None = None
    codec: Codec | None = None
    card: dict = {}
    dataset: str = ""
    notes: Sequence[str] = ()
    default_sampler: Sampler | None = None

    @property
    def provides(self) -> frozenset[Fact]:
        """Facts about states, noising, conditions and the network."""
        facts = self.process.provides
        if Fact.PARTS not in facts:
            facts = facts | {Fact.WHOLE}
        if isinstance(self.network, nn.Module):
            facts = facts | {Fact.NETWORK}
        return facts if self.null_condition is None else facts | {Fact.CONDITIONAL}

    def predict(self, x: State, t: Time, condition: State | None = None) -> Prediction:
        """Prediction of the clean state of x (B, *S) at t (number or (B,)); condition None is unconditional."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement predict(x, t, condition)")

    def condition(self, value: Any) -> State | None:
        """A condition from what users write (a number, a name, a mapping, rows): a tree with one row or more.

        Raises:
            ValueError: there is no such condition; a `GuidanceError` where the prior takes none at all.
        """
        if value is not None and self.null_condition is None:
            raise GuidanceError(
                f"a condition was given, but this prior ({self.name}) was made without conditions; leave condition= out"
            )
        return value

    def null(self, rows: int) -> State | None:
        """The condition that stands for none, (rows, ...); None where the prior takes none."""
        return None if self.null_condition is None else spread(self.null_condition, rows)

    def network_rows(self, x: State, t: Time = 1.0) -> int:
        """How many of the states x at t the network has to look at; the others' answers are known without it."""
        return batch(x)

    def start(self, draw: Draw, rows: int, dtype: torch.dtype | None = None, condition: State | None = None) -> State:
        """States of pure noise (rows, *S) at t = 1.

        Args:
            draw: of the noise.
            rows: how many.
            dtype: of real-valued ones; None is the prior's.
            condition: with as many rows, or none, where lengths or sizes that are drawn first depend on it.
        """
        noise = self.process.sample_limit(draw, (rows, *self.event_shape))
        return noise.to(dtype or self.dtype) if noise.is_floating_point() else noise

    def encode(self, objects: Sequence[Any]) -> State:
        """Clean states (B, *S) of objects.

        Raises:
            ValueError: this prior has no codec, or an object has no state in it.
        """
        if self.codec is None:
            raise ValueError(f"this prior ({self.name}) has no codec: pass states")
        return self.codec.encode(objects)

    def decode(self, states: State) -> list[Any]:
        """The objects that clean states (B, *S) stand for, None where there is none; the rows without a codec."""
        if self.codec is not None:
            return self.codec.decode(states)
        return [take(states, row) for row in range(batch(states))]

    @property
    def language(self) -> str:
        """Names the codec: priors whose codecs read a state alike have one language."""
        return str(getattr(self.codec, "language", f"{type(self.codec).__name__} {id(self.codec)}"))

    @property
    def units(self) -> Units:
        """In which instruments measure states, those of the codec: measurements are made of values, see `in_units`."""
        return getattr(self.codec, "units", PLAIN)

    def to(self, device: torch.device | str) -> Prior:
        """The prior with its tensors on another device."""
        return self
