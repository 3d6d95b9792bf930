"""Discrete domains at the command line: what bad input is answered, and what good input leaves behind."""

import csv
import json
import math
import random

import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.installed import load_domain
from guidekit.networks import DilatedConvolution
from guidekit.priors.checkpoints import save_checkpoint
from guidekit.running.groups import check_types, group_choices

WINDOW = 24
NETWORK = {"vocab_size": 4, "max_length": WINDOW, "width": 8, "kernel": 3, "dilations": [1, 2], "pad_id": None}
LETTERS = random.Random(0)


def letters(count):
    return "".join(LETTERS.choice("ACGT") for _ in range(count))


FILES = {
    "foreign.fasta": f">one\n{letters(300)}\n>two\nACGTAQQGT{letters(80)}\n",
    "protein.fasta": ">p\nMKTAYIAKQRQISFVKSHFSRQ\n",
    "mixed.fasta": f">d\n{letters(300)}\n>p\nMKTAYIAKQRQISFVKSHFSRQ\n",
    "rna.fasta": f">r\n{letters(40).replace('T', 'U')}\n>d\n{letters(40)}\n",
    "empty.fasta": "",
    "unknown.fasta": f">u\n{'N' * 300}\n",
    "short.fasta": f">s\n{letters(WINDOW - 1)}\n",
    "long.fasta": f">l\n{letters(WINDOW + 1)}\n",
    "fitting.fasta": "".join(f">f{i}\n{letters(WINDOW)}\n" for i in range(4)),
    "genome.fasta": "".join(f">g{i} of N\n{letters(40)}NN{letters(60)}\n" for i in range(40)),
}


def save_tiny(path, process, labels):
    """A checkpoint of an untrained network on windows of DNA."""
    torch.manual_seed(0)
    options = NETWORK | {"labels": [len(label["values"]) for label in labels], "timed": process != "masked"}
    description = {
        "domain": "dna",
        "network": {"name": "dilated_convolution", "options": options},
        "vocab_size": 4,
        "pad_id": None,
        "length_counts": [0] * WINDOW + [1],
        "process": {"name": process},
        "labels": labels,
        "card": {"data": "nothing"},
    }
    save_checkpoint(path, DilatedConvolution(**options), description)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with tiny priors and sequence files."""
    folder = tmp_path_factory.mktemp("made")
    species = [{"name": "species", "values": ["ecoli", "human"]}]
    for name, process, labels in (
        ("tiny", "masked", species),
        ("tiny_uniform", "uniform", species),
        ("unlabelled", "masked", []),
    ):
        save_tiny(folder / f"{name}.safetensors", process, labels)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    (folder / "folder.fasta").mkdir()
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """An empty working folder; priors and files are reached as <made>/..."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def written_out(arguments, made):
    """The arguments of a case, with the short names of priors and files as paths."""
    command, *settings = arguments.split(" ")
    told = {"sample": ["num_samples=2", "steps=4", "domain=dna"], "train": ["output=o.safetensors"]}.get(command, [])
    if "domain=" not in arguments:
        told = [*told, "domain=dna"]
    for key in ("prior", "data", "samples", "reference"):
        settings = [
            f"{key}={made / s.partition('=')[2]}" if s.startswith(f"{key}=") and "." in s else s for s in settings
        ]
    if command == "sample" and "prior=" not in arguments:
        told.append(f"prior={made / 'tiny.safetensors'}")
    return [command, *told, *settings]


