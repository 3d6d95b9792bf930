"""Samplers of tokens (Ancestral, FirstHitting, Jumps, ReMDM, ...) and of reals (Ancestral, DDIM, DPMSolver, ...)."""

from guidekit.samplers.ancestral import DDIM, Ancestral
from guidekit.samplers.base import Sampler, TimedSampler
from guidekit.samplers.ddim_inversion import DDIMInversion
from guidekit.samplers.first_hitting import FirstHitting
from guidekit.samplers.inversion import BDIA, EDICT, Latent, decode, encode
from guidekit.samplers.jumps import Jumps, PredictorCorrector, TauLeaping
from guidekit.samplers.multistep import AdamsBashforth, DPMSolver, DPMSolverSingle, UniPC
from guidekit.samplers.ode import Euler, Heun
from guidekit.samplers.path_planning import MaskGIT, PathPlanning
from guidekit.samplers.remasking import ReMDM
from guidekit.samplers.sde import EulerMaruyama, Langevin, StochasticHeun

SAMPLERS = {
    "ancestral": Ancestral,
    "ddim": DDIM,
    "euler": Euler,
    "heun": Heun,
    "euler_maruyama": EulerMaruyama,
    "stochastic_heun": StochasticHeun,
    "langevin": Langevin,
    "dpm_solver": DPMSolver,
    "dpm_solver_single": DPMSolverSingle,
    "unipc": UniPC,
    "adams_bashforth": AdamsBashforth,
    "edict": EDICT,
    "bdia": BDIA,
    "first_hitting": FirstHitting,
    "jumps": Jumps,
    "tau_leaping": TauLeaping,
    "predictor_corrector": PredictorCorrector,
    "remdm": ReMDM,
    "maskgit": MaskGIT,
    "path_planning": PathPlanning,
}

__all__ = [
    "BDIA",
    "DDIM",
    "DDIMInversion",
    "EDICT",
    "SAMPLERS",
    "AdamsBashforth",
    "Ancestral",
    "DPMSolver",
    "DPMSolverSingle",
    "Euler",
    "EulerMaruyama",
    "FirstHitting",
    "Heun",
    "Jumps",
    "Langevin",
    "Latent",
    "MaskGIT",
    "PathPlanning",
    "PredictorCorrector",
    "ReMDM",
    "Sampler",
    "StochasticHeun",
    "TauLeaping",
    "TimedSampler",
    "UniPC",
    "decode",
    "encode",
]
