"""Fixtures shared by all tests: Chain A, whose every number is known by enumeration."""

import contextlib
import dataclasses
import pathlib
import random
import resource
import signal
import sys

import pytest
import torch
from torch import Tensor

import guidekit as gk
from guidekit.guidance.values import Estimate
from guidekit.priors.labels import Label
from guidekit.samples import Samples

torch.set_num_threads(1)  # tests run on tensors too small to share between cores


@dataclasses.dataclass(frozen=True)
class ChainA:
    """Two tokens of three letters under a masked process on four ancestral steps."""

    prior: gk.priors.CategoricalChain
    rewards: Tensor
    grid: list[float]

    @property
    def reward(self):
        return gk.objectives.TableReward(self.rewards)

    @property
    def law(self) -> Tensor:
        """Law of the four-step sampler: it differs from the data's."""
        return self.prior.sampler_law(self.grid)

    @property
    def tilted(self) -> Tensor:
        weights = self.law * self.rewards.exp()
        return weights / weights.sum()

    @property
    def normalizer(self) -> float:
        return float((self.law * self.rewards.exp()).sum())

    def exact_value(self):
        """The soft value at temperature 1, by enumeration."""
        tables = dict(zip(self.grid, self.prior.soft_values(self.rewards, self.grid), strict=True))
        return Computed(self.reward, lambda p: tables[p.moment.t][tuple(p.state.unbind(1))])

    def expected_reward(self):
        """E[r] under the product of the predicted marginals, the intermediate reward of the published figures."""

        def value(population):
            if population.moment.t == 0:
                return population.score(self.reward)
            probs = population.predict().probs
            return torch.einsum("bi,bj,ij->b", probs[:, 0], probs[:, 1], self.rewards)

        return Computed(self.reward, value)


@dataclasses.dataclass(frozen=True, eq=False)
class Computed(Estimate):
    """An estimate from a function of the population, at a temperature of 1."""

    reward: object
    function: object
    temperature = 1.0

    @property
    def objectives(self):
        return (self.reward,)

    def value(self, population):
        return self.function(population)


@pytest.fixture
def chain_a() -> ChainA:
    probabilities = torch.tensor([[0.30, 0.05, 0.05], [0.02, 0.20, 0.08], [0.10, 0.05, 0.15]], dtype=torch.float64)
    rewards = torch.tensor([[0, 1, 2], [1, 0, 1], [2, 1, -1]], dtype=torch.float64)
    return ChainA(
        gk.priors.CategoricalChain(probabilities, gk.processes.Masked()), rewards, [1.0, 0.75, 0.5, 0.25, 0.0]
    )


def _mutated(data: bytes, seed: int) -> bytes:
    """A file that was cut, or some bits, numbers or stretches of which were changed."""
    rng, made = random.Random(seed), bytearray(data)
    first = rng.randrange(len(made))
    last = min(len(made), first + rng.randrange(1, 9))
    if seed % 4 == 0:
        return bytes(made[:first])
    if seed % 4 == 1:
        for _ in range(rng.randrange(1, 9)):
            made[rng.randrange(len(made))] ^= 1 << rng.randrange(8)
    elif seed % 4 == 2:
        made[first:last] = rng.choice([b"\0", b"\x7f", b"\xff", b"9", b"("]) * (last - first)
    else:
        made[first:first] = rng.choice([b"", b"9" * 12, b"\r", made[first : first + 64] * 3])
        del made[last : last + rng.randrange(2, 64)]
    return bytes(made)


@contextlib.contextmanager
def _guarded(seconds: float, memory: int):
    """Fails, instead of going on for ever or taking all memory."""

    def stop(*_):
        pytest.fail(f"it took more than {seconds} s")

    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else None
    before = resource.getrlimit(resource.RLIMIT_AS)
    handler = signal.signal(signal.SIGALRM, stop)
    if pages is not None:
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + memory, before[1]))
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.fixture
def shown():
    """shown(domain, states, condition): samples of a prior that is nothing but its codec, classes and data."""

    def made(domain, states, condition=None, classes=(), dataset="", codec=None):
        prior = gk.priors.Prior()
        prior.codec, prior.event_shape, prior.dataset = codec or domain.codec, tuple(states.shape[1:]), dataset
        prior.labels = [Label("class", list(classes))] if classes else []
        return Samples(states, prior, condition)

    return made


@pytest.fixture
def withstands(tmp_path):
    """check(name, data, read): damaged versions of a file are read, or refused by a ValueError of one line."""

    def check(name: str, data: bytes, read, times: int = 200, seconds: float = 60) -> None:
        path = tmp_path / name
        with _guarded(seconds, 2 << 30):
            for seed in range(times):
                path.write_bytes(_mutated(data, seed))
                try:
                    read(path)
                except ValueError as error:
                    told = str(error)
                    assert told and "\n" not in told and len(told) < 1000, (seed, told)
                except Exception as error:
                    raise AssertionError(f"seed {seed}: {type(error).__name__}: {error}") from error

    return check


@pytest.fixture
def guarded():
    """A context in which what hangs or takes all memory fails: guarded(seconds, bytes)."""
    return _guarded
