"""Forward noising processes. VP, VE, EDM and Flow act on tensors of reals, Masked and Uniform on tokens."""

from guidekit.processes.discrete import DiscreteProcess, Masked, Uniform
from guidekit.processes.gaussian import EDM, VE, VP, Flow, GaussianProcess

__all__ = ["EDM", "VE", "VP", "DiscreteProcess", "Flow", "GaussianProcess", "Masked", "Uniform"]
