"""Rules that every sample of DNA and of proteins keeps, judged in plain Python, on small untrained networks."""

import re

import pytest
import torch
from Bio.Seq import Seq

import guidekit as gk
from guidekit.cli import main
from guidekit.domains.dna import Dna, Proteins
from guidekit.networks import SequenceTransformer
from guidekit.priors.tokens import TokenPrior

LENGTH = 40


def prior(domain, seed=0):
    """An untrained prior of sequences; of proteins, of 4 to 40 residues."""
    torch.manual_seed(seed)
    alphabet = domain.alphabet
    options = {} if alphabet.pad_id is None else {"pad_id": alphabet.pad_id}
    network = SequenceTransformer(alphabet.vocab_size, max_length=LENGTH, width=16, depth=1, heads=2, **options)
    counts = [0] * 4 + [1] * (LENGTH - 3) if alphabet.pad_id is not None else [0] * LENGTH + [1]
    made = TokenPrior(network, alphabet.vocab_size, counts, alphabet.pad_id, temperature=0.3)
    made.codec = domain.codec_for(made, {})
    return made


def both(word):
    """A word of letters on both strands, as a pattern."""
    return f"{word}|{Seq(word).reverse_complement()}"


DNA_RULES = {
    "at": (dict(at={1: "GGTCTC", -3: "TAR"}), lambda s: s.startswith("GGTCTC") and s[-3:] in ("TAA", "TAG")),
    "letters": (dict(letters={"5-20": "AT", "30": "S"}), lambda s: set(s[4:20]) <= set("AT") and s[29] in "CG"),
    "contains": (dict(contains="TTGACA-N(5,7)-TATAAT"), lambda s: re.search("TTGACA.{5,7}TATAAT", s)),
    "avoid": (dict(avoid=["AC", "BsaI"]), lambda s: not re.search(both("AC") + "|" + both("GGTCTC"), s)),
    "one strand": (dict(avoid="AA", both_strands=False), lambda s: "AA" not in s),
    "orf": (
        dict(orf={"start": 3, "codons": 10}),
        lambda s: s[2:5] == "ATG" and str(Seq(s[2:32]).translate()).find("*") == 9,
    ),
    "encodes": (dict(encodes={"peptide": "MLSR*", "start": 5}), lambda s: str(Seq(s[4:19]).translate()) == "MLSR*"),
    "gc": (dict(gc=[0.5, 0.55]), lambda s: 20 <= s.count("G") + s.count("C") <= 22),
    "count": (
        dict(count={"A": 3, "CG": [25, 30]}),
        lambda s: s.count("A") == 3 and 25 <= len(re.findall("[CG]", s)) <= 30,
    ),
    "several": (
        dict(orf={"start": 1, "codons": 8}, avoid=["EcoRI"], contains=["GGNCC"], gc=[0.4, 0.6]),
        lambda s: str(Seq(s[:24]).translate()).find("*") == 7 and "GAATTC" not in s and re.search("GG.CC", s),
    ),
}
PROTEIN_RULES = {
    "ends": (dict(at={1: "M", -4: "KDEL"}), lambda s: s[0] == "M" and s.endswith("KDEL")),
    "far": (dict(at={20: "WW"}), lambda s: s[19:21] == "WW"),
    "finger": (dict(contains="C-X(2,3)-C"), lambda s: re.search("C.{2,3}C", s)),
    "glycosylation": (dict(avoid="N{P}[ST]"), lambda s: not re.search("N[^P][ST]", s)),
    "count": (dict(count={"C": 2, "KR": [3, 5]}), lambda s: s.count("C") == 2 and 3 <= len(re.findall("[KR]", s)) <= 5),
    "letters": (dict(letters={"2-40": "ACDEF"}), lambda s: set(s[1:]) <= set("ACDEF")),
}


@pytest.mark.parametrize(
    "domain, rules, holds",
    [(Dna(), *one) for one in DNA_RULES.values()] + [(Proteins(), *one) for one in PROTEIN_RULES.values()],
    ids=[*(f"dna {name}" for name in DNA_RULES), *(f"proteins {name}" for name in PROTEIN_RULES)],
)
def test_every_sample_keeps_the_rules(domain, rules, holds):
    made = prior(domain)
    sequences = gk.sample(made, domain.keep(made, **rules), 40, steps=10).objects()
    assert all(sequence is not None and holds(sequence) for sequence in sequences)
    assert len(set(sequences)) > 30
    free = gk.sample(made, None, 40, steps=10).objects()
    assert not all(holds(sequence) for sequence in free)


