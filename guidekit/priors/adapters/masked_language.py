"""Masked language models of transformers as priors of tokens: every hidden token is a lost one of `Masked`.

A model that was trained to fill in hidden tokens, whichever they are, is a denoiser of the absorbing process; it is not
told the time, as the state says how much is hidden (Wang & Cho 2019, arXiv:1902.04094; Sahoo et al. 2024,
arXiv:2406.07524). Those that saw 15 % of the tokens hidden (BERT, ESM-2) extrapolate where nearly all are.

Needs the extra `transformers`. Nothing is fetched, no code of a folder is run, and only safetensors are read.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from guidekit._compat import mended
from guidekit.core.requirements import GuidanceError
from guidekit.io.archives import reason
from guidekit.priors.adapters.configuration import read_json
from guidekit.priors.adapters.vocabulary import TokenCodec, Vocabulary, vocabulary_of
from guidekit.priors.denoiser import evaluating
from guidekit.priors.tokens import TokenPrior
from guidekit.priors.weights import CheckpointError, read_weights, refuse_large

ENDING = "ForMaskedLM"


class MaskedLanguageNetwork(nn.Module):
    """A masked language model that is asked in the ids of states, and answers with logits of the tokens that are kept.

    Args:
        model: (input_ids, attention_mask) -> an object with `logits`, or logits; one with an argument `timesteps` is
            told the total noise -log(a) (MDLM).
        vocabulary: of its tokenizer.
        kept: the tokenizer's ids of the V tokens of states, in their order.
        pad_id: id of padding among them, or None.
    """

    def __init__(self, model: nn.Module, vocabulary: Vocabulary, kept: Sequence[int], pad_id: int | None) -> None:
        super().__init__()
        self.vocabulary, self.pad_id = vocabulary, pad_id
        self.register_buffer("ids", torch.tensor([*kept, vocabulary.mask]), persistent=False)
        told = inspect.signature(model.forward).parameters
        self.masks, timed = "attention_mask" in told, "timesteps" in told
        self.conditioning = SimpleNamespace(level=True if timed else None)
        self.base, self.head = (model, None) if timed else parted(model, self.asked(torch.zeros(1, 1).long()))
        self.width = getattr(getattr(model, "config", None), "hidden_size", 0)
        self.norm = nn.Identity()  # the head has its own

    def asked(self, tokens: Tensor, level: Tensor | None = None) -> dict[str, Tensor]:
        """The inputs of the model for tokens (B, l): special tokens around each sequence, padding behind."""
        words, device = self.vocabulary, tokens.device
        real = torch.ones_like(tokens, dtype=torch.bool) if self.pad_id is None else tokens != self.pad_id
        ids: Any = self.ids
        begin, rows = len(words.before), len(tokens)
        given = torch.full((rows, begin + tokens.shape[1] + len(words.after)), words.pad, device=device)
        given[:, :begin] = torch.tensor(words.before, device=device, dtype=torch.int64)
        given[:, begin : begin + tokens.shape[1]] = torch.where(real, ids[tokens], words.pad)
        end = begin + real.sum(1, keepdim=True)
        for i, token in enumerate(words.after):
            given.scatter_(1, end + i, token)
        asked = {"input_ids": given}
        if self.masks:
            there = torch.arange(given.shape[1], device=device) < end + len(words.after)
            asked["attention_mask"] = there.long()
        if level is not None:
            asked["timesteps"] = -torch.log1p(-level.clamp_max(1 - 1e-3))
        return asked

    def features(self, tokens: Tensor, labels: Tensor | None = None, level: Tensor | None = None) -> Tensor:
        """Last hidden layer (B, l, width) at tokens (B, l).

        Raises:
            GuidanceError: a model whose head cannot be told from the rest.
        """
        if self.head is None:
            raise GuidanceError(
                f"{type(self.base).__name__} has no last layer that is known: its features are not read"
            )
        inside = slice(len(self.vocabulary.before), len(self.vocabulary.before) + tokens.shape[1])
        return self.base(**self.asked(tokens)).last_hidden_state[:, inside]

    def logits(self, h: Tensor) -> Tensor:
        """Logits (..., V) of features (..., width)."""
        head: Any = self.head
        return self.kept(head(h))

    def kept(self, logits: Tensor) -> Tensor:
        """Those of the tokens of states."""
        ids: Any = self.ids
        return logits.index_select(-1, ids[:-1])

    def forward(
        self, tokens: Tensor, select: Tensor | None = None, labels: Tensor | None = None, level: Tensor | None = None
    ) -> Tensor:
        """Logits (B, l, V) for tokens (B, l), of which id V is the mask, or (N, V) where select (B, l) is True."""
        if self.head is not None:
            h = self.features(tokens)
            return self.logits(h if select is None else h[select])
        output = self.base(**self.asked(tokens, level))
        logits = getattr(output, "logits", output)
        begin = len(self.vocabulary.before)
        logits = logits[:, begin : begin + tokens.shape[1]]
        return self.kept(logits if select is None else logits[select])


def parted(model: nn.Module, asked: Mapping[str, Tensor]) -> tuple[nn.Module, nn.Module | None]:
    """(all but the head, the head) of a model where these are its two parts, else (model, None)."""
    base: Any = getattr(model, "base_model", model)
    others = [part for part in model.children() if part is not base]
    if base is model or len(others) != 1:
        return model, None
    with evaluating(model), torch.no_grad(), contextlib.suppress(Exception):  # whatever a head of another kind says
        whole: Any = model(**asked)
        if torch.equal(whole.logits, others[0](base(**asked).last_hidden_state)):
            return base, others[0]
    return model, None


def masked_prior(
    model: nn.Module,
    vocabulary: Vocabulary,
    kept: Sequence[int],
    length_counts: Sequence[int],
    pad_id: int | None,
    name: str = "masked language model",
) -> TokenPrior:
    """The prior of a masked language model, without a codec.

    Args:
        model: see `MaskedLanguageNetwork`.
        vocabulary: of its tokenizer.
        kept: ids of the tokens of states, in their order; one of padding at `pad_id`, where there is one.
        length_counts: how often each number of tokens is drawn, from 0 to L.
        pad_id: see `TokenPrior`.
        name: for messages.

    Raises:
        CheckpointError: the model cannot be asked about so many tokens, or knows fewer than its tokenizer.
    """
    network = MaskedLanguageNetwork(model, vocabulary, kept, pad_id)
    prior = TokenPrior(network, len(kept), length_counts, pad_id)
    prior.name, prior.card = name, {"summary": type(model).__name__}
    full = torch.full((1, len(length_counts) - 1), len(kept))
    where = next((part.device for part in model.parameters()), torch.device("cpu"))
    try:
        with torch.no_grad():
            prior.to(where).predict(full.to(where), 1.0)
    except (IndexError, RuntimeError, ValueError, TypeError) as error:
        most = getattr(getattr(model, "config", None), "max_position_embeddings", None)
        room = "" if most is None else f"; it was made for {most} positions, {len(around(vocabulary))} of them special"
        raise CheckpointError(
            f"{name} cannot be asked about sequences of {full.shape[1]} tokens ({reason(error)}){room}"
        ) from error
    return prior


def around(vocabulary: Vocabulary) -> tuple[int, ...]:
    """The tokens that stand around every sequence."""
    return (*vocabulary.before, *vocabulary.after)


def from_masked_language_model(
    model: nn.Module,
    tokenizer: Any,
    length: int | Sequence[int],
    tokens: Sequence[str] | None = None,
    *,
    mask_id: int | None = None,
    name: str = "masked language model",
) -> TokenPrior:
    """A prior of tokens from a masked language model and its tokenizer, whose texts are the objects.

    The model stays the caller's, as in `from_denoiser`. Special tokens (CLS, EOS, padding) are set around and behind
    the sequences as the tokenizer does; they are no part of states and never drawn.

    Args:
        model: of transformers (`AutoModelForMaskedLM`), or any module (input_ids, attention_mask) -> logits
            (B, n, ids) or an object with them; one with an argument `timesteps` is told -log(a), as MDLM is.
        tokenizer: as `AutoTokenizer` gives it.
        length: tokens of every sample; or how often each number of tokens is drawn, from 0 to the largest.
        tokens: texts of those that may be drawn; None is all that are not special.
        mask_id: id of the mask, for tokenizers without one.
        name: for messages.

    Raises:
        GuidanceError: the tokenizer has no mask, or a text of `tokens` is no token.
        CheckpointError: see `masked_prior`.
    """
    vocabulary = vocabulary_of(tokenizer, mask_id)
    kept = vocabulary.spelled(bool)
    if tokens is not None:
        known = {vocabulary.texts[number]: number for number in reversed(kept)}
        if unknown := [text for text in tokens if text not in known]:
            raise GuidanceError(f"{unknown[0]!r} is no token of {type(tokenizer).__name__}, or a special one")
        kept = [known[text] for text in tokens]
    pieces, counts, pad_id = [str(vocabulary.texts[number]) for number in kept], length, None
    if isinstance(length, int):
        if length < 1:
            raise ValueError(f"length={length}; a sequence has at least 1 token")
        counts = [0] * length + [1]
    else:
        kept, pieces, pad_id = [vocabulary.pad, *kept], ["", *pieces], 0
    prior = masked_prior(model, vocabulary, kept, counts, pad_id, name)  # type: ignore[arg-type]
    prior.codec = TokenCodec(pieces, kept, vocabulary.spell, prior.event_shape[0], pad_id)
    return prior


def load_model(folder: str | Path) -> tuple[nn.Module, Any]:
    """(model, tokenizer) of a folder that `save_pretrained` of a `*ForMaskedLM` and of its tokenizer wrote.

    Raises:
        CheckpointError: another kind of model, one with code of its own, files missing or damaged, weights that are not
            finite or do not fit.
        MissingExtraError: transformers is not installed.
    """
    folder = Path(folder)
    config = read_json(folder / "config.json")
    kinds = config.get("architectures")
    kind = str(kinds[0]) if isinstance(kinds, list) and kinds else "no architecture"
    if "auto_map" in config:
        raise CheckpointError(
            f"{folder} brings its own code (auto_map in config.json), which is not run: load the model in Python and "
            "give it to gk.priors.from_masked_language_model"
        )
    if not kind.endswith(ENDING):
        raise CheckpointError(f"{folder} holds {kind}; a masked language model is expected, *{ENDING}")
    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise CheckpointError(f"there are no safetensors in {folder}; other formats can run code: save it again")
    for file in files:
        refuse_large(file, sizes(config), read_weights(file))
    model, told = _quietly(folder, config)
    for what, said in (("missing_keys", "lacks"), ("mismatched_keys", "has in another shape"), ("error_msgs", "says")):
        if told[what]:
            first = sorted(map(str, told[what]))[0]
            raise CheckpointError(f"{folder} does not fit its own config.json: it {said} weights of {kind}: {first}")
    try:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # whatever damaged files lead to
        raise CheckpointError(f"{folder} has no tokenizer that can be read ({reason(error)})") from error
    return model.eval().requires_grad_(False), tokenizer


def sizes(config: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers of a configuration that say how large a network is."""
    return {key: value for key, value in config.items() if key.endswith("_size") or key.startswith(("num_", "n_"))}


def _quietly(folder: Path, config: Mapping[str, Any]) -> tuple[nn.Module, dict[str, Any]]:
    """(model, what was found about its weights) of a folder."""
    mended("transformers", "transformers")
    from transformers import AutoModelForMaskedLM
    from transformers.utils import logging

    loud, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        return AutoModelForMaskedLM.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    except Exception as error:  # whatever a configuration leads to
        raise CheckpointError(f"{folder}: no model can be made of it ({reason(error)})") from error
    finally:
        logging.set_verbosity(loud)
        (logging.enable_progress_bar if bar else logging.disable_progress_bar)()


def load_masked_language_model(
    folder: str | Path, length: int | Sequence[int] = 64, tokens: Sequence[str] | None = None
) -> TokenPrior:
    """The prior in a folder of transformers, see `from_masked_language_model` and `load_model`."""
    prior = from_masked_language_model(*load_model(folder), length, tokens, name=name_of(folder))
    prior.card["data"] = Path(folder).name
    return prior


def name_of(folder: str | Path) -> str:
    """What messages call the prior of a folder."""
    return f"masked language model {Path(folder).name}"