BAD_TRAINING = {
    "train data=foreign.fasta": "foreign.fasta: two holds 'Q' at position 6; DNA letters are ACGT",
    "train data=mixed.fasta": "p holds 'M' at position 1; this looks like a protein: use domain=proteins",
    "train data=rna.fasta": "this is RNA: replace U by T",
    "train data=empty.fasta": "empty.fasta is empty",
    "train data=unknown.fasta": "nothing left of 1 records (N)",
    "train data=short.fasta": "no stretch of trainer.window=256 letters",
    "train data=nowhere.fasta": "nowhere.fasta'; accepted: a path such as mine.fasta, ecoli, human",
    "train data=humann": "did you mean 'human'",
    "train data=folder.fasta": "an ordinary file is expected",
    "train data=human,ecoli": "different names as name=file,name=file",
    "train data=a=human,a=ecoli": "different names as name=file,name=file",
    "train domain=proteins data=genome.fasta": "this looks like DNA or RNA: use domain=dna",
    "train output=new/o.safetensors data=empty.fasta": "empty.fasta is empty",
    "train prepare=prepared data=empty.fasta": "empty.fasta is empty",
    "train trainer.window=512": "trainer.window=512; 1 to trainer.network.options.max_length=256",
    "train trainer.window=0": "trainer.window=0",
    "train trainer.labels=[nonsense]": "no setting of guidekit train named 'trainer.labels'",
    "train domain=molecules trainer.labels=[nonsense]": "no label of molecules named 'nonsense'; accepted: logp, qed",
    "train trainer.process.name=uniforn": "did you mean 'uniform'",
    "train trainer.process=uniform": "trainer.process='uniform'; a mapping is needed",
    "train trainer.network.name=seq_transformer": "did you mean 'sequence_transformer'",
    "train +trainer.network.options.widht=3": "did you mean 'width'",
    "train +trainer.staps=3": "did you mean 'trainer.steps'",
    "train trainer.network.options.width=abc": "a whole number is needed (shipped: 128)",
    "train trainer.objective=elbo": "accepted: cross_entropy, likelihood, stepped_likelihood",
    "train trainer.steps=0": "trainer.steps=0; a whole number of at least 1",
    "train trainer.ema=2": "a share from 0 to 1",
    "train trainer=images": "this trainer is for priors of real-valued states",
    "train overwrite=maybe": "true or false is needed",
}

BAD_SAMPLING = {
    "sample condition=mouse": "no value of label species named 'mouse'; accepted: ecoli, human",
    "sample condition=humn": "did you mean 'human'",
    "sample condition=7": "accepted: 0 (ecoli), 1 (human)",
    "sample condition={specie:human}": "did you mean 'species'",
    "sample condition=[human,mouse]": "no value of label species named 'mouse'",
    "sample condition=[human,[human,ecoli]]": "is a list of conditions itself",
    "sample condition=[]": "empty list",
    "sample prior=unlabelled.safetensors condition=human": "made without conditions",
    "sample guidance=cfg": "give condition=",
    "sample condition=human guidance=cfg guidance.negative=mouse": "no value of label species named 'mouse'",
    "sample condition=human guidance=kernel_cfg sampler=first_hitting": "those of sampler=first_hitting are not: ",
    "sample condition=human guidance=kernel_cfg guidance.mix=rates sampler=ancestral": "use sampler=euler_ctmc",
    "sample condition=human guidance=discrete_fkc sampler=maskgit": "use sampler=ancestral or sampler=euler_ctmc",
    "sample condition=human guidance=discrete_fkc guidance.window=[0,1]": "from noise (1) to clean (0)",
    "sample reward=motif": "needs reward.motif=",
    "sample reward=motif reward.motif=CTFC": "did you mean 'TFEC' or 'CTCF'",
    "sample reward=restriction reward.sites=[EcoR1]": "'EcoRI'",
    "sample reward=restriction reward.sites=null": "needs reward.sites=",
    "sample reward=gc reward.low=abc": "reward.low='abc'; accepted: a number (default: 0.45)",
    "sample reward=sum reward.terms=[{name:gc,low:abc}]": "low='abc'; accepted: a number",
    "sample reward=sum reward.terms=[{name:motif_count}]": "reward=motif_count needs reward.motif=",
    "sample reward=qed": "reward 'qed' is of domain graphs or molecules: give domain=graphs or domain=molecules",
    "sample guidance=tag reward=homopolymer": "homopolymer is a black box: use predictor",
    "sample guidance=tag reward=motif_count reward.motif=CTCF": "motif_count is a black box",
    "sample guidance=tag reward=sum reward.terms=[gc,{name:motif_count,motif:CTCF}]": "gc + motif_count is a black box",
    "sample guidance=tag reward=gc sampler=first_hitting": "use sampler=ancestral or sampler=euler_ctmc",
    "sample guidance=chain reward=gc guidance.of=[tag] sampler=maskgit": "use sampler=ancestral or sampler=euler_ctmc",
    "sample guidance=chain reward=gc guidance.of=[{name:svdd,candidates:abc}]": "candidates='abc'; accepted: a whole",
    "sample guidance=dcbg reward=gc guidance.most_rows=0": "must be at least 1, got 0",
    "sample guidance=svdd reward=gc guidance.value=abc": "abc",
    "sample prior=tiny_uniform.safetensors sampler=remdm": "samplers for it: sampler=ancestral, sampler=euler_ctmc, ",
    "sample prior=tiny_uniform.safetensors sampler=first_hitting": "needs an absorbing (masked) process",
    "sample sampler=remdm sampler.eta=1.5": "eta lies in [0, 1]",
    "sample sampler=remdm sampler.schedule=loop sampler.eta=0.5": "eta=0.5 is above 0.1111, the bound of a loop",
    "sample sampler=remdm sampler.window=0.5": "sampler.window=0.5; accepted: a list of 2 numbers or null",
    "sample sampler=path_planning sampler.planner=abc": "sampler.planner='abc'; accepted: a function, from Python",
    "sample steps=ten": "steps='ten'; a whole number of at least 1 is needed (shipped: 64)",
    "sample device=gpu": "device='gpu' cannot be used here; accepted: cpu",
    "sample domain=proteins prior=tiny.safetensors": "of domain 'dna', not of 'proteins'",
}

