"""A prior of positions and types whose every law is known: two independent parts of varying size."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.core.prediction import CompositePrediction, GaussianPrediction
from guidekit.core.prior import Prior, Time
from guidekit.core.random import Draw
from guidekit.core.state import Composite, altered, column, map_leaves
from guidekit.core.support import Places
from guidekit.priors.chain import CategoricalChain
from guidekit.priors.labels import class_numbers
from guidekit.processes import VP, GaussianProcess, Masked
from guidekit.processes.composite import CompositeProcess


class PositionsAndTypes(Prior):
    """Positions (B, N, D) ~ N(0, std^2), and types (B, N) of a chain: independent, both of the same varying size.

    A state is a `Composite` of `positions` and `types` with a mask; places that a row does not have hold zeros. Sizes
    are uniform, the types of n places are the first n tokens of the chain.

    Args:
        chain: law of the types, of masked tokens; its conditionals are the classes.
        std: of the positions.
        smallest: sizes lie between it and the length of the chain.
        dimensions: D.
        centered: whether the positions of a row have no center of mass.
        process: of the positions.
        class_stds: of the positions in every class of the chain; empty is `std` for all.

    Raises:
        ValueError: another process of tokens, a size or a standard deviation out of range.
    """

    name = "positions and types"
    process: CompositeProcess

    def __init__(
        self,
        chain: CategoricalChain,
        std: float = 1.0,
        smallest: int = 1,
        dimensions: int = 2,
        centered: bool = True,
        process: GaussianProcess | None = None,
        class_stds: Sequence[float] = (),
    ) -> None:
        length, classes = chain.event_shape[0], chain.classes
        if not isinstance(chain.process, Masked):
            raise ValueError(f"types need a masked process; this chain has a {type(chain.process).__name__} process")
        if not 1 <= smallest <= length or dimensions < 1:
            raise ValueError(f"smallest={smallest}, dimensions={dimensions}; 1 to {length}, and at least 1")
        stds = [*(class_stds or [std] * classes), std]
        if len(stds) != classes + 1 or not all(0 < value < float("inf") for value in stds):
            raise ValueError(f"std={std}, class_stds={class_stds}; {classes} for the classes, all above 0 and finite")
        self.chain, self.smallest, self.centered = chain, smallest, centered
        self.stds = torch.tensor(stds, dtype=torch.float64)
        self.process = CompositeProcess(
            {"positions": process or VP("cosine"), "types": chain.process}, frozenset({"positions"} if centered else ())
        )
        self.event_shape = {"positions": (length, dimensions), "types": (length,)}  # type: ignore[assignment]
        self.null_condition, self.choices = chain.null_condition, chain.choices

    def condition(self, value: Any) -> Tensor | None:
        """Classes by number, one or one a sample; see `Prior.condition`."""
        return class_numbers(value, self.classes, self.name) if self.classes else super().condition(value)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return len(self.stds) - 1

    def places(self, sizes: Tensor) -> Places:
        """The support of positions in rows of given sizes (B,)."""
        length = self.chain.event_shape[0]
        return Places(torch.arange(length, device=sizes.device) < sizes[:, None], self.centered)

    def start(self, draw: Draw, rows: int, dtype: torch.dtype | None = None, condition: Any = None) -> Composite:
        """See `Prior.start`; sizes are drawn, too."""
        count = self.chain.event_shape[0] - self.smallest + 1
        places = self.places(self.smallest + (draw.named("sizes").uniform(rows) * count).long())
        shape = (rows, *self.event_shape["positions"])  # type: ignore[call-overload]
        noise = self.process.parts["positions"].sample_limit(draw.named("positions"), shape).to(dtype or self.dtype)
        types = torch.where(places.mask, self.chain.process.mask_id, 0)
        return Composite({"positions": places.project(noise), "types": types}, places.mask)

    def predict(self, x: Composite, t: Time, condition: Tensor | None = None) -> CompositePrediction:
        """Exact; see `Prior.predict`. Rows may be shorter than the chain."""
        positions, types, process = x.parts["positions"], x.parts["types"], self.process
        a, s = process.parts["positions"].coefficients(t)
        std = self.stds[-1 if condition is None else condition].to(positions.dtype)
        gain = a * std**2 / (a * a * std**2 + s * s)
        mean = column(gain, positions) * positions
        # What a row does not have is a token that nothing is known of, and then one that is certainly 0.
        hidden = types if x.mask is None else types.masked_fill(~x.mask, self.chain.process.mask_id)
        short = self.chain.event_shape[0] - types.shape[1]
        known = self.chain.predict(F.pad(hidden, (0, short), value=self.chain.process.mask_id), t, condition)
        tokens = self.chain.process.prediction(known.log_probs[:, : types.shape[1]], types)
        support = process.support("types", x)
        parts = {
            "positions": GaussianPrediction(mean, positions, a, s, process.support("positions", x)),
            "types": altered(tokens, support=support),
        }
        return CompositePrediction(parts, x.mask)

    def sample(self, n: int, generator: torch.Generator | None = None) -> Composite:
        """Exact draws of n clean states, without a class."""
        sizes = torch.randint(self.smallest, self.chain.event_shape[0] + 1, (n,), generator=generator)
        places = self.places(sizes)
        noise = torch.randn(n, *self.event_shape["positions"], generator=generator)  # type: ignore[call-overload]
        which = torch.multinomial(self.chain.probabilities.flatten(), n, replacement=True, generator=generator)
        types = self.chain.sequences[which].masked_fill(~places.mask, 0)
        return Composite({"positions": places.project(float(self.stds[-1]) * noise), "types": types}, places.mask)

    def to(self, device: torch.device | str) -> PositionsAndTypes:
        """The prior with its tensors on another device."""
        new = copy.copy(self)
        new.chain, new.stds = self.chain.to(device), self.stds.to(device)
        new.null_condition = map_leaves(lambda leaf: leaf.to(device), self.null_condition)
        return new


__all__ = ["PositionsAndTypes"]
