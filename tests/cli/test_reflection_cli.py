"""`guidekit sample guidance=reflection`: rules of the three domains, and what is said of bad ones."""

import csv
import json

import pytest
import torch

from guidekit.cli import main
from guidekit.errors import UnknownNameError
from guidekit.installed import load_domain
from guidekit.networks import DilatedConvolution
from guidekit.objectives import ForbiddenWords
from guidekit.priors.checkpoints import save_checkpoint


@pytest.fixture
def prior(tmp_path):
    """A checkpoint of an untrained prior of DNA."""
    torch.manual_seed(0)
    options = {"vocab_size": 4, "max_length": 48, "width": 8, "kernel": 3, "dilations": [1, 2]}
    description = {"domain": "dna", "network": {"name": "dilated_convolution", "options": options}, "vocab_size": 4}
    description |= {"pad_id": None, "length_counts": [0] * 48 + [1], "card": {}}
    save_checkpoint(tmp_path / "prior.safetensors", DilatedConvolution(**options), description)
    return f"prior={tmp_path / 'prior.safetensors'}"


def test_no_forbidden_word_is_left(prior, tmp_path, capsys):
    settings = ["domain=dna", prior, "num_samples=12", "steps=16", "guidance.forbidden=[BsaI,GATC,TNA]"]
    assert main(["sample", *settings, "guidance=reflection", f"output={tmp_path / 'out'}"]) == 0
    assert "sequences that break the rule: 11 before reflection, 0 after it" in capsys.readouterr().out
    found = {}
    for name in ("samples", "unguided"):
        rows = csv.DictReader((tmp_path / "out" / f"{name}.csv").open())
        text = " ".join(row["sequence"] for row in rows)
        found[name] = sum(text.count(word) for word in ("GGTCTC", "GAGACC", "GATC", "TAA", "TTA", "TCA", "TGA"))
    assert found["samples"] == 0 < found["unguided"]
    ledger = json.loads((tmp_path / "out" / "run.json").read_text())["ledger"]
    assert ledger["guided"]["reward_calls"] == 0 and ledger["guided"]["network_rows"] > 12 * 16


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["guidance.forbidden=[EcoR1]"], "did you mean 'EcoRV' or 'EcoRI'"),
        (["guidance.forbidden=[GAXTC]"], "no restriction enzyme (or site of IUPAC letters) named 'GAXTC'"),
        ([], "say what sequences must not hold: guidance.forbidden="),
        (["guidance.forbidden=[GAT]", "guidance.window=-1"], "window must be a whole number of at least 0, got -1"),
        (["guidance.forbidden=[GAT]", "guidance.tries=0"], "tries must be a whole number of at least 1, got 0"),
        (["guidance.forbidden=[GAT]", "guidance.score=gc"], "there is no checkpoint gc"),
    ],
)
def test_bad_rules_are_answered_in_one_line(settings, said, prior, capsys):
    assert main(["sample", "domain=dna", prior, "guidance=reflection", *settings]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error and "\n" not in error


def test_words_of_dna_are_looked_for_on_both_strands():
    domain = load_domain("dna", length=12)
    verifier = domain.verifier(["EcoRI", "GGNCC", "aag"])
    sequences = ["AGAATTCAAAAA", "CCCCTTCCCCCC", "ACGGTCCAAAAA", "TTTTTTGGACCT", "ACACACACACAC"]
    first, stop = verifier(domain.codec.encode(sequences))
    assert list(zip(first.tolist(), stop.tolist(), strict=True)) == [(1, 7), (3, 6), (2, 7), (6, 11), (-1, -1)]
    assert domain.verifier("EcoRI").words == domain.verifier(["GAATTC"]).words
    with pytest.raises(UnknownNameError):
        domain.verifier([""])


def test_words_of_proteins_have_one_strand_and_a_joker():
    domain = load_domain("proteins", length=6)
    verifier = domain.verifier(["NXS", "WW"])
    assert isinstance(verifier, ForbiddenWords)
    first, stop = verifier(domain.codec.encode(["ANQSA", "SQNWWA", "NAQ", "SQN"]))
    assert first.tolist() == [1, 3, -1, -1] and stop.tolist() == [4, 5, -1, -1]
    for wrong in ("N-S", "NBS", ""):
        with pytest.raises(ValueError, match="forbidden word"):
            domain.verifier([wrong])
    with pytest.raises(ValueError, match="say what proteins must not hold"):
        domain.verifier()


def test_molecules_take_validity_and_substructures():
    domain = load_domain("molecules")
    smiles = ["CCO", "CCC(=O)CN", "CC(C)(C)(C)C"]
    tokens = domain.codec.encode(smiles)
    assert (domain.verifier()(tokens)[0] >= 0).tolist() == [False, False, True]
    first, stop = domain.verifier(["C=O"])(tokens)
    assert (first >= 0).tolist() == [False, True, True]
    held = "".join(domain.codec.tokenizer.pieces[token] for token in tokens[1, first[1] : stop[1]].tolist())
    assert "C(=O" in held and len(held) < len(smiles[1])
    with pytest.raises(ValueError, match="smarts 'xx\\[' is not a readable pattern"):
        domain.verifier(["xx["])
