"""The guidances that promise a posterior, and the settings that their pages recommend for one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from guidekit import registry
from guidekit.core.guidance import Fact, Guidance
from guidekit.core.objective import Objective
from guidekit.core.sampler import Sampler
from guidekit.errors import UnknownNameError
from guidekit.objectives.gaussian import GaussianNoise
from guidekit.priors.gaussian_field import GaussianField
from guidekit.processes.grids import Karras
from guidekit.running.kinds import members
from guidekit.running.settings import is_goal
from guidekit.samplers import Ancestral, DPMSolver

GRID = Karras(0.02, 20.0)
"""Noise levels, in the unit of data with a std of about 1: starting higher, or ending lower, gains nothing."""

FAMILIES = ("guidekit.guidance.gradient.", "guidekit.guidance.inverse.")
"""Where guidances by an objective are that may as well be a likelihood."""

FIELD = "the fitted field"
"""Stands for a Gaussian field fitted to draws from the prior, see `guidekit.bench.exact.fitted`."""


@dataclasses.dataclass(frozen=True)
class Solver:
    """A guidance with settings.

    Args:
        guidance: its registered name.
        options: settings that differ from its defaults; `FIELD` is replaced.
        sampler: None is what the guidance asks for, or else second order, ancestral where noise is needed.
        variant: what tells it from others of the same guidance.
    """

    guidance: str
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    sampler: Sampler | None = None
    variant: str = ""

    @property
    def title(self) -> str:
        """Of its card."""
        return f"{self.guidance} {self.variant}".strip()

    def made(self, likelihood: Objective, field: Callable[[], GaussianField]) -> Guidance:
        """The guidance for a likelihood; what it needs of a fitted field is given."""
        kind = registry.get("guidance", self.guidance)
        options = {name: field() if value is FIELD else value for name, value in self.options.items()}
        for setting in registry.settings(kind):
            takes = setting.name == "field" or GaussianField in members(setting.annotation)
            if setting.required and setting.name not in options and takes:
                options[setting.name] = field()
        return kind(**{goal_of(kind): likelihood}, **options)

    def sampled_by(self, guidance: Guidance) -> Sampler | None:
        """The sampler of its card; None is what the guidance asks for."""
        if self.sampler is not None or any(member.default_sampler is not None for member in guidance.members):
            return self.sampler
        needed = {fact for member in guidance.members for fact in member.requires}
        return Ancestral(times=GRID) if Fact.NOISE in needed else DPMSolver(times=GRID)


ANCESTRAL = Ancestral(times=GRID)

RECOMMENDED: Mapping[str, tuple[Solver, ...]] = {
    "daps": (Solver("daps"), Solver("daps", {"field": FIELD}, variant="field")),
    "ddnm": (Solver("ddnm"), Solver("ddnm", {"eta": 0.85}, ANCESTRAL, "eta=0.85, levels to .02")),
    "ddrm": (Solver("ddrm"), Solver("ddrm", {}, ANCESTRAL, "levels to .02")),
    "diffpir": (
        Solver("diffpir"),
        Solver("diffpir", {"weight": 2.0, "zeta": 0.5}, ANCESTRAL, "weight=2 zeta=0.5, levels to .02"),
    ),
    "dps": (Solver("dps", sampler=ANCESTRAL), Solver("dps", {"loss": "norm"}, ANCESTRAL, "loss=norm")),
    "lgd": (Solver("lgd", {"loss": "residual"}, variant="loss=residual"),),
    "pigdm": (Solver("pigdm", sampler=DPMSolver(eta=1.0, times=GRID)),),
    "pnp_dm": (Solver("pnp_dm"), Solver("pnp_dm", {"calls": 5}, variant="calls=5")),
    "replacement": (Solver("replacement", sampler=ANCESTRAL),),
    "universal": (Solver("universal", {"loss": "residual"}, variant="loss=residual"),),
    "path": (),  # for costs of plans, which are no measurements
}
"""Solvers by the name of their guidance, where defaults and second-order steps are not all that is to be judged."""


def goal_of(kind: Callable[..., Any]) -> str:
    """The name of the argument of a guidance that a likelihood can stand for; empty where there is none.

    A required likelihood, or in the families above whatever takes the objective of the run.
    """
    family = getattr(kind, "__module__", "").startswith(FAMILIES)
    for setting in registry.settings(kind):
        if not is_goal(setting):
            continue
        found = members(setting.annotation)
        if setting.required and any(isinstance(one, type) and issubclass(one, GaussianNoise) for one in found):
            return setting.name
        if setting.name == "likelihood" or (family and setting.name in ("objective", "reward")):
            return setting.name
    return ""


def solvers(recommended: Mapping[str, tuple[Solver, ...]] = RECOMMENDED) -> Iterator[Solver]:
    """All solvers: guidances whose required argument is a likelihood, and those of the families above."""
    for name, kind in registry.usable("guidance"):
        if goal_of(kind):
            yield from recommended.get(name, (Solver(name),))


def chosen(names: list[Any] | None, recommended: Mapping[str, tuple[Solver, ...]] = RECOMMENDED) -> list[Solver]:
    """Solvers by guidance, title or {name: ..., settings}; all for None.

    Raises:
        UnknownNameError: no guidance of that name, or none that takes a likelihood.
    """
    known = list(solvers(recommended))
    if names is None:
        return known
    found: list[Solver] = []
    for one in names:
        if isinstance(one, Mapping):
            options = {key: value for key, value in one.items() if key != "name"}
            said = " ".join(f"{key}={value}" for key, value in options.items())
            fits = [Solver(str(one.get("name")), options, variant=said)]
            unknown = fits[0].guidance not in {solver.guidance for solver in known}
        else:
            fits = [solver for solver in known if one in (solver.guidance, solver.title)]
            unknown = not fits
        if unknown:
            name = one.get("name") if isinstance(one, Mapping) else one
            raise UnknownNameError("guidance of a likelihood", str(name), sorted({solver.title for solver in known}))
        found += fits
    return found
