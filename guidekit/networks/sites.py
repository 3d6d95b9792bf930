"""Sites: named places in a network where guidance may look in or change what flows, without editing the network.

A site is called after its module ("blocks.2", "middle.0.attention"). It has ports, and an operator of
`guidekit.networks.perturbations` says at which port it acts:

| port | what is there |
|---|---|
| block | a residual unit: what is left when it is dropped is `Site.rest` |
| tokens | the input of a unit, a sequence or map of tokens |
| self_attention, cross_attention | queries, keys and values of every head |
| attention_output, feed | the end of the attention or feed-forward branch, before it is added |
| time_embedding, condition_embedding | what the network is told |
| message_passing | the edges of a graph layer |
"""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn

from guidekit.names import UnknownNameError
from guidekit.networks.conditioning import Conditioning
from guidekit.networks.dilated_convolution import DilatedConvolution
from guidekit.networks.image_transformer import ImageTransformer
from guidekit.networks.perceptron import Perceptron
from guidekit.networks.sequence_transformer import Block
from guidekit.networks.unet import ImageAttention, ResidualBlock

PORTS = (
    "block",
    "tokens",
    "self_attention",
    "cross_attention",
    "attention_output",
    "feed",
    "time_embedding",
    "condition_embedding",
    "message_passing",
)
WORDS = ("all", "middle", "early", "inner")
"""Selections by position, see `choose`."""
UNET = ("down", "mid", "up")
"""How the names of a U-Net's parts begin."""


class SiteError(ValueError):
    """A network has no such site, or a perturbation did not or cannot act there; the message says which and why."""


@dataclasses.dataclass(frozen=True)
class Site:
    """A place in a network.

    Args:
        name: qualified name of its module.
        ports: module that is hooked, by port.
        rest: what a dropped block leaves: "input", "skip" (its own `skip` of the input) or "zero".
        dims: extents of the tokens' grid; None is a line, or height and width where the site sees a map (B, C, H, W).
        leading: first tokens that stand for no place (class token, registers); they are never changed.
        padding: (args, kwargs) of the site's call -> tokens that may be changed (B, N) bool, or None for all.
    """

    name: str
    ports: Mapping[str, nn.Module]
    rest: str = "input"
    dims: tuple[int, ...] | None = None
    leading: int = 0
    padding: Callable[[tuple, dict], Tensor | None] | None = None


Rule = Callable[[str, nn.Module, nn.Module], Site | None]
"""(qualified name, module, network) -> its site, or None where the rule does not apply."""


def find_sites(network: nn.Module, rules: Sequence[Rule] = ()) -> list[Site]:
    """All sites of a network, in the order of its modules; of a U-Net (down, mid, up) in the order of its calls.

    Args:
        network: any; known are the networks of guidekit, `nn.MultiheadAttention`, `nn.TransformerEncoderLayer`, modules
            with to_q, to_k, to_v (diffusers), a fused `qkv`, and the layers of torch_geometric.
        rules: tried before the known ones.
    """
    found = []
    for name, module in network.named_modules():
        for rule in (*rules, *RULES):
            site = rule(name, module, network)
            if site is not None:
                found.append(site)
                break
    begins = [next((b for b in UNET if site.name.startswith(b)), "") for site in found]
    if set(UNET) <= set(begins):
        found = [site for part in ("", *UNET) for site, begin in zip(found, begins, strict=True) if begin == part]
    return found


def describe(network: nn.Module, rules: Sequence[Rule] = ()) -> None:
    """Print the table of a network's sites: number, name, ports, class and grid."""
    print(table(find_sites(network, rules)))


def table(sites: Sequence[Site]) -> str:
    """What `describe` prints."""
    rows = [("", "site", "ports", "class", "tokens")]
    for i, site in enumerate(sites):
        kind = type(next(iter(site.ports.values()))).__name__
        grid = " x ".join(map(str, site.dims)) if site.dims else ""
        rows.append((str(i), site.name, ", ".join(site.ports), kind, grid))
    widths = [max(len(row[k]) for row in rows) for k in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *([] if sites else ["(no sites)"])])


