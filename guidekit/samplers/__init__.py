"""Samplers: Ancestral and FirstHitting for tokens; Ancestral, DDIM, Euler and Heun for tensors of reals."""

from guidekit.samplers.ancestral import DDIM, Ancestral
from guidekit.samplers.base import Sampler
from guidekit.samplers.first_hitting import FirstHitting
from guidekit.samplers.ode import Euler, Heun

SAMPLERS = {"ancestral": Ancestral, "ddim": DDIM, "euler": Euler, "heun": Heun, "first_hitting": FirstHitting}

__all__ = ["DDIM", "SAMPLERS", "Ancestral", "Euler", "FirstHitting", "Heun", "Sampler"]
