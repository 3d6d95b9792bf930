"""What users call a guidance or sampler: its class, or the function that filled in the settings of an engine."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Preset:
    """A call of a function that fills in the settings of an engine, as it was written.

    Args:
        name: of the function.
        arguments: by name, as given; what was left to its default is left out.
    """

    name: str
    arguments: Mapping[str, Any]

    def __repr__(self) -> str:
        return f"{self.name}({', '.join(f'{name}={value!r}' for name, value in self.arguments.items())})"


class Named:
    """What has a name and is shown as it is written, by the call of a preset where one made it."""

    preset: Preset | None = None
    """The call that made it; None where its class did."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Keep the `__repr__` that dataclasses would write over."""
        super().__init_subclass__(**options)
        cls.__repr__ = cls.__repr__  # type: ignore[method-assign]  # what is inherited, now its own

    @property
    def name(self) -> str:
        """For messages: what users call it."""
        return type(self).__name__ if self.preset is None else self.preset.name

    def __repr__(self) -> str:
        if self.preset is not None:
            return repr(self.preset)
        fields: tuple[dataclasses.Field[Any], ...] = dataclasses.fields(self) if dataclasses.is_dataclass(self) else ()
        settings = [field.name for field in fields if field.init and field.repr]
        return f"{self.name}({', '.join(f'{name}={getattr(self, name)!r}' for name in settings)})"


def remembered(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, whose results (and the members that they consist of) know by what call they were made."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*given: Any, **named: Any) -> Any:
        made = function(*given, **named)
        preset = Preset(function.__name__, signature.bind(*given, **named).arguments)
        for one in (made, *getattr(made, "members", ())):
            if isinstance(one, Named):  # frozen, and nobody else has seen it yet
                object.__setattr__(one, "preset", preset)
        return made

    return call
