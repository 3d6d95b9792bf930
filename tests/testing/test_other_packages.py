"""A package of somebody else's brings a domain, a reward, a guidance and a sampler: all work like shipped ones."""

import os
import subprocess
import sys
from pathlib import Path

import guidekit as gk

PACKAGE = '''
"""Texts of bits, and what goes with them."""

import dataclasses
from typing import ClassVar

import torch

import guidekit as gk
from guidekit.core.guidance import Layer
from guidekit.samplers import Ancestral


class Bits:
    """Between texts of zeros and ones and tokens."""

    language = "bits"

    def encode(self, objects):
        return torch.tensor([[int(letter) for letter in one] for one in objects])

    def decode(self, states):
        return ["".join(map(str, row)) for row in states.tolist()]


@dataclasses.dataclass(frozen=True)
class BitStrings(gk.Domain):
    """A domain with one prior and no reward of its own."""

    length: int = 4
    name = "bits"
    objects = "texts"

    @property
    def codec(self):
        return Bits()

    def load_prior(self, name="default"):
        if name != "default":
            self.checkpoint(name)
        prior = gk.priors.CategoricalChain(torch.full((2,) * self.length, 0.5**self.length))
        prior.codec = self.codec
        return prior


@dataclasses.dataclass(frozen=True)
class Ones:
    """Ones in a text, of letters of any kind."""

    letter: str = "1"
    factor: float = 1.0
    floor: ClassVar[float] = 0.0

    def __call__(self, text):
        return self.factor * text.count(self.letter)


@dataclasses.dataclass(frozen=True, eq=False)
class Lean(gk.Guidance):
    """Every token is the first of its alphabet more often, by `push` nats."""

    push: float = 1.0
    layer = Layer.ESTIMATE

    def denoise(self, inner, question):
        first = torch.tensor([self.push, 0.0])
        return inner(question).laws(lambda laws: (laws + first).log_softmax(-1))


@dataclasses.dataclass(frozen=True, eq=False)
class Twice(Ancestral):
    """Ancestral sampling on twice as many steps."""

    def grid(self, prior, steps):
        return super().grid(prior, 2 * steps)
'''
POINTS = """
[guidekit.domains]
bits = bitpack:BitStrings
[guidekit.rewards]
bits.ones = bitpack:Ones
dna.letters = bitpack:Ones
[guidekit.guidance]
lean = bitpack:Lean
[guidekit.samplers]
twice = bitpack:Twice
"""
FROM_PYTHON = """
import guidekit as gk
from guidekit import registry
from guidekit.testing import check_domain, check_guidance

domain = gk.load_domain("bits", length=6)
prior = domain.load_prior()
check_domain(gk.load_domain("bits"), steps=4)
lean = registry.get("guidance", "lean")(push=3.0)
check_guidance(prior, lean, steps=4)
assert list(domain.rewards) == ["ones"] and domain.rewards["ones"](["0110"]).tolist() == [2.0]
assert "letters" in gk.load_domain("dna").rewards and "letters" not in domain.rewards
assert gk.load_domain("dna").rewards.make("letters", letter="A")(["AACA"]).tolist() == [3.0]
runs = ((None, None), (lean, None), (None, "twice"))
plain, leaning, slow = (gk.sample(prior, guidance, 200, 6, sampler=sampler) for guidance, sampler in runs)
assert leaning.samples.double().mean() < 0.1 < 0.4 < plain.samples.double().mean()
assert slow.ledger.network_calls > plain.ledger.network_calls
both = gk.sample(prior, gk.guidance.SVDD(domain.rewards["ones"], candidates=4), 50, 6)
assert both.samples.double().mean() > 0.7 and set("".join(both.objects())) <= {"0", "1"}
"""
COMMAND = "sample domain=bits domain.length=6 reward=ones reward.factor=2 guidance=lean guidance.push=2.0 sampler=twice"


def test_one_of_each_by_name(tmp_path):
    (tmp_path / "bitpack.py").write_text(PACKAGE)
    metadata = tmp_path / "bitpack-1.0.dist-info"  # what an installer leaves behind
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: bitpack\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(POINTS)
    search = os.pathsep.join([str(tmp_path), str(Path(gk.__file__).parents[1])])
    environment = {**os.environ, "PYTHONPATH": search, "OMP_NUM_THREADS": "1", "COLUMNS": "200"}

    def run(*arguments):
        command = [sys.executable, *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    run("-W", "ignore", "-c", FROM_PYTHON)
    told = run("-m", "guidekit.cli", *COMMAND.split(), "num_samples=8", "steps=4", "output=run")
    assert "reward" in told and (tmp_path / "run" / "samples.csv").read_text().count("\n") == 9
    for what, names in (
        ("domains", ["bits"]),
        ("rewards", ["bits", "ones"]),
        ("guidance", ["lean"]),
        ("samplers", ["twice"]),
    ):
        found = run("-m", "guidekit.cli", "list", what)
        assert all(name in found for name in names), what
