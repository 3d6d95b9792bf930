"""Settings of guidance, samplers and rewards: they are what the signatures say, and values are read by type."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import guidekit as gk
from guidekit import registry
from guidekit.cli import main
from guidekit.cli.compose import compose, refuse_choices, store
from guidekit.cli.terms import in_terms
from guidekit.core.objective import Goal, Objective
from guidekit.errors import UnknownNameError
from guidekit.guidance.values.estimates import Estimate, MonteCarlo
from guidekit.installed import domain_names, load_domain
from guidekit.objectives import GaussianLikelihood, Reward
from guidekit.objectives.operators.masks import Keep
from guidekit.objectives.verifiers import ForbiddenWords, Verifier
from guidekit.running.build import build_guidance, build_sampler
from guidekit.running.groups import SPECIAL, check_registered, group_choices, groups, load_group
from guidekit.running.settings import MISSING, Context, arguments, build, check, configuration

REWARD = Reward(lambda states: states.sum(1))


@dataclasses.dataclass
class Everything:
    """One of each type."""

    goal: Objective
    number: float = 1.0
    count: int = 3
    switch: bool = False
    word: str = "a"
    pair: tuple[float, float] = (0.0, 1.0)
    many: Sequence[int] = ()
    maybe: float | None = None
    words: Sequence[str | int] = ("x",)
    table: Mapping[str, float] = dataclasses.field(default_factory=dict)
    function: Callable[[float], float] | None = None
    scale: float | Callable[[float], float] = 1.0
    anything: Any = None
    verifier: Verifier | None = None


@dataclasses.dataclass
class Obeys:
    """Two objectives, one of them the run's."""

    value: Objective | None = None
    goal: Goal | None = None


def made(**options):
    return arguments(Everything, options, Context(REWARD), "thing", "thing.")


def test_what_a_configuration_has_is_what_the_signature_says():
    assert configuration(Everything) == {
        **{"number": 1.0, "count": 3, "switch": False, "word": "a", "pair": [0.0, 1.0], "many": [], "maybe": None},
        **{"words": ["x"], "table": None, "function": None, "scale": 1.0, "anything": None, "forbidden": []},
    }
    assert configuration(Obeys) == {"value": None}


@pytest.mark.parametrize("group", SPECIAL)
def test_every_member_has_the_defaults_of_its_class_on_the_command_line(group):
    for name, kind in registry.usable(group):
        config = configuration(kind)
        signature = {setting.name: setting for setting in registry.settings(kind)}
        for key in config.keys() - {"forbidden"}:
            default = (
                list(signature[key].default) if isinstance(signature[key].default, tuple) else signature[key].default
            )
            assert config[key] == (MISSING if signature[key].required else default or config[key]), f"{name}.{key}"
        OmegaConf.create(config)  # can be written down
        if MISSING not in config.values():
            check_registered({group: {"name": name, **config}})


@pytest.mark.parametrize("domain", domain_names())
def test_every_reward_has_the_defaults_of_its_class(domain):
    rewards = load_domain(domain).rewards
    assert set(rewards) <= set(group_choices("reward", domain)) and len(rewards) >= 2
    for name in rewards:
        config = configuration(rewards.kind(name))
        chosen = {"domain": {"name": domain}, "reward": load_group("reward", name, domain)}
        assert chosen["reward"] == {"name": name, **config}
        if MISSING not in config.values():
            check_registered(chosen)
        else:
            with pytest.raises(ValueError, match=rf"reward={name} needs reward\.\w+=, "):
                check_registered(chosen)


