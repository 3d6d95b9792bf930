"""Samplers of tokens (Ancestral, FirstHitting, Jumps, TauLeaping, ...) and of reals (Ancestral, DDIM, Euler, Heun)."""

from guidekit.samplers.ancestral import DDIM, Ancestral
from guidekit.samplers.base import Sampler
from guidekit.samplers.first_hitting import FirstHitting
from guidekit.samplers.jumps import Jumps, PredictorCorrector, TauLeaping
from guidekit.samplers.ode import Euler, Heun
from guidekit.samplers.path_planning import MaskGIT, PathPlanning
from guidekit.samplers.remasking import ReMDM

SAMPLERS = {
    "ancestral": Ancestral,
    "ddim": DDIM,
    "euler": Euler,
    "heun": Heun,
    "first_hitting": FirstHitting,
    "jumps": Jumps,
    "tau_leaping": TauLeaping,
    "predictor_corrector": PredictorCorrector,
    "remdm": ReMDM,
    "maskgit": MaskGIT,
    "path_planning": PathPlanning,
}

__all__ = [
    "DDIM",
    "SAMPLERS",
    "Ancestral",
    "Euler",
    "FirstHitting",
    "Heun",
    "Jumps",
    "MaskGIT",
    "PathPlanning",
    "PredictorCorrector",
    "ReMDM",
    "Sampler",
    "TauLeaping",
]
