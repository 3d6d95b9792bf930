"""`guidekit train trainer=refiner`, `reward=minority` and the guidance that reads their files."""

import json

import pytest
import torch

from guidekit.cli import main
from guidekit.guidance.starts.checkpoints import load_refiner, save_refiner
from guidekit.guidance.starts.refined_noise import fingerprint
from guidekit.installed import load_domain
from guidekit.networks import NETWORKS
from guidekit.objectives import score
from guidekit.priors.checkpoints import CheckpointError, read_description, save_checkpoint
from guidekit.running.build import build_reward
from guidekit.training import refiner_job

CLASSES = ["bag", "shirt", "coat"]
NETWORK = {"width": 8, "multipliers": [1], "attention": []}
TINY = ["trainer.pairs=6", "trainer.validation=2", "trainer.sampling_steps=3", "trainer.updates=2", "trainer.rounds=1"]
TINY += ["trainer.batch_size=2", "trainer.network={name: unet, options: {width: 8, multipliers: [1], attention: []}}"]
RUN = ["sample", "domain=images", "guidance=refined_noise", "num_samples=2", "baseline=false"]


def write_prior(path, seed=0, size=8, labels=True):
    """A tiny prior of pictures with random weights."""
    torch.manual_seed(seed)
    options = {**NETWORK, "channels": 1} | ({"labels": [3]} if labels else {})
    network = NETWORKS["unet"](**options)
    for name, weight in network.named_parameters():
        if name.endswith("weight") and not weight.any():  # blocks begin as the identity, deaf to labels
            torch.nn.init.normal_(weight, std=0.1)
    description = {"domain": "images", "event_shape": [1, size, size], "card": {}}
    description |= {"network": {"name": "unet", "options": options}, "sigma_data": 0.5}
    if labels:
        description["labels"] = [{"name": "class", "values": CLASSES}]
    save_checkpoint(path, network, description)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Priors, and refiners of the first one: for all classes, and for one."""
    folder = tmp_path_factory.mktemp("refiners")
    for name, options in (("prior", {}), ("other", {"seed": 1}), ("large", {"size": 16}), ("bare", {"labels": False})):
        write_prior(folder / f"{name}.safetensors", **options)
    for name, settings in (("all", []), ("bag", ["condition=bag", "trainer.teacher=[{name: cfg, weight: 3}]"])):
        assert main([*training(folder, "prior", f"{name}.safetensors"), *settings, *TINY]) == 0
    return folder


def training(folder, prior, output):
    chosen = [f"prior={folder / prior}.safetensors", f"output={folder / output}"]
    return ["train", "domain=images", "trainer=refiner", *chosen]


def test_a_refiner_of_a_file_starts_a_run(folder, tmp_path):
    common = [*RUN, f"prior={folder / 'prior.safetensors'}", f"guidance.refiner={folder / 'all.safetensors'}"]
    for i, more in enumerate(([], ["sampler=ddim", "steps=3"])):
        assert main([*common, "condition=shirt", *more, f"output={tmp_path / str(i)}"]) == 0
        ledger = json.loads((tmp_path / str(i) / "run.json").read_text())["ledger"]["guided"]
        assert ledger["network_rows"] == 2 * 3 and ledger["value_calls"] == 2  # the refiner's steps, and the refiner
    first, second = ((tmp_path / str(i) / "samples.csv").read_text() for i in range(2))
    assert first == second


def test_the_file_says_what_it_is_for(folder, tmp_path):
    refiner = load_refiner(folder / "all.safetensors")
    prior = load_domain("images").load_prior(str(folder / "prior.safetensors"))
    assert refiner.process == prior.process and refiner.event_shape == (1, 8, 8)
    assert refiner.times == tuple(prior.process.grid(3)) and refiner.weights == fingerprint(prior)
    assert refiner.conditions.flatten().tolist() == [0, 1, 2]
    assert load_refiner(folder / "bag.safetensors").conditions.tolist() == [[0]]
    card = read_description(folder / "bag.safetensors")["card"]
    assert card["trainer"]["teacher"] == [{"name": "cfg", "weight": 3}] and card["condition"] == "bag"
    description = read_description(folder / "all.safetensors")
    save_refiner(tmp_path / "again.safetensors", refiner, description["network"], "images", {})
    again, x = load_refiner(tmp_path / "again.safetensors"), torch.linspace(-3, 3, 128).view(2, 1, 8, 8)
    labels = torch.tensor([[0], [2]])
    assert torch.equal(again(x, labels), refiner(x, labels)) and not torch.equal(again(x, labels), x)
    with pytest.raises(CheckpointError, match="holds a prior, not a refiner"):
        load_refiner(folder / "prior.safetensors")


def test_the_prior_s_own_network_and_a_reward_as_teacher(folder, tmp_path):
    output, teacher = tmp_path / "bright.safetensors", "trainer.teacher=[{name: dps, scale: 0.5}]"
    settings = [*training(folder, "bare", output), *TINY[:-1], "trainer.network=prior", "reward=brightness", teacher]
    assert main(settings) == 0
    refiner = load_refiner(output)
    assert refiner.conditions is None and read_description(output)["card"]["reward"]["name"] == "brightness"
    sampled = [*RUN, f"prior={folder / 'bare.safetensors'}", f"guidance.refiner={output}", f"output={tmp_path / 'run'}"]
    assert main(sampled) == 0


def test_an_interrupt_keeps_the_guided_samples(folder, tmp_path, monkeypatch, capsys):
    def interrupted(*arguments, progress, **options):
        progress("round 1 of 1")
        raise KeyboardInterrupt

    chosen = [*training(folder, "prior", tmp_path / "new.safetensors"), *TINY]
    with monkeypatch.context() as patch:
        patch.setattr(refiner_job, "train_refiner", interrupted)
        assert main(chosen) == 130
    assert "the same command goes on from" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["new.safetensors.ckpt"]
    monkeypatch.setattr(refiner_job, "_pairs", None)
    assert main(chosen) == 0


@pytest.mark.parametrize(
    ("prior", "refiner", "settings", "said"),
    [
        ("other", "all", [], "trained for another prior than this one (images prior other)"),
        ("large", "all", [], "states (1, 8, 8), and this prior (images prior large) has (1, 16, 16)"),
        ("prior", "all", ["sampler=ddim", "steps=5"], "trained for 3 steps, not 5: steps=3"),
        ("prior", "all", ["sampler=heun"], "sampler=ddim steps=3"),
        ("prior", "all", ["condition=null"], "give condition="),
        ("prior", "bag", [], "not trained with condition shirt; it knows bag"),
        ("prior", "prior", [], "holds a prior, not a refiner; make one with guidekit train trainer=refiner"),
        ("prior", "nothing", [], "there is no checkpoint"),
        ("prior", None, [], "guidance=refined_noise needs guidance.refiner="),
    ],
)
def test_refiners_that_do_not_fit(folder, tmp_path, monkeypatch, capsys, prior, refiner, settings, said):
    monkeypatch.chdir(tmp_path)
    chosen = [f"prior={folder / prior}.safetensors", "condition=shirt"]
    chosen += [] if refiner is None else [f"guidance.refiner={folder / refiner}.safetensors"]
    assert main([*RUN, *chosen, *settings]) == 2
    refused(capsys, said, tmp_path)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["domain=molecules"], "refines Gaussian noise, and this prior"),
        (["trainer.teacher=[]"], "trainer=refiner needs guidances"),
        (["trainer.teacher=[{name: autoguidence}]"], "did you mean 'autoguidance'"),
        (["trainer.teacher=[{name: cfg, wieght: 2}]"], "did you mean 'weight'"),
        (["trainer.teacher=[{name: dps}]"], "give reward="),
        (["trainer.pairs=0"], "trainer.pairs=0; a whole number of at least 1"),
        (["trainer.penalty=-1"], "trainer.penalty=-1"),
        (["trainer.times=karas"], "did you mean 'karras'"),
        (["trainer.network=prio"], "did you mean 'prior'"),
        (["trainer.network={name: unet, options: {widht: 8}}"], "does not take states (1, 8, 8)"),
        (["trainer.network={name: unet, options: {multipliers: [1, 2, 4, 8]}}"], "must be multiples of 16"),
        (["condition=bgag"], "did you mean 'bag'"),
        (["data=mine.npz"], "data= is for priors and values"),
        (["init=mine.safetensors"], "init= is for priors; trainer=refiner learns from samples"),
        (["trainer.kind=valeu"], "did you mean 'value'"),
    ],
)
def test_trainings_that_cannot_be(folder, tmp_path, monkeypatch, capsys, settings, said):
    monkeypatch.chdir(tmp_path)
    prior = [] if "domain=molecules" in settings else [f"prior={folder / 'prior'}.safetensors"]
    tiny = TINY[:-1] if "network" in settings[0] else TINY
    assert main(["train", "domain=images", "trainer=refiner", *prior, *tiny, *settings, "output=x.safetensors"]) == 2
    refused(capsys, said, tmp_path)


def refused(capsys, said, folder):
    error = capsys.readouterr().err
    assert said in error and len(error.splitlines()) == 1
    assert not list(folder.iterdir())


VALUE = ["trainer=value", "reward=minority", "trainer.base=48", "trainer.collected=16", "trainer.sampling_steps=4"]
VALUE += ["trainer.updates=5", "trainer.rounds=1"]


@pytest.mark.parametrize("domain", ["images", "molecules"])
def test_rarity_is_learned_and_guides(folder, tmp_path, domain):
    chosen = [f"domain={domain}"] + ([f"prior={folder / 'prior.safetensors'}"] if domain == "images" else [])
    value, run = tmp_path / "rare.safetensors", tmp_path / "run"
    assert main(["train", *chosen, *VALUE, f"output={value}"]) == 0
    sizes = ["num_samples=2", "steps=4", "baseline=false"]
    guided = ["guidance=minority", f"guidance.value={value}", "guidance.share=0.2"]
    assert main(["sample", *chosen, *guided, *sizes, f"output={run}"]) == 0
    assert json.loads((run / "run.json").read_text())["ledger"]["guided"]["value_calls"] > 0
    for search in ("svdd", "best_of_n", "fk_steering"):
        assert (
            main(["sample", *chosen, "reward=minority", f"guidance={search}", *sizes, f"output={tmp_path / search}"])
            == 0
        )
        record = json.loads((tmp_path / search / "run.json").read_text())
        assert record["ledger"]["guided"]["reward_calls"] > 0


def test_rarity_is_a_term_of_other_rewards():
    domain = load_domain("molecules")
    prior = domain.load_prior()
    states = prior.encode(["CCO", "c1ccccc1", "C"])
    states[2] = 5  # decodes to nothing
    rare = build_reward(domain, {"name": "minority", "t": 0.5, "draws": 2}, prior)
    values = score(prior, rare, states)
    assert (rare.t, rare.draws) == (0.5, 2) and values[:2].isfinite().all() and values[2] == -torch.inf
    both = build_reward(
        domain,
        {"name": "sum", "terms": ["qed", {"name": "minority", "t": 0.5, "draws": 2}], "weights": [1, 0.1]},
        prior,
    )
    qed, found = score(prior, domain.rewards["qed"], states), score(prior, both, states)
    assert torch.allclose(found[:2], qed[:2] + 0.1 * values[:2]) and found[2] == -torch.inf
    common = build_reward(domain, {"name": "negation", "term": {"name": "minority", "t": 0.5, "draws": 2}}, prior)
    found = score(prior, common, states)
    assert torch.equal(found[:2], -values[:2]) and found[2] == -torch.inf
    with pytest.raises(ValueError, match="none was given"):
        build_reward(domain, "minority")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["reward=minority", "reward.t=2"], "t=2"),
        (["reward=minority", "reward.draws=0"], "draws=0"),
        (["reward=minority", "reward.draw=2"], "did you mean 'reward.draws'"),
        (["reward=minority", "guidance=dps"], "prior"),
        (["guidance=minority"], "guidance=minority needs guidance.value="),
        (["guidance=minority", "guidance.value={refiner}"], "not a value"),
    ],
)
def test_rarity_that_cannot_be(folder, tmp_path, monkeypatch, capsys, settings, said):
    monkeypatch.chdir(tmp_path)
    settings = [setting.format(refiner=folder / "all.safetensors") for setting in settings]
    assert main(["sample", "num_samples=2", "steps=4", *settings]) == 2
    refused(capsys, said, tmp_path)
