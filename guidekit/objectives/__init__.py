"""Objectives: what a guided model should obey."""

from guidekit.core.objective import Objective, Product, Sum
from guidekit.objectives.combination import weighted
from guidekit.objectives.examples import Examples
from guidekit.objectives.gaussian import GaussianLikelihood, LinearGaussian, QuadraticReward
from guidekit.objectives.margins import Margin
from guidekit.objectives.motion import Motion
from guidekit.objectives.objects import ObjectReward, score
from guidekit.objectives.pool import Isolated
from guidekit.objectives.reward import Reward, TableReward, Value
from guidekit.objectives.similarity import NoisedReference, Similarity, noise_aware
from guidekit.objectives.spectra import LogSpectrum
from guidekit.objectives.statistics import Style
from guidekit.objectives.units import in_units
from guidekit.objectives.unknown import OneOf
from guidekit.objectives.verifiers import ForbiddenWords, ObjectVerifier, OccupiedCells
from guidekit.objectives.wavelets import wavelet_likelihood

__all__ = [
    "Examples",
    "ForbiddenWords",
    "GaussianLikelihood",
    "Isolated",
    "LinearGaussian",
    "LogSpectrum",
    "Margin",
    "Motion",
    "NoisedReference",
    "ObjectReward",
    "ObjectVerifier",
    "Objective",
    "OccupiedCells",
    "OneOf",
    "Product",
    "QuadraticReward",
    "Reward",
    "Similarity",
    "Style",
    "Sum",
    "TableReward",
    "Value",
    "in_units",
    "noise_aware",
    "score",
    "wavelet_likelihood",
    "weighted",
]
