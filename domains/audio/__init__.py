"""Sounds as log-mel pictures or waveforms, and Bach chorales as piano rolls: data, files, rewards, metrics, tasks."""

from . import codec, files, mel, metrics, midi, roll_metrics, rolls
from .codec import AudioError, SampleRateMismatch, Sound
from .data import CLASSES, MODES
from .pieces import Chorales
from .rolls import RollError
from .sounds import Audio
