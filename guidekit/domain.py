"""Domains: adapters between a science's objects and the states that priors sample."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from guidekit.core.state import State
from guidekit.names import UnknownNameError
from guidekit.objectives.measurements import Task
from guidekit.objectives.pool import Isolated
from guidekit.objectives.rewards import ObjectReward
from guidekit.objectives.verifiers import Verifier
from guidekit.core.prior import Prior
from guidekit.priors.checkpoints import read_description


class MissingExtraError(ImportError):
    """An optional dependency is absent; the message names the extra to install."""


def require(extra: str, module: str) -> ModuleType:
    """Import a module, or say which extra of guidekit provides it.

    Args:
        extra: name of a guidekit extra, such as "molecules".
        module: importable name, such as "rdkit".

    Raises:
        MissingExtraError: the module is not installed. Errors raised inside an installed module pass through.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise _missing(extra, error) from error


def _missing(extra: str, error: ModuleNotFoundError) -> MissingExtraError:
    return MissingExtraError(f"'{error.name}' is needed here and is not installed: pip install \"guidekit[{extra}]\"")


class Domain:
    """Base of all domains; a subclass lives in its own folder and registers under the entry point guidekit.domains.

    Attributes:
        name: of the domain.
        objects: what a decoded state is, for messages ("molecules").
        suffix: file suffix of `write` in the field's own format.
        assets: folder of the shipped checkpoints.
        default: the shipped prior that "default" stands for.
        kinds: reward classes by name, for `rewards`.
        settings: keys of configs/domain/ that the constructor takes; the others go to `evaluate`.
        shows_unguided: `figure` takes unguided=(states, values) and shows them beside the guided ones.
        judges_labels: `evaluate` takes labels=, the number of the class wanted of each object, -1 for none.
        tasks: on given objects, by name: functions (shape of a state, options) to a `Task`. A domain with some has
            `reference()`, shipped objects, and `compared(groups, path)`, which draws groups of states side by side.
        job: module of guidekit.training that trains its priors: "token_job" or "array_job".
    """

    name: str
    objects: str
    suffix: str
    assets: Path
    default: str = "default"
    kinds: Mapping[str, type] = {}
    settings: tuple[str, ...] = ()
    shows_unguided: bool = False
    judges_labels: bool = False
    tasks: Mapping[str, Callable[..., Task]] = {}
    job: str = "token_job"

    def load_prior(self, name: str = "default") -> Prior:
        """A prior shipped with the domain, or one in a checkpoint file."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement load_prior")

    def encode(self, objects: Sequence[Any]) -> State:
        """Objects to clean states (B, *S)."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement encode")

    def decode(self, states: State) -> list[Any]:
        """Clean states to objects, None where a state is no valid object."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement decode")

    def reference(self) -> Sequence[Any]:
        """Real objects shipped with the domain, of the kind that the prior loaded last was trained on; may be none."""
        return []

    def read_training(self, data: str) -> list[Any]:
        """Objects that a prior may have been trained on: files or shipped sets, by commas."""
        return [one for name in data.split(",") for one in self.read_reference(name.strip())[0]]

    @property
    def rewards(self) -> Rewards:
        """Rewards of states by name; `rewards.make(name, **options)` gives one its options."""
        return Rewards(self)

    def bind(
        self, function: Callable[[Any], float], name: str | None = None, workers: int = 0, timeout: float | None = 60.0
    ) -> Callable:
        """A reward of states from a function of a decoded object; it keeps the function's `temperature`, if any.

        Args:
            function: object -> number.
            name: for tables.
            workers: processes that run the function, so that a crash or a hang costs one object; 0 runs it in this one.
            timeout: seconds an object may take in a worker process; None is no limit.

        Raises:
            ValueError: workers or timeout out of range, or a function that cannot be given to another process.
        """
        title = name or getattr(function, "name", None) or getattr(function, "__name__", type(function).__name__)
        if workers:
            function = Isolated(function, workers=workers, timeout=timeout)
        reward = ObjectReward(function, self.decode, title)
        if hasattr(function, "temperature"):
            reward.temperature = function.temperature
        return reward

    def verifier(self, forbidden: Sequence[str] = ()) -> Verifier:
        """What tells where a sequence of states first breaks a rule, see `guidekit.objectives.verifiers`.

        Args:
            forbidden: patterns that objects must not hold, written as the field writes them; without any, the rule is
                that a state decodes to a valid object, where the domain can locate what is wrong.

        Raises:
            ValueError: the domain has no verifier, or none of this kind.
        """
        raise ValueError(f"domain {self.name} has no verifier: it cannot tell where in {self.objects} a rule is broken")

    def compare_with(self, condition: Any) -> None:
        """Told the condition of samples, as users write it, before they are judged; may choose the real ones by it."""

    def judges(self) -> Sequence[Path]:
        """Files of the networks that judge samples; none where formulas do."""
        return ()

    def checkpoint(self, name: str) -> Path:
        """The file of a prior: a shipped one by name, a path ending in .safetensors, or a folder of diffusers.

        Raises:
            UnknownNameError: neither of both.
        """
        shipped = {path.stem: path for path in self.assets.glob("*.safetensors")}
        path = shipped.get(self.default if name == "default" else name, Path(name))
        if path.suffix != ".safetensors" and not (path / "model_index.json").is_file():
            if not shipped:
                raise UnknownNameError(
                    "prior", name, [f"a path ending in .safetensors, made by guidekit train domain={self.name}"]
                )
            raise UnknownNameError("prior", name, [*self.priors(), "a path ending in .safetensors"])
        return path

    def priors(self) -> dict[str, str]:
        """Shipped priors of this domain, which may share its folder with another, and what they were made from."""
        found = {path.stem: read_description(path) for path in sorted(self.assets.glob("*.safetensors"))}
        cards = {name: made["card"] for name, made in found.items() if made["domain"] == self.name}
        return {name: f"{card.get('data', '')}; {card.get('summary', '')}" for name, card in cards.items()}

    def evaluate(
        self, objects: Sequence[Any], reference: Sequence[Any] | None = None, **options: Any
    ) -> dict[str, float]:
        """The field's standard metrics of objects (None = invalid) against a reference."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement evaluate")


