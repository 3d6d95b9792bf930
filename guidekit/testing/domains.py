"""What every domain answers, and that nothing it is asked changes it."""

from __future__ import annotations

import dataclasses
import math
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from guidekit.core.objective import Objective
from guidekit.core.prior import Prior
from guidekit.core.state import batch, leaves
from guidekit.domain import Domain
from guidekit.extras import MissingExtraError
from guidekit.installed import domain_names, load_domain
from guidekit.objectives.objects import score
from guidekit.samples import Samples
from guidekit.sampling import sample
from guidekit.testing.rewards import check_reward


def check_domain(
    domain: Domain,
    prior: Prior | None = None,
    objects: Sequence[Any] | None = None,
    steps: int = 8,
    num_samples: int = 4,
    **evaluation: Any,
) -> Samples:
    """Run the whole contract of a domain, see `guidekit.domain.Domain`; returns samples for further checks.

    Args:
        domain: to check.
        prior: of it, small; None loads its default one.
        objects: real ones; None are some that it ships, or else samples of the prior.
        steps: of sampling.
        num_samples: drawn.
        evaluation: options of `Domain.evaluate`, such as a small `reference`.
    """
    before = check_settings(domain)
    if domain.name in domain_names():
        known = type(load_domain(domain.name))
        assert known is type(domain), f"the name {domain.name} is registered for {known.__name__}"
    prior = domain.load_prior() if prior is None else prior
    check_names(domain)
    drawn = sample(prior, num_samples=num_samples, steps=steps)
    if objects is None:
        objects = [one for one in (*domain.reference(prior=prior)[:3], *drawn.objects()) if one is not None][:3]
    check_codec(prior, objects)
    samples = Samples(drawn.samples, prior)
    check_samples(domain, samples)
    check_evaluation(domain, prior, samples.objects, evaluation)
    check_rewards(domain, prior, drawn.samples)
    rows = repr(domain.table(samples))
    for name in domain.priors():
        domain.load_prior(name)
    assert _settings(domain) == before, "using the domain has changed it"
    again = Samples(drawn.samples, prior)
    assert repr(domain.table(again)) == rows, "once other priors are loaded, samples decode to something else"
    return samples


def check_settings(domain: Domain) -> dict[str, Any]:
    """A domain is frozen, and made anew of its settings; returns them."""
    settings = _settings(domain)
    assert set(type(domain).settings()) == set(settings), "settings() does not name the fields of the domain"
    for name in ("name", *settings):
        try:
            setattr(domain, name, None)
        except dataclasses.FrozenInstanceError:
            continue
        raise AssertionError(f"{name} can be set: make the domain a frozen dataclass")
    assert type(domain)(**settings) == domain, "made anew of its settings, the domain is another one"
    for attribute in ("name", "objects", "suffix", "default"):
        value = getattr(domain, attribute)
        assert isinstance(value, str) and value, f"{attribute}={value!r}; a text is expected"
    return settings


def check_names(domain: Domain) -> None:
    """Priors and rewards that do not exist are refused in one line."""
    refused("load_prior", lambda: domain.load_prior("no such prior"))
    refused("rewards", lambda: domain.rewards["no such reward"])
    refused("read_samples", lambda: domain.read_samples("no/such/file.txt"))
    refused("read_reference", lambda: domain.read_reference("no/such/file.txt"))
    assert all(isinstance(told, str) for told in domain.priors().values()), "priors() says what each was made from"


def check_codec(prior: Prior, objects: Sequence[Any]) -> None:
    """Objects become states of the prior and are objects again; the codec has a language of its own."""
    assert prior.codec is not None, "load_prior gives a prior without a codec"
    language = getattr(prior.codec, "language", "")
    assert isinstance(language, str) and language, "a codec has a language, a text that names vocabulary and format"
    if len(objects):
        states = prior.encode(objects)
        assert batch(states) == len(objects), f"encode gave {batch(states)} states for {len(objects)} objects"
        for leaf in leaves(states):
            assert not leaf.is_floating_point() or leaf.isfinite().all(), "an encoded state is not finite"
        again = prior.decode(states)
        assert len(again) == len(objects), f"decode gave {len(again)} objects for {len(objects)} states"
        assert all(one is not None for one in again), "a real object, encoded, does not decode"


