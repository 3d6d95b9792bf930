"""What can be done to a network at its sites, for chosen rows of a call: see `guidekit.interventions.installed`."""

from guidekit.interventions.operators.attention import BlurQuery, IdentityAttention, TemperAttention
from guidekit.interventions.operators.blocks import DropAttention, DropBlock, DropFeed
from guidekit.interventions.operators.edges import MaskEdges
from guidekit.interventions.operators.inputs import NoiseEmbedding, ShuffleTokens
from guidekit.interventions.operators.negative import NegativeExtrapolate
from guidekit.interventions.operators.operator import Choice, Custom, Operator
from guidekit.interventions.operators.records import Record, RecordMaps

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
