"""Forward noising of reals (VP, SubVP, DiscreteVP, VE, EDM, Flow, ReflectedProcess), tokens (Masked, ...) and both.

Time grids of samplers: Even, Karras, LogSNR, Spaced.
"""

from guidekit.processes.alpha import CosineAlpha, Geometric, LogLinear
from guidekit.processes.composite import CompositeProcess
from guidekit.processes.discrete import DiscreteProcess, Masked
from guidekit.processes.gaussian import EDM, VE, VP, DiscreteVP, Flow, GaussianProcess, SubVP
from guidekit.processes.grids import Even, Karras, LogSNR, Spaced
from guidekit.processes.kinds import Kinds
from guidekit.processes.limits import Marginal, Uniform
from guidekit.processes.reflected import ReflectedProcess
from guidekit.processes.structured import Stepped, Structured, blocks, discretized_gaussian, ordinal

__all__ = [
    "EDM",
    "VE",
    "VP",
    "CompositeProcess",
    "CosineAlpha",
    "DiscreteProcess",
    "DiscreteVP",
    "Even",
    "Flow",
    "GaussianProcess",
    "Geometric",
    "Karras",
    "Kinds",
    "LogLinear",
    "LogSNR",
    "Marginal",
    "Masked",
    "ReflectedProcess",
    "Spaced",
    "Stepped",
    "Structured",
    "SubVP",
    "Uniform",
    "blocks",
    "discretized_gaussian",
    "ordinal",
]
