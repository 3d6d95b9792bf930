"""Clean states to noise and back: `encode` and `decode` by samplers that can be run backwards.

`EDICT` and `BDIA` keep a second state beside the sampled one; the network is asked at the same states and times in both
directions, so that the way back is algebra and exact up to rounding: use float64 where it matters. `DDIMInversion` is
the approximate one.
"""

from guidekit.inversion.base import Invertible, InvertibleError, Latent, decode, encode
from guidekit.inversion.bdia import BDIA
from guidekit.inversion.ddim import DDIMInversion
from guidekit.inversion.edict import EDICT

__all__ = ["BDIA", "EDICT", "DDIMInversion", "Invertible", "InvertibleError", "Latent", "decode", "encode"]