def test_everything_is_set_by_its_type():
    config = compose("sample", ["domain=images", "reward=classifier", "reward.label=3"])["reward"]
    assert config["label"] == 3 and set(groups()) >= {"domain", "guidance", "reward", "sampler", "trainer"}
    assert made() == {"goal": REWARD}
    given = dict(number=2, count=4, switch=True, word="b", pair=[1, 2], many=[1], maybe=None, words=["a", 1])
    assert made(**given) == {"goal": REWARD, **given, "pair": (1.0, 2.0), "many": (1,), "words": ("a", 1)}
    assert isinstance(made(number=2)["number"], float)
    assert made(table={"a": 1})["table"] == {"a": 1.0} and "table" not in made(table=None)
    assert made(scale=math.sqrt)["scale"] is math.sqrt and made(anything=[{"a": 1}])["anything"] == [{"a": 1}]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"number": "x"}, "thing.number='x'; accepted: a number (default: 1.0)"),
        ({"number": True}, "thing.number=True; accepted: a number"),
        ({"number": None}, "thing.number=null; accepted: a number"),
        ({"number": math.nan}, "thing.number=nan; a finite number is needed"),
        ({"maybe": math.inf}, "thing.maybe=inf; a finite number is needed"),
        ({"pair": [0.0, math.nan]}, "thing.pair=nan; a finite number is needed"),
        ({"count": 1.5}, "thing.count=1.5; accepted: a whole number (default: 3)"),
        ({"count": True}, "thing.count=True; accepted: a whole number"),
        ({"switch": 1}, "thing.switch=1; accepted: true or false (default: false)"),
        ({"word": 3}, "thing.word=3; accepted: a text (default: a)"),
        ({"pair": [1]}, "thing.pair=[1]; accepted: a list of 2 numbers (default: [0.0, 1.0])"),
        ({"pair": 1}, "thing.pair=1; accepted: a list of 2 numbers"),
        ({"many": "12"}, "thing.many='12'; accepted: a list"),
        ({"many": [1, "a"]}, "thing.many[1]='a'; accepted: a whole number"),
        ({"table": {"a": "b"}}, "thing.table.a='b'; accepted: a number"),
        ({"function": "math.sqrt"}, "thing.function='math.sqrt'; accepted: a function, from Python or null"),
        ({"scale": "x"}, "thing.scale='x'; accepted: a number or a function, from Python (default: 1.0)"),
        ({"cuont": 3}, "no setting of thing named 'cuont' (did you mean 'count'?)"),
        ({"goal": 3}, "no setting of thing named 'goal'"),
        ({"forbidden": "abc"}, "thing.forbidden='abc'; a list of texts is needed"),
        ({"forbidden": [1]}, "thing.forbidden=[1]; a list of texts is needed"),
        ({"forbidden": ["a"]}, "thing needs a verifier, and there is no domain that could give one"),
    ],
)
def test_values_of_another_type_are_refused(options, said):
    with pytest.raises(ValueError) as refusal:
        made(**options)
    assert said in str(refusal.value)


def test_the_run_says_what_is_obeyed():
    assert arguments(Obeys, {}, Context(REWARD), "thing") == {"goal": REWARD}
    assert arguments(Obeys, {}, Context(), "thing") == {"goal": None}
    with pytest.raises(gk.GuidanceError, match="thing needs something to obey: give reward="):
        arguments(Everything, {}, Context(), "thing")
    with pytest.raises(ValueError, match="there is no checkpoint a.safetensors"):
        arguments(Obeys, {"value": "a.safetensors"}, Context(REWARD), "thing")
    words = ForbiddenWords([[1]])
    context = Context(REWARD, verifier=lambda forbidden: words if forbidden == ["a"] else None)
    assert arguments(Everything, {"forbidden": ["a"]}, context, "thing")["verifier"] is words


def test_a_goal_is_any_sort_of_objective():
    for name in ("svdd", "best_of_n", "fk_steering", "dps", "gradient", "replacement", "dcbg", "predictor", "tag"):
        assert not {"reward", "likelihood", "objective"} & set(configuration(registry.get("guidance", name))), name
    likelihood = GaussianLikelihood(Keep(torch.tensor([True, False])), torch.zeros(1, 2), 0.5)
    assert build("guidance", "replacement", Context(likelihood)).objectives == (likelihood,)