def choose(network: nn.Module, sites: Sequence[Site], ports: Sequence[str], chosen: object) -> list[tuple[Site, str]]:
    """The sites that a selection means, each with the port to use, in network order.

    Args:
        network: whose sites these are.
        sites: see `find_sites`.
        ports: acceptable ones; the first that a site has is used.
        chosen: a name or a beginning of names ("middle", "blocks.2"), a pattern ("up.*.attention"), a number among the
            sites with such a port, or a list of these. "all"; "middle": names that begin with mid, otherwise the middle
            third; "early": names that begin with down, otherwise the first half; "inner": all but the first and the
            last, where there are three or more.

    Raises:
        SiteError: no site of the network has such a port.
        UnknownNameError: no site is called so; the message has the nearest.
    """
    able = [(site, next(port for port in ports if port in site.ports)) for site in sites if {*ports} & {*site.ports}]
    if isinstance(chosen, str | int):
        chosen = [chosen]
    named = dict(network.named_modules())
    picked: list[tuple[Site, str]] = []
    for choice in chosen:
        found = _matching(able, choice)
        if not found and isinstance(choice, str) and choice in named and choice not in {s.name for s in sites}:
            found = [(Site(choice, {ports[0]: named[choice]}), ports[0])]
        if not found and not able:
            raise SiteError(f"no {' or '.join(ports)} site in this network ({type(network).__name__})")
        if not found:
            names = [site.name for site, _ in able] + list(WORDS)
            raise UnknownNameError(f"{' or '.join(ports)} site", str(choice), names)
        picked += [pair for pair in found if all(pair[0].name != other.name for other, _ in picked)]
    order = {site.name: i for i, (site, _) in enumerate(able)}
    return sorted(picked, key=lambda pair: order.get(pair[0].name, len(order)))


def _matching(able: list[tuple[Site, str]], choice: str | int) -> list[tuple[Site, str]]:
    if isinstance(choice, int):
        return able[choice : choice + 1] if choice >= 0 else able[choice:][:1]
    exact = [pair for pair in able if pair[0].name == choice]
    if exact:
        return exact
    count = len(able)
    if choice == "all":
        return able
    if choice in ("middle", "early"):
        begins = {"middle": "mid", "early": "down"}[choice]
        there = [pair for pair in able if pair[0].name.startswith(begins)]
        first, last = (count // 3, count - count // 3) if choice == "middle" else (0, (count + 1) // 2)
        return there or able[first:last]
    if choice == "inner":
        return able[1:-1] if count >= 3 else able
    return [p for p in able if p[0].name.startswith(f"{choice}.") or fnmatch.fnmatchcase(p[0].name, choice)]


# Rules -------------------------------------------------------------------------------------------------------------


def _own_block(name: str, module: nn.Module, network: nn.Module) -> Site | None:
    """Blocks of SequenceTransformer and ImageTransformer, and others with the same parts."""
    parts = [getattr(module, part, None) for part in ("qkv", "out", "up", "down")]
    if not all(isinstance(part, nn.Linear) for part in parts):
        return None
    ports = {
        "block": module,
        "tokens": module,
        "self_attention": module,
        "attention_output": parts[1],
        "feed": parts[3],
    }
    dims = (network.side, network.side) if isinstance(network, ImageTransformer) else None
    return Site(name, ports, dims=dims, padding=_second_argument if isinstance(module, Block) else None)


def _second_argument(args: tuple, kwargs: dict) -> Tensor | None:
    """The mask (B, 1, 1, L) of a `Block`, as (B, L)."""
    return (args[1] if len(args) > 1 else kwargs["mask"])[:, 0, 0]


def _image_attention(name: str, module: nn.Module, network: nn.Module) -> Site | None:
    if not isinstance(module, ImageAttention):
        return None
    return Site(name, {"block": module, "tokens": module, "self_attention": module, "attention_output": module.out})


def _residual_block(name: str, module: nn.Module, network: nn.Module) -> Site | None:
    return Site(name, {"block": module}, rest="skip") if isinstance(module, ResidualBlock) else None


def _added_outside(name: str, module: nn.Module, network: nn.Module) -> Site | None:
    """Layers whose output their network adds to the residual stream."""
    if not isinstance(network, DilatedConvolution | Perceptron) or module not in list(network.layers):
        return None
    return Site(name, {"block": module}, rest="zero")


def _told(name: str, module: nn.Module, network: nn.Module) -> Site | None:
    parent = network.get_submodule(name.rpartition(".")[0]) if name else None
    if isinstance(parent, Conditioning) and module is parent.level:
        return Site(name, {"time_embedding": module})
    tables = name.rpartition(".")[0].endswith("tables")
    if tables and isinstance(network.get_submodule(name.rsplit(".", 2)[0]), Conditioning):
        return Site(name, {"condition_embedding": module})
    return None


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
    if not module.norm_first:  # the residual stream is normalised on its way: its end is no branch that is added
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
        q, k, v = (getattr(module, part, None) for part in triple)
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
    _own_block,
    _image_attention,
    _residual_block,
    _added_outside,
    _told,
    _diffusers_time,
    _multihead,
    _encoder_layer,
    _separate_projections,
    _fused_projection,
    _message_passing,
    _stacked,
]
"""Known to `find_sites`, tried in order."""

__all__ = ["PORTS", "RULES", "Rule", "Site", "SiteError", "choose", "describe", "find_sites", "table"]
