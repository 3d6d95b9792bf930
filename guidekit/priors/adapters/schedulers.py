"""What a scheduler's configuration of diffusers says of a network: process, prediction, time grid, clipping."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from guidekit.errors import UnknownNameError
from guidekit.io.archives import reason
from guidekit.priors.described import refuse_odd_process
from guidekit.priors.weights import CheckpointError
from guidekit.processes import EDM, DiscreteVP, Flow, GaussianProcess
from guidekit.processes.grids import Grid, Karras, LogSNR

Number = float | Tensor
PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v", "flow_prediction": "flow"}
"""Their names of what a network predicts, and ours."""
CLIPPED, STEPPED = ("DDPM", "DDIM"), ("DDPM", "DDIM", "PNDM")
"""Those that clip unless they are told not to, and those whose indices are spaced from 0 ("leading") by default."""
MULTISTEP = ("DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep")
"""Those that take one index more than there are steps, and leave the last one out."""
LEVELS = (
    "EulerDiscrete",
    "EulerAncestralDiscrete",
    "HeunDiscrete",
    "LMSDiscrete",
    "KDPM2Discrete",
    "KDPM2AncestralDiscrete",
)
KARRAS = ("EDMEuler", "EDMDPMSolverMultistep")
FLOWS = ("FlowMatchEulerDiscrete", "FlowMatchHeunDiscrete")
SCHEDULERS = (*STEPPED, *MULTISTEP, *LEVELS, *KARRAS, *FLOWS)
"""All that are read; which one of those in discrete time a folder names changes nothing but grid and clipping."""
MOST_STEPS = 1 << 20


@dataclasses.dataclass(frozen=True, eq=False)
class FolderProcess(GaussianProcess):
    """A process with the time grid of a model folder where nobody chooses another; equal to any with its schedule.

    Args:
        times: the grid.
    """

    times: Grid | None = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GaussianProcess) and self.schedule == other.schedule

    def __hash__(self) -> int:
        return hash(self.schedule)

    def grid(self, steps: int) -> list[float]:
        """See `GaussianProcess.grid`."""
        return super().grid(steps) if self.times is None else list(self.times(self, steps))


@dataclasses.dataclass(frozen=True)
class Indices:
    """Indices of discrete time as the schedulers of diffusers space them.

    Args:
        kind: "leading", "trailing" or "linspace".
        offset: added to leading ones (`steps_offset`).
        more: 1 for those of `MULTISTEP`, else 0.
    """

    kind: str
    offset: int = 0
    more: int = 0

    def __call__(self, process: Any, steps: int) -> list[float]:
        """Times, falling to 0; no more than there are indices."""
        count = process.schedule.steps
        steps = min(steps, count)
        if self.kind == "leading":
            ratio = count // (steps + self.more)
            chosen = [i * ratio + self.offset for i in reversed(range(self.more, steps + self.more))]
        elif self.kind == "trailing":
            chosen = [round(count - i * count / steps) - 1 for i in range(steps)]
        else:
            chosen = [round((count - 1) * (1 - i / max(1, steps - 1 + self.more))) for i in range(steps)]
        inside = sorted({min(max(i, 0), count - 1) for i in chosen}, reverse=True)
        return [process.schedule.time(i) for i in inside] + [0.0]


@dataclasses.dataclass(frozen=True)
class Shifted:
    """Times of rectified flow from 1 down, moved towards noise: shift t / (1 + (shift - 1) t).

    Args:
        shift: 1 is evenly spaced.
        count: N of the training.

    Source: Esser et al. 2024, arXiv:2403.03206, section 5.3.2.
    """

    shift: float
    count: int

    def moved(self, t: float) -> float:
        """The time in place of t."""
        return self.shift * t / (1 + (self.shift - 1) * t)

    def __call__(self, process: Any, steps: int) -> list[float]:
        """`steps` + 1 times; the last but one is what is left of 1 / N, moved twice as in diffusers."""
        low, last = self.moved(1 / self.count), max(1, steps - 1)
        return [self.moved(1 + (low - 1) * i / last) for i in range(steps)] + [0.0]


@dataclasses.dataclass(frozen=True)
class Convention:
    """How a network is asked, and what its answer means.

    Attributes:
        process: how states were noised.
        predicts: see `guidekit.priors.parametrization`.
        told: (t, a, s) -> the time as the network knows it.
        sigma_data: of EDM, whose networks see x / sqrt(s^2 + sigma_data^2); None for others, which see x.
        sign: of the answer.
        bound: clean estimates to those that the scheduler allows; None leaves them.
        notes: what of the configuration is not followed.
    """

    process: GaussianProcess
    predicts: str
    told: Callable[[Number, Number, Number], Number]
    sigma_data: float | None = None
    sign: float = 1.0
    bound: Callable[[Tensor], Tensor] | None = None
    notes: tuple[str, ...] = ()


def convention_of(scheduler: Mapping[str, Any]) -> Convention:
    """What a scheduler's configuration says.

    Raises:
        UnknownNameError: a scheduler, prediction or spacing that is not read.
        CheckpointError: numbers that make no process, or noise predicted where no signal is left.
    """
    name = str(scheduler["_class_name"])
    kind = name.removesuffix("Scheduler")
    if kind not in SCHEDULERS:
        raise UnknownNameError("scheduler", name, [f"{known}Scheduler" for known in SCHEDULERS])
    try:
        if kind in KARRAS:
            made = _karras(scheduler)
        elif kind in FLOWS or scheduler.get("use_flow_sigmas"):
            made = _flow(scheduler)
        else:
            made = _stepped(kind, scheduler)
        refuse_odd_process(made.process)
    except (UnknownNameError, CheckpointError):
        raise
    except (ValueError, TypeError, OverflowError, RuntimeError, IndexError, ArithmeticError) as error:
        raise CheckpointError(f"no process can be made of the configuration of {name} ({reason(error)})") from error
    return made


def process_of(scheduler: Mapping[str, Any]) -> GaussianProcess:
    """The process that a scheduler's configuration describes; see `convention_of`."""
    return convention_of(scheduler).process