BAD_EVALUATION = {
    "evaluate samples=nowhere.fasta": "there is no file",
    "evaluate samples=protein.fasta": "none of 1 records is a DNA sequence: p holds 'M' at position 1; this looks like",
    "evaluate samples=empty.fasta": "empty.fasta is empty",
    "evaluate samples=short.fasta prior=tiny.safetensors": f"{WINDOW - 1} letters, shorter than the window of {WINDOW}",
    "evaluate samples=long.fasta prior=tiny.safetensors": f"{WINDOW + 1} letters, longer than the window of {WINDOW}",
    "evaluate samples=fitting.fasta prior=nowhere.safetensors": "there is no checkpoint",
    "evaluate domain=molecules samples=fitting.fasta": "suffix '.fasta'; readable are .smi",
    "evaluate domain=proteins samples=protein.fasta prior=tiny.safetensors": "of domain 'dna', not of 'proteins'",
    "evaluate samples=fitting.fasta prior=tiny.safetensors condition=mouse": "no value of label species named 'mouse'",
    "evaluate samples=fitting.fasta prior=tiny.safetensors draws=3": "draws=3; an even number",
    "evaluate samples=fitting.fasta condition=human": "give prior= as well",
    "evaluate samples=fitting.fasta reference=humann": "did you mean 'human'",
    "evaluate samples=fitting.fasta reference=foreign.fasta": "two holds 'Q' at position 6",
    "evaluate samples=fitting.fasta output=nowhere/figures.json": "a file in a folder that exists",
    "evaluate samples=fitting.fasta column=letters": "no table",
    "evaluate samples=fitting.fasta on_error=stop": "accepted: raise, skip",
}


@pytest.mark.parametrize(
    ("arguments", "said"), [*BAD_TRAINING.items(), *BAD_SAMPLING.items(), *BAD_EVALUATION.items()], ids=str
)
def test_bad_input_is_answered_in_one_line(arguments, said, made, here, capsys):
    assert main(written_out(arguments, made)) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("guidekit: ") and printed.err.count("\n") == 1 and said in printed.err
    assert printed.out == "" and not list(here.iterdir())  # nothing half-written


def test_a_sweep_answers_in_one_line_a_run_and_goes_on(made, here, capsys):
    prior = f"prior={made / 'tiny.safetensors'}"
    sweep = ["sample", "--multirun", "domain=dna", prior, "num_samples=2"]
    assert main([*sweep, "steps=4", "output=run", "condition=mouse,human"]) == 2
    errors = capsys.readouterr().err.strip().split("\n")
    assert errors == ["guidekit: no value of label species named 'mouse'; accepted: ecoli, human"]
    assert [path.parent.name for path in (here / "run").glob("*/samples.csv")] == ["condition=human"]
    assert main([*sweep, "steps=four"]) == 2 and "steps='four'; a whole number" in capsys.readouterr().err
    assert main([*sweep, "reward=gc,cgp"]) == 2 and "did you mean 'cpg'" in capsys.readouterr().err


def test_checkpoints_to_start_from_must_have_the_same_network(made, here, capsys):
    assert main(["train", "domain=dna", "output=o.safetensors", f"init={made / 'tiny.safetensors'}"]) == 2
    assert "network with options.width=8, not trainer.network.options.width=128" in capsys.readouterr().err


