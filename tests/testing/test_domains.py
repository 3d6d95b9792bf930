"""Every shipped domain keeps the contract, and the checks notice domains and rewards that break it."""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

import guidekit as gk
from guidekit.domain import Domain
from guidekit.domains.dna.relaxed import GC
from guidekit.domains.molecules.codec import MoleculeCodec
from guidekit.installed import domain_names, load_domain
from guidekit.objectives import ObjectReward, Reward, score
from guidekit.rewards import Rewards
from guidekit.samples import Samples
from guidekit.testing import check_domain, check_reward


@pytest.mark.parametrize("name", domain_names())
def test_shipped_domains_keep_the_contract(name, monkeypatch):
    domain = load_domain(name)
    prior = domain.load_prior()
    real = list(domain.reference(prior=prior))[:12]
    monkeypatch.setattr(type(domain), "priors", lambda self: {})  # loading each takes seconds, see below
    check_domain(domain, prior, real[:3], steps=2, num_samples=2, reference=real, training=())


def test_one_domain_two_priors_two_vocabularies():
    """Samples decode with the prior that made them, and a reward scores them alike, whatever was loaded in between."""
    domain, reward = load_domain("molecules"), load_domain("molecules").rewards["qed"]
    moses, texts = domain.load_prior(), ["CCO", "c1ccccc1O", "CC(=O)N", "CCN(CC)CC"]
    states = moses.encode(texts)
    before, values = domain.table(Samples(states, moses)), score(moses, reward, states)
    qm9 = domain.load_prior("qm9")
    small = qm9.encode(texts)
    assert moses.language != qm9.language and small.shape != states.shape
    for prior, tokens in ((moses, states), (qm9, small), (moses, states)):
        assert [row["smiles"] for row in domain.table(Samples(tokens, prior))] == texts
        assert torch.equal(score(prior, reward, tokens), values) and values.isfinite().all()
    assert repr(domain.table(Samples(states, moses))) == repr(before)
    # states of equal bytes are other molecules in the other vocabulary, and are scored as such
    alone = [score(prior, domain.rewards["qed"], small) for prior in (moses, qm9)]
    assert not torch.equal(*alone)
    assert all(torch.equal(score(prior, reward, small), one) for prior, one in zip((moses, qm9), alone, strict=True))
    assert type(domain.codec) is MoleculeCodec and domain.codec.language == moses.language


def test_results_decode_with_their_prior():
    domain = load_domain("molecules")
    results = [gk.sample(domain.load_prior(name), num_samples=12, steps=24) for name in ("qm9", "default")]
    smiles = [[row["smiles"] for row in domain.table(Samples(one.samples, one.prior))] for one in results]
    assert sum(one is not None for one in results[0].objects()) >= 3 and len(set(map(len, smiles))) == 1
    assert max(map(len, smiles[0])) < max(map(len, smiles[1]))


# -- a small domain, and what may be wrong with it -----------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Bits:
    """Tokens 0 and 1 as text."""

    language: str = "bits"

    def encode(self, objects):
        return torch.tensor([[int(letter) for letter in one] for one in objects])

    def decode(self, states):
        return [None if row[0] != row[-1] else "".join(map(str, row)) for row in states.tolist()]


@dataclasses.dataclass(frozen=True)
class Ones:
    """Ones in a text, times a factor."""

    factor: float = 1.0

    def __call__(self, text):
        return self.factor * text.count("1")


class Share(gk.objectives.Objective):
    """Share of ones, of states."""

    name = "share"

    def scores(self, states: Tensor, t, rows):
        return states.double().mean(1)


@dataclasses.dataclass(frozen=True)
class BitStrings(Domain):
    """Texts of zeros and ones."""

    title: str = "bits"
    name = "bits"
    objects = "texts"
    kinds: ClassVar[Mapping[str, Any]] = {"ones": Ones, "share": Share}

    @property
    def codec(self):
        return Bits()

    def load_prior(self, name="default"):
        if name != "default":
            self.checkpoint(name)
        prior = gk.priors.CategoricalChain(torch.tensor([[[0.2, 0.1], [0.1, 0.1]], [[0.1, 0.1], [0.1, 0.2]]]))
        prior.codec = self.codec
        return prior


