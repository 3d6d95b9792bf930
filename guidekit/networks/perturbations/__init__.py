"""What can be done to a network at its sites, for chosen rows of a call: see `guidekit.networks.installed`."""

from guidekit.networks.perturbations.attention import BlurQuery, IdentityAttention, TemperAttention
from guidekit.networks.perturbations.blocks import DropAttention, DropBlock, DropFeed
from guidekit.networks.perturbations.edges import MaskEdges
from guidekit.networks.perturbations.inputs import NoiseEmbedding, ShuffleTokens
from guidekit.networks.perturbations.negative import NegativeExtrapolate
from guidekit.networks.perturbations.operator import Choice, Custom, Operator
from guidekit.networks.perturbations.records import Record, RecordMaps

__all__ = [
    "BlurQuery",
    "Choice",
    "Custom",
    "DropAttention",
    "DropBlock",
    "DropFeed",
    "IdentityAttention",
    "MaskEdges",
    "NegativeExtrapolate",
    "NoiseEmbedding",
    "Operator",
    "Record",
    "RecordMaps",
    "ShuffleTokens",
    "TemperAttention",
]
