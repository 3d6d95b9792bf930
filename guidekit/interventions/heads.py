"""Queries, keys and values of attention, however the network called it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from guidekit.interventions.sites import SiteError


@dataclasses.dataclass(frozen=True)
class Heads:
    """One attention of all heads.

    Args:
        q, k, v: (B, h, N, d), (B, h, M, d), (B, h, M, e).
        mask: bool (True may be attended to) or added to the logits, broadcasts against (B, h, N, M); None is no mask.
        causal: whether tokens see earlier ones only.
        scale: of the logits; None is d^-1/2.
    """

    q: Tensor
    k: Tensor
    v: Tensor
    mask: Tensor | None = None
    causal: bool = False
    scale: float | None = None

    def rows(self, rows: Tensor) -> Heads:
        """The attention of some rows, (b,) int64."""
        mask = self.mask
        if mask is not None and mask.ndim == 4 and len(mask) > 1:
            mask = mask[rows]
        return dataclasses.replace(self, q=self.q[rows], k=self.k[rows], v=self.v[rows], mask=mask)

    def out(self) -> Tensor:
        """(B, h, N, e): what the tokens receive. Called below the level at which attention is intercepted."""
        function = torch.ops.aten.scaled_dot_product_attention
        return function(self.q, self.k, self.v, self.mask, 0.0, self.causal, scale=self.scale)

    def weights(self) -> Tensor:
        """(B, h, N, M): the attention map, rows sum to one."""
        scale = self.q.shape[-1] ** -0.5 if self.scale is None else self.scale
        logits = self.q @ self.k.transpose(-1, -2) * scale
        if self.causal:
            later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
            logits = logits.masked_fill(later, -torch.inf)
        if self.mask is not None:
            closed = self.mask.dtype == torch.bool
            logits = logits.masked_fill(~self.mask, -torch.inf) if closed else logits + self.mask
        return torch.softmax(logits, -1)

    def valid(self) -> Tensor | None:
        """Tokens that may attend to themselves, (B or 1, N) bool: padding may not. None is all."""
        if self.mask is None or self.q.shape[2] != self.k.shape[2]:
            return None
        mask = self.mask if self.mask.dtype == torch.bool else self.mask > -1e4
        mask = mask.view(*[1] * (4 - mask.ndim), *mask.shape)[:, 0]
        if mask.shape[1] == 1:
            return mask[:, 0]
        return mask.expand(-1, -1, self.k.shape[2]).diagonal(dim1=1, dim2=2)


def from_function(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> tuple[Heads, bool]:
    """The arguments of `scaled_dot_product_attention`, and whether an axis of heads was added.

    Raises:
        SiteError: tensors of another form than (B, N, d) or (B, h, N, d).
    """
    if query.ndim not in (3, 4):
        raise SiteError(f"attention over queries of shape {tuple(query.shape)}; expected (B, N, d) or (B, h, N, d)")
    flat = query.ndim == 3
    q, k, v = (z[:, None] if flat else z for z in (query, key, value))
    if enable_gqa:
        k, v = (z.repeat_interleave(q.shape[1] // z.shape[1], 1) for z in (k, v))
    if flat and attn_mask is not None and attn_mask.ndim == 3:
        attn_mask = attn_mask[:, None]
    return Heads(q, k, v, attn_mask, is_causal, scale), flat


def from_multihead(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    embed_dim_to_check: int,
    num_heads: int,
    in_proj_weight: Tensor | None,
    in_proj_bias: Tensor | None,
    bias_k: Tensor | None,
    bias_v: Tensor | None,
    add_zero_attn: bool,
    dropout_p: float,
    out_proj_weight: Tensor,
    out_proj_bias: Tensor | None,
    training: bool = True,
    key_padding_mask: Tensor | None = None,
    need_weights: bool = True,
    attn_mask: Tensor | None = None,
    use_separate_proj_weight: bool = False,
    q_proj_weight: Tensor | None = None,
    k_proj_weight: Tensor | None = None,
    v_proj_weight: Tensor | None = None,
    static_k: Tensor | None = None,
    static_v: Tensor | None = None,
    average_attn_weights: bool = True,
    is_causal: bool = False,
) -> tuple[Heads, Callable[[Tensor], Tensor]]:
    """The attention inside `multi_head_attention_forward` (N, B, E), and its output projection.

    Raises:
        SiteError: options that add keys.
    """
    if bias_k is not None or bias_v is not None or add_zero_attn or static_k is not None or static_v is not None:
        raise SiteError("attention with added keys (add_bias_kv, add_zero_attn) cannot be perturbed")
    if query.ndim != 3:
        raise SiteError(f"attention over queries of shape {tuple(query.shape)}; a batch is needed")
    weights: Any = (q_proj_weight, k_proj_weight, v_proj_weight)
    if not use_separate_proj_weight and in_proj_weight is not None:
        weights = in_proj_weight.chunk(3)
    biases = (None, None, None) if in_proj_bias is None else in_proj_bias.chunk(3)
    q, k, v = (
        F.linear(z, w, b).unflatten(-1, (num_heads, -1)).permute(1, 2, 0, 3)
        for z, w, b in zip((query, key, value), weights, biases, strict=True)
    )
    mask = _added(attn_mask, q.dtype)
    if mask is not None and mask.ndim == 3:
        mask = mask.view(-1, num_heads, *mask.shape[1:])
    padding = _added(key_padding_mask, q.dtype)
    if padding is not None:
        padding = padding[:, None, None]
        mask = padding if mask is None else mask + padding
    return Heads(q, k, v, mask, is_causal and mask is None), lambda z: F.linear(z, out_proj_weight, out_proj_bias)


def _added(mask: Tensor | None, dtype: torch.dtype) -> Tensor | None:
    """A mask in which True is closed as numbers to be added."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill(mask, -torch.inf)


def join_heads(z: Tensor) -> Tensor:
    """(B, h, N, d) to (B, N, h d)."""
    return z.transpose(1, 2).flatten(2)