def test_a_domain_of_a_few_lines_has_everything_else_by_default():
    samples = check_domain(BitStrings())
    assert samples.prior.codec == Bits() and len(samples) == 4
    assert BitStrings().rewards.make("ones", factor=2.0)(["0110"]).tolist() == [4.0]
    assert isinstance(BitStrings().rewards, Rewards) and list(BitStrings().rewards) == ["ones", "share"]
    assert BitStrings.settings() == ("title",)


class Nameless(Bits):
    """A codec without a language."""

    language = ""


def broken(**changes):
    return dataclasses.dataclass(frozen=True)(type("Broken", (BitStrings,), changes))()


def remembering(self, samples):
    object.__setattr__(self, "title", "another")
    return BitStrings.table(self, samples)


BROKEN = {
    "using the domain has changed it": {"table": remembering},
    "a codec has a language": {"codec": property(lambda self: Nameless(""))},
    "does not decode": {"reference": lambda self, **kw: ["000", "001"]},
    "`valid` is not what decode says": {"table": lambda self, samples: [{"valid": True} for _ in samples.objects]},
    "table gives one row a sample, with the same": {"table": lambda self, samples: BitStrings.table(self, samples)[:2]},
    "and not all of them are there": {"write": lambda self, folder, samples, columns: ["nothing.txt"]},
    "was not drawn": {"figure": lambda self, samples, values, label, path, **kw: path.name},
    "evaluate gives numbers": {"evaluate": lambda self, objects, **kw: {"a": [1]}},
    "took a name that does not exist": {"checkpoint": lambda self, name: name},
    "load_prior gives a prior without a codec": {"load_prior": lambda self, name="default": plain(name)},
    "`valid` among them": {"summary": lambda self, rows, values, samples=None: {}},
    "bind hands an objective back": {"bind": lambda self, function, name=None, **kw: ObjectReward(function, name)},
    "a score is NaN|depends on|no number|a score of": {"kinds": {"ones": lambda: Counting()}},
}


class Counting:
    """A score of what was scored before."""

    name, floor = "counting", 0.0

    def __init__(self):
        self.calls = 0

    def __call__(self, text):
        self.calls -= 1
        return self.calls


def plain(name):
    if name != "default":
        raise ValueError(name)
    return gk.priors.CategoricalChain(torch.full((2, 2, 2), 0.125))


@pytest.mark.parametrize("said", BROKEN)
def test_what_breaks_the_contract_is_named(said):
    domain = broken(**BROKEN[said])
    with pytest.raises((AssertionError, ValueError), match=said):
        check_domain(domain, num_samples=16)


def test_a_domain_that_can_be_changed_is_refused():
    class Loose(BitStrings):
        """Not frozen: a plain subclass with an attribute of its own."""

        def __setattr__(self, name, value):
            object.__setattr__(self, name, value)

    with pytest.raises(AssertionError, match="can be set: make the domain a frozen dataclass"):
        check_domain(Loose())


# -- rewards -------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Floored:
    """A function that says what its values never fall below."""

    function: Any
    floor: float

    def __call__(self, x):
        return self.function(x)


def gaussian():
    return gk.priors.Gaussian(torch.zeros(3), 1.0, gk.processes.VP())


WRONG = {
    "depends on the states beside it": lambda x: x[:, 0] - x[:, 0].mean(),
    "depends on the order": lambda x: x[:, 0] + 1e-2 * torch.arange(len(x)) * (torch.arange(len(x)) > 1),
    "for 5 states: give one number": lambda x: x.mean(),
    "the second time": lambda x: x[:, 0] + torch.rand(()),
    "below floor=0": Floored(lambda x: -x[:, 0].abs(), 0.0),
    "a gradient is not finite": lambda x: (x[:, 0] * 0).sqrt(),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_wrong_with_a_reward_is_named(said):
    with pytest.raises((AssertionError, ValueError), match=said):
        check_reward(gaussian(), Reward(WRONG[said]))


def test_right_rewards_pass():
    fine = Reward(lambda x: x.square().sum(1))
    values = check_reward(gaussian(), fine + gk.objectives.QuadraticReward(torch.zeros(3)))
    assert values.shape == (5,) and values.dtype == torch.float64
    dna = load_domain("dna", length=12)
    prior = gk.priors.CategoricalChain(torch.full((4,) * 4, 4.0**-4))
    prior.codec = dataclasses.replace(dna.codec, length=4)
    check_reward(prior, GC() - 2 * dna.rewards["cpg"] + dna.rewards["homopolymer"])
    assert math.isfinite(float(check_reward(prior, GC())[0]))
