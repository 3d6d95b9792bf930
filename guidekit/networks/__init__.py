"""Small standard networks, by name for checkpoints."""

from guidekit.networks.dilated_convolution import DilatedConvolution
from guidekit.networks.sequence_transformer import SequenceTransformer

NETWORKS = {"sequence_transformer": SequenceTransformer, "dilated_convolution": DilatedConvolution}

__all__ = ["NETWORKS", "DilatedConvolution", "SequenceTransformer"]
