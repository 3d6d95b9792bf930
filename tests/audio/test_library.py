import sys

import pytest
import torch

from guidekit import _compat
from guidekit.domains.audio.library import functional
from guidekit.extras import MissingExtraError


def test_torchaudio_works_beside_any_torch_and_has_gradients():
    x = torch.randn(1, 4410, requires_grad=True)
    functional().resample(x, 44100, 16000).square().sum().backward()
    assert x.grad.abs().max() > 0 and _compat.torchaudio() is sys.modules["torchaudio"]


def test_without_torchaudio_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchaudio", None)
    monkeypatch.setitem(sys.modules, "torchaudio.functional", None)
    with pytest.raises(MissingExtraError, match=r'pip install "guidekit\[audio\]"'):
        functional()


def test_a_library_that_cannot_be_loaded_either_way_says_why(monkeypatch):
    tried = []

    def broken(name):
        tried.append(name)
        raise OSError("no libc10_cuda.so")

    for name in [name for name in sys.modules if name.split(".")[0] == "torchaudio"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(_compat.importlib, "import_module", broken)
    with pytest.raises(OSError, match="libc10_cuda"):
        _compat.torchaudio()
    assert len(tried) == 2 and _compat.EXTENSION not in sys.modules
