"""Small standard networks, by name for checkpoints."""

from guidekit.networks.dilated_convolution import DilatedConvolution
from guidekit.networks.graph_transformer import GraphTransformer
from guidekit.networks.image_encoder import ImageEncoder
from guidekit.networks.image_transformer import ImageTransformer
from guidekit.networks.perceptron import Perceptron
from guidekit.networks.sequence_transformer import SequenceTransformer
from guidekit.networks.temporal_unet import TemporalUNet
from guidekit.networks.unet import UNet
from guidekit.networks.value_network import ValueNetwork
from guidekit.networks.waveform_unet import WaveformUNet

NETWORKS = {
    "sequence_transformer": SequenceTransformer,
    "dilated_convolution": DilatedConvolution,
    "unet": UNet,
    "image_transformer": ImageTransformer,
    "waveform_unet": WaveformUNet,
    "temporal_unet": TemporalUNet,
    "graph_transformer": GraphTransformer,
    "value_network": ValueNetwork,
}

__all__ = [
    "NETWORKS",
    "DilatedConvolution",
    "GraphTransformer",
    "ImageEncoder",
    "ImageTransformer",
    "Perceptron",
    "SequenceTransformer",
    "TemporalUNet",
    "UNet",
    "ValueNetwork",
    "WaveformUNet",
]
