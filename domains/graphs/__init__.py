"""Graphs: planar, block models, trees, molecules as graphs, and those of files."""

from .codec import GraphCodec, codec_of
from .generators import dataset, generate
