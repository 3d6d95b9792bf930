"""A guidance is named after what the user wrote, and shown as it was written."""

import re

import pytest
import torch

import guidekit as gk
from guidekit import registry
from guidekit.cli.terms import in_terms
from guidekit.core.guidance import Chain
from guidekit.core.requirements import check
from guidekit.preset import remembered
from guidekit.running.facts import instances

NAMES = {entry.attribute: name for name, entry in registry.entries("guidance").items()}
PLAIN = bool | int | float | str | tuple | None
MIXTURE = gk.priors.GaussianMixture(torch.tensor([[2.0], [-2.0]]), 0.5)
CHAIN = gk.priors.CategoricalChain(torch.tensor([[0.5, 0.2], [0.1, 0.2]]))
RUNS = [(MIXTURE, gk.samplers.Heun()), (CHAIN, gk.samplers.Ancestral())]


def reward(x):
    return x[:, 0].double()


def settings_of(attribute):
    kind = getattr(gk.guidance, attribute)
    return kind, registry.settings(kind)


@pytest.mark.parametrize("attribute", NAMES)
def test_every_guidance_is_named_after_what_makes_it(attribute):
    for made in instances(*settings_of(attribute))[0]:
        assert (type(made).__name__ if made.preset is None else made.preset.name) == attribute
        assert {member.name for member in made.members} == {attribute}


@pytest.mark.parametrize("attribute", NAMES)
def test_the_command_line_has_its_own_word_for_every_name(attribute):
    assert in_terms(f"{attribute} needs more") == f"guidance={NAMES[attribute]} needs more"


@pytest.mark.parametrize("attribute", NAMES)
def test_what_is_shown_makes_the_same_again(attribute):
    """With every setting written out that has a plain default."""
    kind, settings = settings_of(attribute)
    if any(setting.required for setting in settings):
        return
    plain = {setting.name: setting.default for setting in settings if isinstance(setting.default, PLAIN)}
    try:
        made = [kind(), kind(**plain)]
    except gk.GuidanceError:
        return  # without anything to obey there is none
    for guidance in made:
        assert repr(guidance).startswith(f"{attribute}(")
        assert repr(eval(repr(guidance), vars(gk) | {attribute: kind})) == repr(guidance)
    assert all(f"{name}={value!r}" in repr(made[-1]) for name, value in plain.items())


@pytest.mark.parametrize("attribute", NAMES)
def test_a_refusal_says_the_name(attribute):
    """Who needs what is not there is named as the user did, and an engine behind it never."""
    for guidance in instances(*settings_of(attribute))[0]:
        for prior, sampler in RUNS:
            try:
                check(prior, sampler, guidance.members, frozenset(), tuple)
            except gk.GuidanceError as refusal:
                told = re.findall(r"\w+", str(refusal))
                engines = {type(member).__name__ for member in guidance.members}
                assert attribute in told or not {"needs", *engines}.intersection(told)
            except AttributeError:
                assert attribute == "RefinedNoise"  # its stand-in was never made


@pytest.mark.parametrize(
    ("guidance", "shown"),
    [
        (lambda g: g.PAG(2.0), "PAG(scale=2.0)"),
        (lambda g: g.CFG(), "CFG()"),
        (lambda g: g.Restart(3, window=(0.5, 0.1)), "Restart(repeats=3, window=(0.5, 0.1))"),
        (lambda g: g.CFGZero(2.0, zero_steps=1), "CFGZero(weight=2.0, zero_steps=1)"),
        (lambda g: g.chain(g.CFG(2.0), g.DiscreteFKC(3.0)), "chain(CFG(weight=2.0), DiscreteFKC(weight=3.0))"),
        (lambda g: gk.samplers.MaskGIT(0.5), "MaskGIT(temperature=0.5)"),
        (lambda g: gk.samplers.DDIM(0.5), "DDIM(times=None, eta=0.5)"),
        (lambda g: g.ClampCleanEstimate(0.0), "ClampCleanEstimate(lower=0.0, upper=None, mask=None)"),
    ],
)
def test_shown_as_it_was_written(guidance, shown):
    assert repr(guidance(gk.guidance)) == shown


def test_an_engine_by_itself_has_its_own_name():
    assert gk.guidance.Recurrence(3).name == "Recurrence"
    assert repr(gk.guidance.ParticleFilter(particles=4)).startswith("ParticleFilter(estimate=None")


def test_a_preset_within_a_preset_has_the_name_of_the_outer_one():
    def Outer(repeats):  # noqa: N802
        return gk.chain(gk.guidance.TimeTravel(), gk.guidance.Restart(repeats))

    made = remembered(Outer)(3)
    assert isinstance(made, Chain) and repr(made) == "Outer(repeats=3)"
    assert [member.name for member in made.members] == ["Outer", "Outer"]


def test_presets_draw_what_their_engine_draws():
    guidance, steering = gk.guidance.ParticleFilter, gk.guidance.FKSteering(reward, 1.0, particles=4)
    same = guidance(estimate=steering.estimate, particles=4)
    one, other = (gk.sample(MIXTURE, each, 4, steps=8).samples for each in (steering, same))
    assert torch.equal(one, other)


def test_the_order_is_told_in_presets_and_in_their_parts_where_something_belongs_between():
    g = gk.guidance
    for given, told in (
        (g.chain(g.DiscreteFKC(), g.KernelCFG()), "chain(KernelProduct, KernelCFG, ParticleFilter)"),
        (g.chain(g.FKSteering(reward), g.SVDD(reward)), "chain(SVDD, FKSteering)"),
        (g.chain(g.FKSteering(reward), g.BestOfN(reward), g.SVDD(reward)), "chain(SVDD, FKSteering, BestOfN)"),
    ):
        chain = gk.priors.CategoricalChain(torch.ones(2, 2) / 4, conditionals=torch.ones(2, 2, 2) / 4)
        with pytest.raises(gk.GuidanceError, match=re.escape(f"write {told}")):
            gk.sample(chain, given, 2, steps=2, condition=0)
