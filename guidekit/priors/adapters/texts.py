"""Priors whose condition is a text: embeddings as tensors, or made by the text encoder of their folder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from guidekit._compat import mended
from guidekit.core.state import State
from guidekit.io.archives import reason
from guidekit.io.contents import ordinary
from guidekit.priors.adapters.configuration import read_json
from guidekit.priors.adapters.diffusers_prior import DiffusersPrior
from guidekit.priors.adapters.schedulers import Convention
from guidekit.priors.weights import CheckpointError, read_weights

ENCODERS = ("CLIPTextModel", "T5EncoderModel", "BertModel", "RobertaModel")
TOKENS = 77
"""Of an embedding that stands for no text, where there is no encoder; that of CLIP."""


@dataclasses.dataclass(frozen=True, eq=False)
class TextEncoder:
    """Texts to embeddings (B, T, D).

    Args:
        network: of transformers.
        tokenizer: its tokenizer.
        length: T, to which texts are padded and cut.
    """

    network: nn.Module
    tokenizer: Any
    length: int

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """The last hidden layer."""
        device = next(self.network.parameters()).device
        asked = self.tokenizer(
            list(texts), padding="max_length", max_length=self.length, truncation=True, return_tensors="pt"
        ).to(device)
        config: Any = self.network.config
        mask = {"attention_mask": asked["attention_mask"]} if getattr(config, "use_attention_mask", False) else {}
        with torch.no_grad():
            return self.network(asked["input_ids"], **mask)[0]


class TextPrior(DiffusersPrior):
    """A `UNet2DConditionModel` whose condition is a sequence of embeddings (T, D).

    Args:
        network, convention, card: see `DiffusersPrior`.
        encoder: texts to embeddings, whose empty text stands for no condition; None where conditions are tensors, and
            zeros stand for none.

    Raises:
        CheckpointError: the encoder gives other numbers of numbers than the network is told.
    """

    def __init__(
        self, network: nn.Module, convention: Convention, encoder: TextEncoder | None, card: dict | None = None
    ) -> None:
        super().__init__(network, convention, card=card)
        config: Any = network.config
        width, self.encoder = config.cross_attention_dim, encoder
        self.null_condition: Tensor = torch.zeros(TOKENS, width) if encoder is None else encoder([""])[0]
        if self.null_condition.shape[-1] != width:
            found = self.null_condition.shape[-1]
            raise CheckpointError(f"the text encoder gives {found} numbers a token, and the network is told {width}")

    def condition(self, value: Any) -> State | None:
        """A text, several texts (one a sample), or embeddings (T, D) or (B, T, D), also in an npy file.

        Raises:
            ValueError: a text without an encoder, or embeddings of another shape.
        """
        wanted = self.null_condition
        if value is None:
            return None
        several = [value] if isinstance(value, str) else value
        if isinstance(several, Sequence) and several and all(isinstance(one, str) for one in several):
            if self.encoder is not None:
                return self.encoder(several)
            if len(several) > 1 or not several[0].endswith(".npy"):
                shape = tuple(wanted.shape)
                raise ValueError(f"{self.name} has no text encoder: give embeddings {shape}, a tensor or an npy file")
            value = embeddings(several[0])
        rows = torch.as_tensor(value)
        rows = rows[None] if rows.ndim == wanted.ndim else rows
        if rows.shape[1:] != wanted.shape or not rows.is_floating_point():
            raise ValueError(
                f"condition of shape {tuple(rows.shape)}; {self.name} takes a text or embeddings "
                f"{tuple(wanted.shape)}, one or one a sample"
            )
        return rows.to(wanted)

    def given(self, x: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        """See `DiffusersPrior.given`."""
        null = self.null_condition
        return {
            "encoder_hidden_states": null.to(x).expand(len(x), *null.shape) if condition is None else condition.to(x)
        }


def embeddings(path: str) -> np.ndarray:
    """The numbers of an npy file.

    Raises:
        ValueError: no such file, or none of numbers.
    """
    try:
        return np.load(ordinary(path), allow_pickle=False)
    except (OSError, EOFError) as error:
        raise ValueError(f"{path} is no npy file ({reason(error)})") from error


def encoder_in(folder: Path) -> TextEncoder | None:
    """The text encoder of a pipeline's folder; None where it has none.

    Raises:
        CheckpointError: files missing or damaged, or an encoder of another kind.
        MissingExtraError: transformers is not installed.
    """
    place = folder / "text_encoder"
    if not (place / "config.json").is_file():
        return None
    config = read_json(place / "config.json")
    kinds = config.get("architectures")
    kind = str(kinds[0]) if isinstance(kinds, list) and kinds else ""
    if kind not in ENCODERS:
        raise CheckpointError(f"{place} holds {kind or 'no architecture'}; read are {', '.join(ENCODERS)}")
    files = sorted(place.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"there are no safetensors in {place}; other formats can run code: save it again")
    for file in files:
        read_weights(file)  # refuses what is damaged or not finite
    transformers = mended("transformers", "transformers")
    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder / "tokenizer", **safe)
        network = getattr(transformers, kind).from_pretrained(
            place, use_safetensors=True, dtype=torch.float32, local_files_only=True
        )
    except Exception as error:  # whatever damaged files lead to
        raise CheckpointError(f"{folder}: its text encoder cannot be read ({reason(error)})") from error
    most = getattr(network.config, "max_position_embeddings", TOKENS)
    return TextEncoder(network.eval().requires_grad_(False), tokenizer, min(tokenizer.model_max_length, most))
