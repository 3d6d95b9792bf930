"""The sites of a network, and which of them a selection means."""

from __future__ import annotations

import dataclasses
import fnmatch
from collections.abc import Sequence

from torch import nn

from guidekit.errors import UnknownNameError
from guidekit.interventions.rules import RULES, Rule
from guidekit.interventions.sites import Site, Sited, SiteError

Choice = str | int | Sequence[str | int]
"""Of sites, see `choose`."""
WORDS = ("all", "middle", "early", "inner")
"""Selections by position, see `choose`."""
UNET = ("down", "mid", "up")
"""How the names of a U-Net's parts begin."""


def find_sites(network: nn.Module, rules: Sequence[Rule] = ()) -> list[Site]:
    """All sites of a network, in the order of its modules; of a U-Net (down, mid, up) in the order of its calls.

    Args:
        network: any; known are modules that are `Sited`, as the networks of guidekit, `nn.MultiheadAttention`,
            `nn.TransformerEncoderLayer`, modules with to_q, to_k, to_v (diffusers), a fused `qkv`, and the layers of
            torch_geometric. A `Sited` module may say a site without ports, where none of these would work.
        rules: tried before the known ones.
    """
    said: dict[str, Site] = {}
    for name, module in network.named_modules():
        for site in module.sites() if isinstance(module, Sited) else ():
            whole = ".".join(filter(None, (name, site.name)))
            said.setdefault(whole, dataclasses.replace(site, name=whole))
    found = []
    for name, module in network.named_modules():
        tried = (rule(name, module, network) for rule in (*rules, lambda name, *_: said.get(name), *RULES))
        found += [site for site in [site for site in tried if site is not None][:1] if site.ports]
    if {part(site) for site in found}.issuperset(UNET):
        found.sort(key=lambda site: ("", *UNET).index(part(site)))
    return found


def part(site: Site) -> str:
    """Of which part of a U-Net a site is, by the first piece of its name that says so; "" is none."""
    pieces = site.name.split(".")
    return next((begin for piece in pieces for begin in UNET if piece.startswith(begin)), "")


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


def choose(network: nn.Module, sites: Sequence[Site], ports: Sequence[str], chosen: Choice) -> list[tuple[Site, str]]:
    """The sites that a selection means, each with the port to use, in network order.

    Args:
        network: whose sites these are.
        sites: see `find_sites`.
        ports: acceptable ones; the first that a site has is used.
        chosen: a name or a beginning of names ("middle", "blocks.2"), a pattern ("up.*.attention"), a number among the
            sites with such a port, or a list of these. "all"; "middle": the middle of a U-Net, otherwise the middle
            third; "early": its way down, otherwise the first half; "inner": all but the first and the
            last, where there are three or more.

    Raises:
        SiteError: no site of the network has such a port.
        UnknownNameError: no site is called so; the message has the nearest.
    """
    able = [(site, next(port for port in ports if port in site.ports)) for site in sites if {*ports} & {*site.ports}]
    choices = [chosen] if isinstance(chosen, str | int) else chosen
    named = dict(network.named_modules())
    picked: list[tuple[Site, str]] = []
    for choice in choices:
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
        begin = {"middle": "mid", "early": "down"}[choice]
        there = [pair for pair in able if part(pair[0]) == begin]
        first, last = (count // 3, count - count // 3) if choice == "middle" else (0, (count + 1) // 2)
        return there or able[first:last]
    if choice == "inner":
        return able[1:-1] if count >= 3 else able
    return [p for p in able if p[0].name.startswith(f"{choice}.") or fnmatch.fnmatchcase(p[0].name, choice)]


__all__ = ["Choice", "choose", "describe", "find_sites", "table"]
