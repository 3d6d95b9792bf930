"""Priors: analytic ones with exact answers, and neural ones from checkpoints."""

from guidekit.core.prior import Prior
from guidekit.priors.adapters.masked_language import from_masked_language_model
from guidekit.priors.adjacency import AdjacencyPrior
from guidekit.priors.chain import CategoricalChain
from guidekit.priors.composite import PositionsAndTypes
from guidekit.priors.conditional import ClassConditional
from guidekit.priors.denoiser import from_denoiser
from guidekit.priors.gaussian import Gaussian, GaussianMixture
from guidekit.priors.gaussian_field import GaussianField
from guidekit.priors.graphs import GraphPrior
from guidekit.priors.informed_field import InformedField
from guidekit.priors.neural import NeuralGaussian
from guidekit.priors.random_graphs import RandomGraphs, block_model, erdos_renyi
from guidekit.priors.reflected import BoxHistogram

__all__ = [
    "AdjacencyPrior",
    "BoxHistogram",
    "ClassConditional",
    "CategoricalChain",
    "Gaussian",
    "GaussianField",
    "GaussianMixture",
    "GraphPrior",
    "InformedField",
    "NeuralGaussian",
    "PositionsAndTypes",
    "Prior",
    "RandomGraphs",
    "block_model",
    "erdos_renyi",
    "from_denoiser",
    "from_masked_language_model",
]
