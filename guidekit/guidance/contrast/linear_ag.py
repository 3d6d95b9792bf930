"""LinearAG: the unconditional branch predicted from the past in some steps, and the fit of its coefficients."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from guidekit.core.guidance import Guidance, GuidanceError
from guidekit.core.loop import prepare
from guidekit.core.population import Population
from guidekit.core.prediction import Prediction
from guidekit.core.prior import Prior
from guidekit.core.question import Denoise, Question, jointly
from guidekit.core.requirements import Fact
from guidekit.core.sampler import Sampler
from guidekit.core.state import map_leaves
from guidekit.guidance.contrast import CONDITIONS, NULL, Contrast, Remembering, check_range, recalled
from guidekit.guidance.contrast.branches import condition_row
from guidekit.registry import register


@register("tool", "linear_coefficients")
@dataclasses.dataclass(frozen=True)
class LinearCoefficients:
    """How the unconditional noise of a step follows from what was predicted before; made by `fit_linear`.

    Args:
        grid: times of the run, steps + 1.
        weight: w of the trajectories it was fitted on.
        conditional: per step k, one coefficient for each conditional prediction of steps 0 .. k.
        unconditional: per step k, one coefficient for each unconditional prediction of steps 0 .. k - 1.
        residual: per step, root mean square of what the fit leaves, over that of the prediction.
    """

    grid: Sequence[float]
    weight: float
    conditional: Sequence[Sequence[float]]
    unconditional: Sequence[Sequence[float]]
    residual: Sequence[float]

    def save(self, path: str | Path) -> None:
        """Write them as JSON."""
        Path(path).write_text(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def load(cls, path: str | Path) -> LinearCoefficients:
        """Read what `save` wrote.

        Raises:
            ValueError: no such file, or something else in it.
        """
        try:
            return cls(**json.loads(Path(path).read_text()))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(
                f"{path} holds no coefficients of LinearAG ({error}): write them with fit_linear"
            ) from error


@register("guidance", "linear_ag")
@dataclasses.dataclass(frozen=True, eq=False)
class LinearAG(Remembering[Tensor]):
    """CFG whose unconditional noise is in some steps predicted from past noises by a linear fit, not asked for.

    In the first `share` of the steps every second one asks for both branches, the others predict; afterwards the
    conditional model goes on alone. Coefficients are valid for one prior, time grid and weight. What is kept are the
    conditional and unconditional noises of all steps so far, (B, k, 2, *S).

    Args:
        coefficients: a `LinearCoefficients` or the file it was saved to.
        share: of the steps that are guided, in [0, 1].
        every: a step in so many asks for both branches; 1 is CFG in the first part.

    Raises:
        ValueError: settings outside their ranges, or a file that holds no coefficients.

    Source: Castillo et al. 2023, arXiv:2312.12487, section 5; the fit by ordinary least squares.
    """

    coefficients: LinearCoefficients | str
    share: float = 1.0
    every: int = 2
    fit: LinearCoefficients = dataclasses.field(init=False, repr=False)
    requires = CONDITIONS | {Fact.FLOW}
    provides = frozenset({Fact.BRANCHES})

    def __post_init__(self) -> None:
        """Read the coefficients; check the other settings."""
        check_range("LinearAG", high=1.0, share=self.share)
        check_range("LinearAG", low=1, every=self.every)
        given = self.coefficients
        fit = given if isinstance(given, LinearCoefficients) or given is None else LinearCoefficients.load(given)
        object.__setattr__(self, "fit", fit)

    def check(self, prior: Prior, sampler: Sampler, members: Sequence[Guidance]) -> None:
        """There must be coefficients, for states of one kind."""
        super().check(prior, sampler, members)
        if self.fit is None or Fact.PARTS in prior.provides:
            raise GuidanceError(f"LinearAG needs coefficients made by fit_linear for this prior ({prior.name})")

    def start(self, population: Population) -> Population:
        """See `Guidance.start`; the coefficients must be those of this time grid."""
        steps, grid = population.setup.steps, self.fit.grid
        if [*(step.t for step in steps), steps[-1].u] != list(grid):
            raise GuidanceError(
                f"LinearAG was fitted on {len(grid) - 1} steps of another time grid than the {len(steps)} here"
            )
        return population

    def denoise(self, inner: Denoise, question: Question) -> Prediction:
        """See `Guidance.denoise`."""
        fit, k, past = self.fit, question.moment.index, recalled(question, self)
        if k >= self.share * len(fit.conditional) and Fact.BRANCHES not in question.population.setup.wanted:
            return inner(question)
        own: Any
        base: Any
        known = (0 if past is None else past.shape[1]) == k
        if k % self.every == 0 or not known:
            base, own = jointly(inner, [NULL(question, self), question])
        else:
            own = inner(question)
            noise = fitted(fit, k, own.noise, past)
            base = own.map(lambda support, _: noise.double(), space="noise").plain()
        guided = base.lerp(own, fit.weight)
        if not known:
            return guided  # asked out of turn: nothing to go on from
        now = torch.stack([own.noise, base.noise], 1)[:, None]
        return guided.noting(self, now if past is None else torch.cat([past, now], 1))


def fitted(fit: LinearCoefficients, k: int, conditional: Tensor, past: Tensor) -> Tensor:
    """The unconditional noise of step k from the conditional one and the past (B, k, 2, *S)."""
    total = fit.conditional[k][k] * conditional
    for i in range(k):
        total = total + fit.conditional[k][i] * past[:, i, 0] + fit.unconditional[k][i] * past[:, i, 1]
    return total


@dataclasses.dataclass(frozen=True, eq=False)
class Watched(Contrast[None]):
    """A contrast whose branches somebody wants to see, whatever its weight."""

    requires = CONDITIONS | {Fact.BRANCHES, Fact.FLOW}  # type: ignore[assignment]


@register("tool", "fit_linear")
def fit_linear(
    prior: Prior,
    condition: Any,
    weight: float = 2.0,
    num_samples: int = 200,
    steps: int = 20,
    sampler: Sampler | None = None,
    seed: int = 0,
) -> LinearCoefficients:
    """Coefficients for `LinearAG` by ordinary least squares on guided trajectories, one fit a step.

    Args:
        prior, condition, weight, steps, sampler: what they are for; the sampler asks once a step (DDIM by default).
        num_samples: trajectories.
        seed: of the trajectories.

    Raises:
        GuidanceError: a prior that CFG cannot guide, or one of tokens.
    """
    from guidekit.samplers import DDIM

    sampler = sampler or DDIM()
    if prior.null_condition is not None:
        condition = map_leaves(lambda leaf: leaf.expand(num_samples, *leaf.shape[1:]), condition_row(prior, condition))
    setup = prepare(
        prior,
        Watched((NULL,), weight=weight, name="LinearAG"),
        sampler=sampler,
        steps=steps,
        groups=(0, num_samples),
        seed=seed,
        condition=condition,
        network_limit=prior.network_batch,
    )
    seen: list[tuple[Tensor, ...]] = []
    with torch.no_grad():
        population = setup.begin()
        for step in setup.steps:
            branches: Any = population.predict().branches
            seen.append(tuple(view.noise.double().flatten() for view in (branches.conditional, branches.null)))
            population = setup.move(population, step)
    return least_squares(seen, [*(step.t for step in setup.steps), setup.steps[-1].u], weight)


def least_squares(seen: Sequence[tuple[Tensor, ...]], grid: Sequence[float], weight: float) -> LinearCoefficients:
    """One fit a step to conditional and unconditional noises (numbers,) of all steps."""
    conditional, unconditional, residual = [], [], []
    for k, (_, target) in enumerate(seen):
        columns = [pair[0] for pair in seen[: k + 1]] + [pair[1] for pair in seen[:k]]
        table = torch.stack(columns, 1)
        found = torch.linalg.lstsq(table, target[:, None], driver="gelsd").solution[:, 0]
        conditional.append(found[: k + 1].tolist())
        unconditional.append(found[k + 1 :].tolist())
        residual.append(float((table @ found - target).norm() / target.norm()))
    return LinearCoefficients(list(grid), weight, conditional, unconditional, residual)
