"""Small standard networks, by name for checkpoints."""

from guidekit.networks.sequence_transformer import SequenceTransformer

NETWORKS = {"sequence_transformer": SequenceTransformer}

__all__ = ["NETWORKS", "SequenceTransformer"]
