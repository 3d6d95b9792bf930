"""Sounds as log-mel pictures or waveforms, and Bach chorales as piano rolls: data, files, rewards, metrics, tasks."""

from . import codec, files, mel, metrics, midi, roll_metrics, rolls
from .codec import AudioError, SampleRateMismatch, Sound, SoundCodec
from .data import CLASSES, MODES
from .pieces import Chorales
from .rolls import RollCodec, RollError
from .sounds import Audio