def check_samples(domain: Domain, samples: Samples) -> None:
    """Tables, files and pictures of samples, twice alike."""
    objects, values = samples.objects, [float(i) for i in range(len(samples))]
    assert len(objects) == len(samples), f"decode gave {len(objects)} objects for {len(samples)} states"
    rows = domain.table(samples)
    assert len(rows) == len(samples) and len({tuple(row) for row in rows}) == 1, (
        "table gives one row a sample, with the same columns"
    )
    assert [row["valid"] for row in rows] == [one is not None for one in objects], "`valid` is not what decode says"
    assert repr(domain.table(samples)) == repr(rows), "the same samples gave another table"
    for scores in (values, [math.nan] * len(samples)):
        figures = domain.summary(rows, scores, samples)
        assert "valid" in figures and all(isinstance(one, int | float) for one in figures.values()), (
            f"summary gives numbers by name, `valid` among them; got {figures}"
        )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        written = domain.write(folder, samples, {"reward": values})
        assert all((folder / one).exists() for one in written), f"write names {written}, and not all of them are there"
        pictures = [
            domain.figure(samples, values, "reward", folder / "a.png"),
            domain.figure(samples, values, "reward", folder / "b.png", unguided=(samples, values)),
            domain.compared({"one": samples, "other": samples}, folder / "c.png"),
        ]
        for picture in pictures:
            assert picture is None or (folder / picture).is_file(), f"{picture} was not drawn"


def check_evaluation(domain: Domain, prior: Prior, objects: Sequence[Any], options: dict[str, Any]) -> None:
    """Metrics are numbers or notes by name, the same for the same objects."""
    figures = domain.evaluate(objects, prior=prior, **options)
    assert figures and all(isinstance(one, int | float | str) for one in figures.values()), (
        f"evaluate gives numbers and texts by name; got {figures}"
    )
    again = domain.evaluate(objects, prior=prior, **options)
    assert repr(again) == repr(figures), "the same objects were evaluated differently the second time"
    for path in domain.judges(prior):
        assert path.is_file(), f"the judge {path} is not there"


def check_rewards(domain: Domain, prior: Prior, states: Any) -> None:
    """Every reward that can be made without settings, see `check_reward`; and functions of users."""
    for name in domain.rewards:
        try:
            reward = domain.rewards[name]
        except (TypeError, MissingExtraError):  # it has settings without a default, or needs an extra
            continue
        try:
            reward.check(prior)
        except ValueError:  # of states of another kind
            continue
        check_reward(prior, reward, states)
    mine = domain.bind(lambda one: 1.0, "mine")
    assert isinstance(mine, Objective) and mine.name == "mine", "bind gives an objective of the name it is told"
    assert domain.bind(mine) is mine, "bind hands an objective back as it is"
    valid = [1.0 if one is not None else -math.inf for one in prior.decode(states)]
    assert score(prior, mine, states).tolist() == valid, "a function of users does not score the objects of states"


def refused(what: str, call: Callable[[], Any]) -> None:
    """A call raises a ValueError of one line."""
    try:
        call()
    except (ValueError, KeyError) as error:
        told = str(error)
        assert told and "\n" not in told, f"{what} refuses in one line; got {told!r}"
        return
    raise AssertionError(f"{what} took a name that does not exist")


def _settings(domain: Domain) -> dict[str, Any]:
    assert dataclasses.is_dataclass(domain), f"{type(domain).__name__} is no dataclass: make it a frozen one"
    return {field.name: getattr(domain, field.name) for field in dataclasses.fields(domain) if field.init}
