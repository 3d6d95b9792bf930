"""Graphs: planar ones, trees, communities, molecules and those of files, with rewards, metrics and figures."""

from .codec import GraphCodec, codec_from, codec_of
from .domain import Graphs
from .files import read_graphs, write_graphs
from .generators import dataset, generate
from .metrics import evaluate, evaluate_molecules

__all__ = [
    "GraphCodec",
    "Graphs",
    "codec_from",
    "codec_of",
    "dataset",
    "evaluate",
    "evaluate_molecules",
    "generate",
    "read_graphs",
    "write_graphs",
]
