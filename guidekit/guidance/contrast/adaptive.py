"""Leaving the unconditional branch out: once both agree, or by predicting it from the past."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from guidekit.core.guidance import Denoiser, GuidanceError
from guidekit.core.prediction import CategoricalPrediction, Prediction
from guidekit.core.run import Run
from guidekit.core.state import State, column, batch
from guidekit.guidance.contrast.branches import CONDITIONAL, UNCONDITIONAL, evaluate
from guidekit.guidance.contrast.cfg import CFG
from guidekit.guidance.contrast.engine import Contrast, bare, framed
from guidekit.guidance.contrast.rules import cosine
from guidekit.guidance.contrast.schedules import step_of
from guidekit.guidance.contrast.spaces import on_logits
from guidekit.names import UnknownNameError
from guidekit.core.prior import Prior, Time
from guidekit.processes import GaussianProcess
from guidekit.samplers import Sampler


@dataclasses.dataclass(frozen=True)
class AdaptiveGuidance(CFG):
    """CFG until both predictions of a sample agree, the conditional model alone from then on.

    A sample switches for good at the first step at which the cosine of its two predictions (of tokens: of its centred
    logits) is at least `threshold`; the base is then asked for the other samples only.

    Args:
        weight, negative, schedule, rescale: see `CFG`.
        threshold: above 1 never switches; -1 guides one step. Cosines depend on the prior: look at the record "cosine".
        guide_last: whether the step that switches is still guided.
        first: steps at the start in which no sample switches: where all is noise, the predictions agree trivially.
        space: of the cosine, "noise" as published or "x0": clean estimates. Where sampling starts from much noise
            (EDM, VE), noise predictions agree at first and part at the end; clean estimates come together throughout.

    Source: Castillo et al. 2023, arXiv:2312.12487, section 4.
    """

    threshold: float = 0.99
    guide_last: bool = False
    first: int = 0
    space: str = "noise"
    per_sample = True

    def __post_init__(self) -> None:
        """Refuse a space that there is none of."""
        super().__post_init__()
        if self.space not in ("noise", "x0"):
            raise UnknownNameError("space", str(self.space), ("noise", "x0"))

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`."""
        run, size = inner.run, batch(x)
        key = f"AdaptiveGuidance {run.position(self)} agreed"
        agreed = run.recall(key, size)
        agreed = torch.zeros(size, dtype=torch.bool, device=run.device) if agreed is None else agreed
        w = self.weight_at(t, run)
        rows = (~agreed & (torch.as_tensor(w, device=run.device) != 1)).nonzero()[:, 0]
        if len(rows) == 0:
            return inner(x, t, condition).with_parts(memory={key: agreed})
        branches = self.branches(run)
        views = evaluate(inner, x, t, condition, branches, [rows if len(rows) < size else None, None])
        views = framed(run, views, t, rows if len(rows) < size else None)
        now = torch.zeros_like(agreed).index_fill(0, rows, True) & (agreement(views, self.space) >= self.threshold)
        now &= torch.as_tensor(step_of(run, t if run.schedule_time is None else run.schedule_time)) >= self.first
        guided = ~(agreed if self.guide_last else agreed | now)
        prediction = self.combined(run, x, t, views, w, None)
        if not guided.all():
            prediction = dataclasses.replace(_where(guided, prediction, views[1]), parts=prediction.parts)
        return prediction.with_parts(memory={key: agreed | now})


def _where(rows: Tensor, yes: Prediction, no: Prediction) -> Prediction:
    name = "log_probs" if isinstance(yes, CategoricalPrediction) else "mean"
    a, b = getattr(yes, name), getattr(no, name)
    return dataclasses.replace(yes, **{name: torch.where(column(rows, a), a, b.to(a))})


def agreement(views: Sequence[Prediction], space: str = "noise") -> Tensor:
    """Cosine (B,) of the noise predictions ("noise") or clean estimates ("x0") of two views; tokens: centred logits."""
    if isinstance(views[0], CategoricalPrediction):
        kept = []
        on_logits(views, lambda tensors: kept.extend(tensors) or tensors[0])
        return cosine(*kept).flatten()
    return cosine(*((view.noise if space == "noise" else view.mean).double() for view in views)).flatten()


# LinearAG ----------------------------------------------------------------------------------------------------------


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


