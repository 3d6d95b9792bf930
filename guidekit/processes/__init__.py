"""Forward noising: VP, VE, EDM and Flow act on tensors of reals; Masked, Uniform, Marginal and Structured on tokens."""

from guidekit.processes.discrete import DiscreteProcess, Masked
from guidekit.processes.gaussian import EDM, VE, VP, Flow, GaussianProcess
from guidekit.processes.limits import Marginal, Uniform
from guidekit.processes.structured import Stepped, Structured, blocks, discretized_gaussian, ordinal
from guidekit.processes.survival import CosineSurvival, Geometric, LogLinear

__all__ = [
    "EDM",
    "VE",
    "VP",
    "CosineSurvival",
    "DiscreteProcess",
    "Flow",
    "GaussianProcess",
    "Geometric",
    "LogLinear",
    "Marginal",
    "Masked",
    "Stepped",
    "Structured",
    "Uniform",
    "blocks",
    "discretized_gaussian",
    "ordinal",
]
