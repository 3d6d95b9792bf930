"""Sites: named places in a network where guidance may look in or change what flows, without editing the network.

A site is called after its module ("blocks.2", "middle.0.attention"). It has ports, and an operator of
`guidekit.interventions.operators` says at which port it acts:

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
from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn


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


class Sited:
    """Mixed into modules that say themselves which sites they and their parts have."""

    def sites(self) -> Sequence[Site]:
        """The sites, their names counted from this module ("" is itself)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement sites()")


def block_ports(block: nn.Module, attention: nn.Module, feed: nn.Module) -> dict[str, nn.Module]:
    """The ports of a block of a transformer, whose branches end in the modules `attention` and `feed`."""
    return {"block": block, "tokens": block, "self_attention": block, "attention_output": attention, "feed": feed}


__all__ = ["Site", "SiteError", "Sited", "block_ports"]
