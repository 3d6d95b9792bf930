"""Rules by which sites are found in networks that do not say them: those of torch and of other libraries."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from guidekit.interventions.sites import Site

Rule = Callable[[str, nn.Module, nn.Module], Site | None]
"""(qualified name, module, network) -> its site, or None where the rule does not apply."""


def _diffusers_time(name: str, module: nn.Module, network: nn.Module) -> Site | None:
    """The embedding of the time of diffusers, which is not imported for it."""
    return Site(name, {"time_embedding": module}) if type(module).__name__ == "TimestepEmbedding" else None


def _multihead(name: str, module: nn.Module, network: nn.Module) -> Site | None:
    if not isinstance(module, nn.MultiheadAttention):
        return None
    port = "cross_attention" if _crosses(name) else "self_attention"
    return Site(name, {port: module, "attention_output": module})


def _crosses(name: str) -> bool:
    """Whether attention that is called so looks at something else than its own input."""
    last = name.rpartition(".")[2]
    return "cross" in last or last in ("multihead_attn", "attn2")


def _encoder_layer(name: str, module: nn.Module, network: nn.Module) -> Site | None:
    if not isinstance(module, nn.TransformerEncoderLayer) or not module.self_attn.batch_first:
        return None
    ports = {"block": module, "tokens": module}
    if not module.norm_first:  # the residual stream is normalized on its way: its end is no branch that is added
        return Site(name, ports, padding=_key_padding)
    return Site(name, {**ports, "feed": module.dropout2}, padding=_key_padding)


def _key_padding(args: tuple, kwargs: dict) -> Tensor | None:
    """Tokens that are not ignored, (B, N)."""
    ignored = args[2] if len(args) > 2 else kwargs.get("src_key_padding_mask")
    if ignored is None:
        return None
    return ~ignored if not ignored.is_floating_point() else ignored == 0


TRIPLES = (("to_q", "to_k", "to_v"), ("q_proj", "k_proj", "v_proj"), ("query", "key", "value"))
"""What projections of attention are called."""


def _separate_projections(name: str, module: nn.Module, network: nn.Module) -> Site | None:
    for triple in TRIPLES:
        q, k, v = (getattr(module, part, nn.Identity()) for part in triple)
        if all(isinstance(part, nn.Linear) for part in (q, k, v)):
            port = "cross_attention" if _crosses(name) or k.in_features != q.in_features else "self_attention"
            return Site(name, {port: module, "attention_output": _output_projection(module)})
    return None


def _output_projection(module: nn.Module) -> nn.Module:
    """The last projection of attention; the module itself where there is none by a known name."""
    for part in ("to_out", "out_proj", "out", "proj", "o_proj"):
        found = getattr(module, part, None)
        if isinstance(found, nn.ModuleList):
            return found[0]
        if isinstance(found, nn.Module):
            return found
    return module


def _fused_projection(name: str, module: nn.Module, network: nn.Module) -> Site | None:
    if not isinstance(getattr(module, "qkv", None), nn.Linear):
        return None
    return Site(name, {"self_attention": module, "attention_output": _output_projection(module)})


def _message_passing(name: str, module: nn.Module, network: nn.Module) -> Site | None:
    """Layers of torch_geometric, which is not imported for it."""
    kinds = {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(module).__mro__}
    return Site(name, {"message_passing": module}) if "torch_geometric.MessagePassing" in kinds else None


def _stacked(name: str, module: nn.Module, network: nn.Module) -> Site | None:
    """Members of a list of blocks."""
    parent, _, last = name.rpartition(".")
    if not last.isdigit() or not isinstance(network.get_submodule(parent), nn.ModuleList):
        return None
    if not type(module).__name__.endswith(("Block", "Layer")):
        return None
    attends = any(isinstance(part, nn.MultiheadAttention) or hasattr(part, "qkv") for part in module.modules())
    return Site(name, {"block": module, "tokens": module} if attends else {"block": module})


RULES: list[Rule] = [
    _diffusers_time,
    _multihead,
    _encoder_layer,
    _separate_projections,
    _fused_projection,
    _message_passing,
    _stacked,
]
"""Known to `find_sites`, tried in order."""

__all__ = ["RULES", "Rule"]
