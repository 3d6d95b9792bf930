"""The base of what can be done to a network at its sites."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from torch import Tensor, nn

from guidekit.interventions.heads import Heads
from guidekit.interventions.places import Place
from guidekit.interventions.selection import Choice, choose
from guidekit.interventions.sites import Site


class Operator:
    """A frozen description; subclasses have the method of their port.

    Its random numbers are functions of the row's seed, the site and the token, so a row gets the same ones whatever is
    asked about beside it.

    Attributes:
        ports: where it acts; of several the first that a site has.
        sites: which sites of these ports.
        random: whether it draws numbers.
        records: whether it keeps what flows, which then is needed at every token.
        loops: whether every node of a graph gets an edge to itself.
    """

    ports: ClassVar[tuple[str, ...]]
    sites: Choice
    random: ClassVar[bool] = False
    records: ClassVar[bool] = False
    loops: ClassVar[bool] = False

    def chosen(self, network: nn.Module, sites: Sequence[Site]) -> list[tuple[Site, str]]:
        """The sites it acts at and the port of each, of all that the network has, see `choose`."""
        return choose(network, sites, self.ports, self.sites)

    def attention(self, heads: Heads, place: Place, companion: Heads | None) -> Tensor | None:
        """What the tokens receive, (b, h, N, e), in place of heads.out(); None changes nothing.

        Args:
            heads: of the perturbed rows.
            place: where they are.
            companion: of the rows that run along with them, if any.
        """
        raise NotImplementedError(f"{type(self).__name__} does not act on attention")

    def input(self, x: Tensor, place: Place) -> Tensor:
        """Another input in place of tokens x (b, N, C)."""
        raise NotImplementedError(f"{type(self).__name__} does not act on inputs")

    def output(self, x: Tensor, number: int, place: Place) -> Tensor:
        """Another output in place of x (b, ...), the output of that number of the module."""
        raise NotImplementedError(f"{type(self).__name__} does not act on outputs")

    def kept(self, source: Tensor, target: Tensor, draw: Callable[[Tensor], Tensor]) -> Tensor:
        """Edges of a graph that stay, (E,) bool.

        Args:
            source, target: (E,) int64, nodes counted within their graph.
            draw: names of edges (E,) int64 -> uniform numbers (E,).
        """
        raise NotImplementedError(f"{type(self).__name__} does not act on edges")


@dataclasses.dataclass(frozen=True)
class Custom(Operator):
    """A function of your own.

    Args:
        function: (tensor, place) -> tensor of the same shape; of attention it gets what tokens receive, (b, h, N, e).
        port: where, see `guidekit.interventions.sites`.
        sites: which.
        draws: whether it uses `place.uniform`.
    """

    function: Callable[[Any, Place], Any]
    port: str = "block"
    sites: Choice = "all"
    draws: bool = False

    @property
    def ports(self) -> tuple[str, ...]:  # type: ignore[override]
        """The one given."""
        return (self.port,)

    @property
    def random(self) -> bool:  # type: ignore[override]
        """As given."""
        return self.draws

    def attention(self, heads: Heads, place: Place, companion: Heads | None) -> Tensor:
        """See `Operator.attention`."""
        return self.function(heads.out(), place)

    def input(self, x: Tensor, place: Place) -> Tensor:
        """See `Operator.input`."""
        return self.function(x, place)

    def output(self, x: Tensor, number: int, place: Place) -> Tensor:
        """See `Operator.output`."""
        return self.function(x, place) if number == 0 else x