def prediction_of(scheduler: Mapping[str, Any]) -> str:
    """Our name of what the network predicts; older files do not say and mean the noise."""
    name = str(scheduler.get("prediction_type", "epsilon"))
    if name not in PREDICTIONS:
        raise UnknownNameError("prediction_type", name, PREDICTIONS)
    return PREDICTIONS[name]


def _count(scheduler: Mapping[str, Any]) -> int:
    steps = scheduler.get("num_train_timesteps", 1000)
    if not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise CheckpointError(f"num_train_timesteps={steps!r}; a whole number from 1 to {MOST_STEPS:,} is expected")
    return steps


def _stepped(kind: str, scheduler: Mapping[str, Any]) -> Convention:
    """Of schedulers in discrete time that preserve the variance."""
    betas, count, predicts = scheduler.get("trained_betas"), _count(scheduler), prediction_of(scheduler)
    if betas is None:
        betas = scheduler.get("beta_schedule", "linear")
    ends = (scheduler.get("beta_start", 1e-4), scheduler.get("beta_end", 0.02))
    empty = bool(scheduler.get("rescale_betas_zero_snr", False))
    if empty and predicts == "eps":
        raise CheckpointError(
            "the scheduler leaves no signal at its last step (rescale_betas_zero_snr=true) and the network predicts "
            "noise, which says nothing of the data there: set prediction_type or rescale_betas_zero_snr as in training"
        )
    plain = DiscreteVP(betas, count, *ends, empty)
    spacing = str(scheduler.get("timestep_spacing", "leading" if kind in STEPPED else "linspace"))
    if spacing not in ("leading", "trailing", "linspace"):
        raise UnknownNameError("timestep_spacing", spacing, ("leading", "trailing", "linspace"))
    offset, notes = scheduler.get("steps_offset", 0), []
    if not isinstance(offset, int) or not 0 <= offset < count:
        raise CheckpointError(f"steps_offset={offset!r}; a whole number from 0 to {count - 1} is expected")
    times: Grid = Indices(spacing, offset, int(kind in MULTISTEP))
    if scheduler.get("use_karras_sigmas"):
        times = Karras()
    elif scheduler.get("use_exponential_sigmas"):
        times = LogSNR()
    notes += [f"{key} is not followed" for key in ("use_beta_sigmas", "use_lu_lambdas") if scheduler.get(key)]
    if kind in ("DDIM", "PNDM") and not scheduler.get("set_alpha_to_one", kind == "DDIM"):
        left = plain.coefficients(1 / count)[1]
        notes.append(f"samples end without noise, not with that of index 0 (std {left:.2g}; set_alpha_to_one=false)")
    return Convention(
        FolderProcess(plain.schedule, times),
        predicts,
        lambda t, a, s: t * count - 1,
        bound=_bound(kind, scheduler),
        notes=tuple(notes),
    )