def test_rules_are_kept_beside_other_guidance():
    domain = Dna()
    made = prior(domain)
    rules, reward = domain.keep(made, at={1: "ATG"}, avoid="GGNCC"), domain.rewards.make("gc", low=0.7, high=1.0)
    for guidance in (
        gk.chain(rules, gk.guidance.SVDD(reward, 4)),
        gk.chain(rules, gk.guidance.FKSteering(reward, particles=4)),
        gk.chain(gk.guidance.TAG(reward), rules),
        gk.chain(rules, gk.guidance.BestOfN(reward, 3)),
    ):
        sequences = gk.sample(made, guidance, 12, steps=10).objects()
        assert all(one.startswith("ATG") and not re.search("GG.CC", one) for one in sequences)


def test_letters_that_are_given_are_seen_by_the_prior_from_the_start():
    domain = Dna()
    made = prior(domain)
    grammar = domain.keep(made, at={5: "ACGT"})
    from guidekit.sampling import prepare

    begun = prepare(made, grammar, 2, 4).setup.part(0, 2).begin()
    assert begun.state[:, 4:8].tolist() == [[0, 1, 2, 3]] * 2
    assert (begun.state == 4).sum() == 2 * (LENGTH - 4)


def test_lengths_that_cannot_keep_the_rules_are_not_drawn():
    domain = Proteins()
    made = prior(domain)
    lengths = {len(one) for one in gk.sample(made, domain.keep(made, at={35: "M"}), 60, steps=8).objects()}
    assert min(lengths) >= 35 and len(lengths) > 3


BAD = {
    "{at: {1: GAJ}}": "holds 'J'; DNA letters are ACGT",
    "{att: {1: A}}": "did you mean 'at'",
    "{}": "names no rule; accepted: at",
    "{at: {254: GAATTC}}": "do not end within the 256",
    "{at: {0: A}}": "no position",
    "{at: [A]}": "positions and words are needed",
    "{at: {1: 'A-N(2,3)'}}": "use contains=",
    "{at: {1: GAATTC}, avoid: [EcoRI]}": "no sequence of 256 letters keeps at and avoid",
    "{avoid: 3}": "a word or a list of words",
    "{avoid: ['A(']}": "cannot be read from",
    "{avoid: [A,C,G,T]}": "no sequence of 256 letters keeps avoid",
    "{contains: ['N(300)']}": "needs 300 letters; sequences have at most 256",
    "{letters: {900: A}}": "positions are 1 to 256",
    "{orf: {start: 1}}": "needed are codons",
    "{orf: {start: 250, codons: 9}}": "do not end within",
    "{encodes: MXB}": "is no amino acid",
    "{gc: [60, 70]}": "two shares from 0 to 1",
    "{count: {A: [3, 1]}}": "no range of whole numbers",
    "{both_strands: 1, avoid: A}": "true or false",
    "ATG": "a mapping or null is needed",
}


@pytest.mark.parametrize("rules", BAD)
def test_bad_rules_are_one_line(rules, capsys, tmp_path):
    code = main(["sample", "domain=dna", f"keep={rules}", "num_samples=1", f"output={tmp_path / 'x'}"])
    error = capsys.readouterr().err.strip()
    assert code == 2 and BAD[rules] in error and "\n" not in error
    assert not (tmp_path / "x").exists()


def test_domains_without_rules_say_so(capsys):
    assert main(["sample", "domain=graphs", "keep={at: {1: A}}"]) == 2
    assert "domain graphs has no rules that graphs could keep" in capsys.readouterr().err


def test_command_line(tmp_path):
    arguments = ["domain=dna", "num_samples=2", "steps=2", "keep={at: {1: GGTCTC}, contains: ['TTGACA-N(2)-TATAAT']}"]
    assert main(["sample", *arguments, f"output={tmp_path / 'run'}"]) == 0
    text = (tmp_path / "run" / "samples.csv").read_text()
    assert len(re.findall(r"^\d,GGTCTC\w*TTGACA..TATAAT", text, re.MULTILINE)) == 2
    reflected = ["guidance=reflection", "guidance.forbidden=[EcoRI]"]
    assert main(["sample", *arguments, *reflected, f"output={tmp_path / 'b'}"]) == 2