def test_priors_and_schedules_and_estimates_are_read_by_name():
    prior = gk.priors.Gaussian(torch.zeros(2), 1.0)
    context = Context(REWARD, prior={"early": prior}.__getitem__)
    ramp = {"name": "ramp", "start": 2}
    guidance = build("guidance", {"name": "autoguidance", "weak": "early", "schedule": ramp}, context)
    assert prior in vars(guidance.branches[0]).values() and guidance.weight.schedule == gk.guidance.Ramp(2.0)
    svdd = build("guidance", {"name": "svdd", "value": {"name": "monte_carlo", "draws": 3}}, context)
    (estimate,) = svdd.judge.estimates
    assert isinstance(estimate, MonteCarlo) and estimate.draws == 3
    (other,) = build("guidance", {"name": "svdd", "value": "relaxed"}, context).judge.estimates
    assert isinstance(other, Estimate)
    parts = {"a": "heun", "b": {"name": "ddim", "eta": 0.5}}
    each = build("sampler", {"name": "each", "parts": parts}, Context())
    assert each.parts["b"].eta == 0.5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["guidance=sims"], "guidance=sims needs guidance.synthetic=, a prior (its name, or the file of a checkpoint)"),
        (
            ["guidance=slcd"],
            "guidance=slcd needs guidance.value=, a value (a file made by guidekit train trainer=value)",
        ),
        (["guidance=refined_noise"], "needs guidance.refiner=, a refiner"),
        (["guidance=gfcg"], "guidance=gfcg needs guidance.classifier=, a function, from Python"),
        (["guidance=cfg", "guidance.schedule={name: rump}"], "no schedule named 'rump' (did you mean 'ramp'?)"),
        (["guidance=cfg", "guidance.schedule={name: ramp, stat: 2}"], "setting of schedule=ramp named 'stat'"),
        (["guidance=cfg", "guidance.schedule={name: ramp, start: a}"], "start='a'; accepted: a number"),
        (["guidance=cfg", "guidance.weight=strong"], "guidance.weight='strong'; accepted: a number or a function"),
        (["guidance=svdd", "guidance.alpha=nan"], "guidance.alpha=nan; a finite number is needed"),
        (["guidance=svdd", "guidance.value=lookahed"], "no estimate named 'lookahed' (did you mean 'lookahead'?)"),
        (["guidance=svdd", "guidance.value={name: lookahead, cals: 2}"], "setting of estimate=lookahead named 'cals'"),
        (["guidance=svdd", "guidance.candidates=null"], "guidance.candidates=null; accepted: a whole number"),
        (["guidance=svdd", "guidance=3"], "no guidance named '3'"),
        (["guidance={name: svdd}"], "no guidance named '{name: svdd}'"),
        (["sampler=ddim", "sampler.eta=[1]"], "sampler.eta=[1]; accepted: a number (default: 0.0)"),
        (["sampler=each", "sampler.parts={a: {name: heunn}}"], "did you mean 'heun'"),
        (["guidance=chain"], "needs guidance.of=[svdd,best_of_n]"),
        (["guidance=chain", "guidance.of=[[svdd]]"], "is no guidance; write its name"),
        (["guidance=chain", "guidance.of=[{candidates: 3}]"], "no guidance named 'None'"),
        (["guidance=chain", "guidance.of=[{name: svdd, candidate: 3}]"], "did you mean 'candidates'"),
        (["guidance=chain", "guidance.of=[{name: sims}]"], "guidance=sims needs synthetic=, a prior"),
        (["reward=motif"], "reward 'motif' is of domain dna: give domain=dna"),
        (["reward=logp", "reward.low=a"], "reward.low='a'; accepted: "),
    ],
)
def test_mistakes_are_answered_before_anything_is_loaded(arguments, said, capsys):
    assert main(["sample", *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1


def test_hydra_knows_what_has_no_file(capsys):
    assert main(["sample", "--cfg", "job", "guidance=svdd", "reward=qed", "sampler=ddim", "sampler.eta=0.5"]) == 0
    shown = OmegaConf.create(capsys.readouterr().out)
    assert shown.guidance == {"name": "svdd", "candidates": 16, "alpha": None, "value": None}
    assert shown.sampler == {"name": "ddim", "eta": 0.5, "times": None}
    chosen = ["guidance=svdd,fk_steering", "domain=dna", "reward=gc"]
    refuse_choices(chosen)
    store(chosen)
    for name in ("svdd", "fk_steering"):
        assert compose("sample", [f"guidance={name}"])["guidance"]["name"] == name
    with pytest.raises(UnknownNameError, match="did you mean 'svdd'"):
        refuse_choices(["guidance=cfg,svd"])


def test_a_chain_is_its_members_inside_first():
    of = ["cfg", {"name": "svdd", "candidates": 2}, "best_of_n"]
    guidance = build_guidance({"name": "chain", "of": of}, REWARD)
    assert [member.name for member in guidance.members] == ["CFG", "SVDD", "BestOfN"]
    assert build_guidance({"name": None}, None) is build_guidance(None, None) is build_sampler({"name": None}) is None
    check(registry.get("guidance", "svdd"), {"candidates": 2}, "svdd")


def test_refusals_are_in_the_terms_of_the_command_line():
    told = "DPS needs more; those of Euler(times=None) are not: use Ancestral or DDIM(eta=1.0, times=(1.0, 0.0))"
    assert in_terms(told) == (
        "guidance=dps needs more; those of sampler=euler are not: use sampler=ancestral or sampler=ddim"
    )
    assert in_terms("sampler MaskGIT() needs tokens") == "sampler=maskgit needs tokens"
    assert in_terms("write chain(CFG(...), DPS(Reward(f)), SVDD)") == (
        "write guidance=chain 'guidance.of=[cfg,dps,svdd]'"
    )
    assert in_terms("Each sample has Steps of its own: Each({a: Heun})") == (
        "Each sample has Steps of its own: sampler=each"
    )
