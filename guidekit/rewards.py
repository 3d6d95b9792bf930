"""The rewards of a domain, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from guidekit import registry
from guidekit.core.objective import Objective
from guidekit.errors import UnknownNameError
from guidekit.objectives.objects import ObjectReward
from guidekit.objectives.pool import Isolated

if TYPE_CHECKING:
    from guidekit.domain import Domain


class Rewards(Mapping[str, Objective]):
    """The rewards of a domain: mapping access makes them with default options.

    Those of other packages are entry points of the group "guidekit.rewards", named "domain.reward".
    """

    def __init__(self, domain: Domain | type[Domain]) -> None:
        self.domain = domain

    @property
    def _others(self) -> dict[str, registry.Entry]:
        """Those of other packages."""
        own = f"{self.domain.name}."
        found = registry.external("guidekit.rewards", "reward", [own + name for name in self.domain.kinds])
        return {name.removeprefix(own): entry for name, entry in found.items() if name.startswith(own)}

    def kind(self, name: str) -> Callable[..., Any]:
        """What makes one of them; raises `UnknownNameError`, or `BrokenError` where its package cannot be loaded."""
        if name in self.domain.kinds:
            return self.domain.kinds[name]
        others = self._others
        if name not in others:
            raise UnknownNameError("reward", name, [*self.domain.kinds, *others])
        return others[name].load()

    def __getitem__(self, name: str) -> Objective:
        return self.make(name)

    def __iter__(self) -> Iterator[str]:
        return iter([*self.domain.kinds, *self._others])

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(iter(self))

    def function(self, name: str, **options: Any) -> Any:
        """The reward as it is written down: a function of an object, or an objective where it judges states."""
        return self.kind(name)(**options)

    def make(self, name: str, **options: Any) -> Objective:
        """The reward as an objective, with options."""
        assert not isinstance(self.domain, type), "a class of domains has no codec to decode by: make the domain"
        return self.domain.bind(self.function(name, **options), name)


def of_function(
    function: Callable[[Any], float], name: str | None = None, *, workers: int = 0, **limits: Any
) -> Objective:
    """An objective of objects from a function of one; see `Domain.bind`."""
    said = getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__)
    return ObjectReward(Isolated(function, workers=workers, **limits) if workers else function, name or str(said))