def test_types_follow_the_shipped_configuration():
    shipped = {"share": 0.5, "count": 8, "on": False, "window": [1.0, 0.0], "value": None}
    check_types(shipped, {"share": 1, "count": 3, "on": True, "window": (0.5, 0.0), "value": "x"}, {})
    shares = [("share", wrong) for wrong in (None, True, math.nan, math.inf)]
    for key, value in [*shares, ("count", 1.5), ("count", True), ("on", 1), ("window", 0.5)]:
        with pytest.raises(ValueError, match=f"setting: {key}="):
            check_types(shipped, {key: value}, {}, "setting: ")


def test_conditional_samples_fasta_table_figure_and_bits_per_token(made, here, capsys):
    settings = [f"prior={made / 'tiny.safetensors'}", "domain=dna", "condition=human"]
    contrast = ["guidance=cfg", "guidance.weight=3", "guidance.negative=ecoli"]
    assert main(["sample", *settings, *contrast, "num_samples=6", "output=run"]) == 0
    printed = capsys.readouterr().out
    assert "unguided" in printed and "100.0 %" in printed and "reward" not in printed  # there is none
    assert {path.name for path in (here / "run").iterdir()} == {
        "figure.png", "run.json", "samples.csv", "samples.fasta", "unguided.csv",
    }  # fmt: skip
    rows = list(csv.DictReader((here / "run" / "samples.csv").open()))
    assert len(rows) == 6 and all(set(row["sequence"]) <= set("ACGT") and row["length"] == "24" for row in rows)
    domain = load_domain("dna")
    assert domain.read_samples(here / "run" / "samples.fasta").objects == [row["sequence"] for row in rows]
    figures = {"output": "figures.json", "samples": "run/samples.fasta", "reference": made / "fitting.fasta"}
    assert main(["evaluate", *settings, *(f"{key}={value}" for key, value in figures.items())]) == 0
    assert "bits per token (bound)" in capsys.readouterr().out
    record = json.loads((here / "figures.json").read_text())
    # an untrained network knows nothing of DNA: about two bits a letter
    assert record["n_valid"] == 6 and record["bits per token (bound)"] == pytest.approx(2.0, abs=0.05)


def test_guided_samples_have_the_motif(made, here, capsys):
    settings = [f"prior={made / 'tiny.safetensors'}", "domain=dna", "num_samples=8", "output=run"]
    assert main(["sample", *settings, "reward=motif", "reward.motif=MA0004.1", "guidance=tag", "guidance.scale=2"]) == 0
    assert "value calls" in capsys.readouterr().out
    figures = json.loads((here / "run" / "run.json").read_text())["figures"]
    assert figures["guided"]["reward"] > figures["unguided"]["reward"] + 3


def test_training_on_a_file(made, here, capsys):
    small = "{width:8,kernel:3,dilations:[1],max_length:32}"
    numbers = {"steps": 4, "batch_size": 4, "validation": 4, "validate_every": 4, "window": 32}
    settings = [f"trainer.{key}={value}" for key, value in numbers.items()] + [f"trainer.network.options={small}"]
    assert main(["train", "domain=dna", f"data={made / 'genome.fasta'}", "output=new/mine.safetensors", *settings]) == 0
    assert "written to new/mine.safetensors: updates 4" in " ".join(capsys.readouterr().out.split())
    prior = load_domain("dna").load_prior("new/mine.safetensors")
    assert prior.event_shape == (32,) and not prior.labels and "genome.fasta" in prior.card["data"]
    assert gk.sample(prior, None, 2, steps=4).samples.max() < 4  # no mask is left


def test_list_shows_the_discrete_domains(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    lines = {cells[1].strip(): cells for cells in (line.split("│") for line in printed.split("\n")) if len(cells) > 3}
    for name in ("dna", "proteins", "molecules"):
        assert set(load_domain(name).rewards) <= set(lines)
    assert set(group_choices("sampler")) - {"default"} <= set(lines)
    assert set(group_choices("guidance")) - {"none"} <= set(lines)
    assert "a condition" in lines["cfg"][3] and "differentiable objective" in lines["tag"][3]
    assert "tokens" in lines["dcbg"][4] and "contrast" in lines["cfg"][5]