class Rewards(Mapping):
    """The rewards of a domain: mapping access makes them with default options."""

    def __init__(self, domain: Domain) -> None:
        self.domain, self.kinds = domain, domain.kinds

    def __getitem__(self, name: str) -> Callable:
        return self.make(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self.kinds)

    def __len__(self) -> int:
        return len(self.kinds)

    def function(self, name: str, **options: Any) -> Callable[[Any], float]:
        """The reward as a function of a decoded object."""
        if name not in self.kinds:
            raise UnknownNameError("reward", name, self.kinds)
        return self.kinds[name](**options)

    def make(self, name: str, **options: Any) -> Callable:
        """The reward as a function of states, with options."""
        return self.domain.bind(self.function(name, **options), name)


def domain_names() -> list[str]:
    """Names of all registered domains, without importing them."""
    return sorted({entry.name for entry in entry_points(group="guidekit.domains")})


def load_domain(name: str, **options: Any) -> Domain:
    """A registered domain by name, made with options.

    Raises:
        UnknownNameError: no such domain.
        MissingExtraError: its extra is not installed.
    """
    return domain_class(name)(**options)


def configured(config: Mapping[str, Any]) -> tuple[Domain, dict[str, Any]]:
    """The domain of a configuration, made with the keys that are its `settings`, and the other keys."""
    kind = domain_class(config["name"])
    made = {key: config[key] for key in kind.settings if key in config}
    return kind(**made), {key: value for key, value in config.items() if key != "name" and key not in made}


def domain_class(name: str) -> type[Domain]:
    """The class of a registered domain; raises as `load_domain`."""
    found = {entry.name: entry for entry in entry_points(group="guidekit.domains")}
    if name not in found:
        raise UnknownNameError("domain", name, found)
    try:
        return found[name].load()
    except ModuleNotFoundError as error:
        if error.name and error.name.split(".")[0] == "guidekit":
            raise
        raise _missing(name, error) from error


def user_function(path: str) -> Callable:
    """The function named by "module:function", imported with the current folder on the path.

    Raises:
        ValueError: the module cannot be found, or has no such function.
    """
    import sys

    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute:
        raise ValueError(f"{path!r} names no function; write module:function")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        raise ValueError(
            f"{path!r}: there is no module {module_name!r} in {Path.cwd()} or on the Python path"
        ) from error
    if not callable(getattr(module, attribute, None)):
        choices = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UnknownNameError(f"function in module {module_name}", attribute, choices)
    return getattr(module, attribute)