@dataclasses.dataclass(frozen=True)
class LinearAG(Contrast):
    """CFG whose unconditional noise is in some steps predicted from past noises by a linear fit, not asked for.

    In the first `share` of the steps every second one asks for both branches, the others predict; afterwards the
    conditional model goes on alone. Coefficients are valid for one prior, time grid and weight.

    Args:
        coefficients: a `LinearCoefficients` or the file it was saved to.
        share: of the steps that are guided, in [0, 1].
        every: a step in so many asks for both branches; 1 is CFG in the first part.

    Source: Castillo et al. 2023, arXiv:2312.12487, section 5; the fit by ordinary least squares.
    """

    coefficients: LinearCoefficients | str
    share: float = 1.0
    every: int = 2
    tokens = False
    per_sample = True
    needs = ("conditional prior and condition=", "coefficients (fit_linear)")

    def fit(self, run: Run) -> LinearCoefficients:
        """The coefficients, read once a run."""
        given = self.coefficients
        return (
            given if isinstance(given, LinearCoefficients) else run.kept(given, lambda: LinearCoefficients.load(given))
        )

    def check(self, run: Run) -> None:
        """The coefficients must be those of this prior's grid."""
        super().check(run)
        if not isinstance(self.coefficients, LinearCoefficients | str):
            raise GuidanceError(f"LinearAG needs coefficients made by fit_linear for this prior ({run.prior.name})")
        self.fit(run)

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`."""
        run, fit = inner.run, self.fit(inner.run)
        if list(fit.grid) != list(run.grid):
            raise GuidanceError(
                f"LinearAG was fitted on {len(fit.grid) - 1} steps of another time grid than the "
                f"{len(run.grid) - 1} here"
            )
        k = step_of(run, t if run.schedule_time is None else run.schedule_time)
        if k >= self.share * len(fit.conditional):
            return inner(x, t, condition)
        name = f"LinearAG {run.position(self)}"
        past = run.recall(name, len(x))  # (B, k, 2, *S): conditional and unconditional noises
        known = past is not None and past.shape[1] == k
        if k % self.every == 0 or not known:
            base, positive = evaluate(inner, x, t, condition, (UNCONDITIONAL, CONDITIONAL))
            noise = base.noise
        else:
            positive = inner(x, t, condition)
            noise = fitted(fit, k, positive.noise, past)
            a, s = (column(value, x) for value in (positive.a, positive.s))
            base = dataclasses.replace(bare(positive), mean=(x - s * noise) / a)
        prediction = self.combined(run, x, t, [base, positive], fit.weight)
        now = torch.stack([positive.noise, noise], 1)[:, None]
        if not known and k:
            return prediction  # asked out of turn: nothing to go on from
        return prediction.with_parts(memory={name: now if past is None else torch.cat([past, now], 1)})


def fitted(fit: LinearCoefficients, k: int, conditional: Tensor, past: Tensor | None) -> Tensor:
    """The unconditional noise of step k from the conditional one and the past (B, k, 2, *S)."""
    total = fit.conditional[k][k] * conditional
    for i in range(k):
        total = total + fit.conditional[k][i] * past[:, i, 0] + fit.unconditional[k][i] * past[:, i, 1]
    return total


@dataclasses.dataclass(frozen=True)
class Listener(CFG):
    """CFG that tells what it saw: (step, conditional noise, unconditional noise)."""

    tell: Callable[[int, Tensor, Tensor], None] | None = None

    def denoise(self, inner: Denoiser, x: State, t: Time, condition: State | None) -> Prediction:
        """See `Guidance.denoise`."""
        guided = self.guided(inner, x, t, condition, self.weight)
        self.tell(step_of(inner.run, t), guided.parts["positive"].noise, guided.parts["base"].noise)
        return guided


def fit_linear(
    prior: Prior,
    condition: State,
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
    from guidekit.sampling import sample

    if not isinstance(prior.process, GaussianProcess):
        raise GuidanceError(f"LinearAG has no meaning for tokens, which this prior ({prior.name}) is of")
    seen: list[tuple[Tensor, Tensor]] = []
    plug = Listener(weight, tell=lambda step, positive, base: seen.append((positive.double(), base.double())))
    sampler = sampler or DDIM()
    sample(prior, plug, num_samples, steps, seed, sampler, condition=condition, batch_size=num_samples)
    conditional, unconditional, residual = [], [], []
    for k, (_, base) in enumerate(seen):
        columns = [pair[0] for pair in seen[: k + 1]] + [pair[1] for pair in seen[:k]]
        table = torch.stack([column.flatten() for column in columns], 1)
        target = base.flatten()
        found = torch.linalg.lstsq(table, target[:, None], driver="gelsd").solution[:, 0]
        conditional.append(found[: k + 1].tolist())
        unconditional.append(found[k + 1 :].tolist())
        residual.append(float((table @ found - target).norm() / target.norm()))
    return LinearCoefficients(sampler.grid(prior, steps), weight, conditional, unconditional, residual)