def _karras(scheduler: Mapping[str, Any]) -> Convention:
    """Of EDM: arXiv:2206.00364, table 1."""
    low, high = float(scheduler.get("sigma_min", 0.002)), float(scheduler.get("sigma_max", 80.0))
    process = EDM(low, high, float(scheduler.get("rho", 7.0)))
    times = LogSNR(low, high) if scheduler.get("sigma_schedule", "karras") == "exponential" else None
    predicts = prediction_of(scheduler)
    if predicts not in ("eps", "v"):
        raise UnknownNameError("prediction_type", str(scheduler.get("prediction_type")), ("epsilon", "v_prediction"))
    return Convention(
        FolderProcess(process.schedule, times),
        "edm",
        lambda t, a, s: 0.25 * torch.as_tensor(s, dtype=torch.float64).log(),
        sigma_data=float(scheduler.get("sigma_data", 0.5)),
        sign=1.0 if predicts == "eps" else -1.0,
    )


def _flow(scheduler: Mapping[str, Any]) -> Convention:
    """Of rectified flow, whose networks predict noise - x_0."""
    count = _count(scheduler)
    shift = float(scheduler.get("flow_shift", 1.0) if scheduler.get("use_flow_sigmas") else scheduler.get("shift", 1.0))
    if not 0 < shift < math.inf:
        raise CheckpointError(f"shift={shift}; a number above 0 is expected")
    unheard = ("use_dynamic_shifting", "shift_terminal", "use_karras_sigmas", "use_exponential_sigmas")
    notes = [f"{key} is not followed" for key in (*unheard, "use_beta_sigmas") if scheduler.get(key)]
    if scheduler.get("invert_sigmas"):
        raise CheckpointError("invert_sigmas=true: networks that are told the time from noise to data are not read")
    process = FolderProcess(Flow().schedule, Shifted(shift, count))
    return Convention(process, "flow", lambda t, a, s: t * count, notes=tuple(notes))


def _bound(kind: str, scheduler: Mapping[str, Any]) -> Callable[[Tensor], Tensor] | None:
    """What `thresholding` or `clip_sample` does to clean estimates."""
    if scheduler.get("thresholding", False):
        share, most = scheduler.get("dynamic_thresholding_ratio", 0.995), scheduler.get("sample_max_value", 1.0)
        return Threshold(float(share), float(most))
    if scheduler.get("clip_sample", kind in CLIPPED):
        return Clip(float(scheduler.get("clip_sample_range", 1.0)))
    return None


@dataclasses.dataclass(frozen=True)
class Clip:
    """Numbers cut at -most and most."""

    most: float

    def __call__(self, mean: Tensor) -> Tensor:
        """See the class."""
        return mean.clamp(-self.most, self.most)


@dataclasses.dataclass(frozen=True)
class Threshold:
    """A state cut at the quantile of its own absolute numbers, between 1 and `most`, and divided by it.

    Source: Saharia et al. 2022, arXiv:2205.11487, section 2.3.
    """

    share: float
    most: float

    def __call__(self, mean: Tensor) -> Tensor:
        """See the class."""
        size = torch.quantile(mean.abs().flatten(1).float(), self.share, dim=1).clamp(1.0, max(1.0, self.most))
        size = size.to(mean).view(-1, *(1,) * (mean.ndim - 1))
        return torch.minimum(torch.maximum(mean, -size), size) / size
