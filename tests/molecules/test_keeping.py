"""Rules that every valid molecule keeps, judged by RDKit, on small untrained networks and on texts of few symbols."""

import itertools

import pytest
import torch
from rdkit import Chem

import guidekit as gk
from guidekit.cli import main
from guidekit.core.random import Draw, KeyedRandom
from guidekit.domains.molecules import MoleculeCodec, Molecules, SmilesTokenizer
from guidekit.domains.molecules.files import parse
from guidekit.domains.molecules.fragments import Fragment
from guidekit.domains.molecules.notation import SMILES
from guidekit.domains.molecules.spelling import grammar, holding
from guidekit.networks import SequenceTransformer
from guidekit.priors.tokens import TokenPrior
from guidekit.processes import accepted, languages

SEEN = [
    "CCc1ccc(-c2ccncc2)cc1", "CN1CCN(C(=O)c2ccccc2)CC1", "O=C(NCC#N)c1cc(F)cs1", "CC1(C)OC1C(=O)O", "c1ccc2ncncc2c1",
    "C[N+](C)(C)CC(=O)[O-].Cl", "NS(=O)(=O)c1ccc(Cl)cc1", "c1c[nH]c(C2CC2)n1", "[O]N1CCCC1", "C1CC2CC1C2",
]  # fmt: skip


def prior(seed=0, temperature=0.3, length=14):
    """An untrained prior of molecules of 3 to `length` tokens, symbols and pairs of them."""
    torch.manual_seed(seed)
    tokenizer = SmilesTokenizer.train(SEEN * 20, merges=40, min_frequency=2)
    network = SequenceTransformer(tokenizer.vocab_size, max_length=length, width=16, depth=1, heads=2, pad_id=0)
    made = TokenPrior(network, tokenizer.vocab_size, [0] * 3 + [1] * (length - 2), 0, temperature=temperature)
    made.codec = MoleculeCodec(tokenizer, length)
    return made


def symbols_of(molecule):
    return {atom.GetSymbol() for atom in molecule.GetAtoms()}


def holds(smarts):
    pattern = Chem.MolFromSmarts(smarts)
    return lambda molecule: molecule.HasSubstructMatch(pattern)


RULES = {
    "phenyl": (dict(contains="[*]c1ccccc1"), holds("*-c1[cH][cH][cH][cH][cH]1")),
    "quinazoline": (dict(contains="c1ccc2ncncc2c1"), holds("c1ccc2ncncc2c1")),
    "linker": (dict(contains="[*]N1CCN([*])CC1"), holds("*N1[CH2][CH2]N(*)[CH2][CH2]1")),
    "two": (
        dict(contains=["[*]C#N", "[*]c1ccncc1"]),
        lambda molecule: holds("*C#N")(molecule) and holds("*c1[cH][cH]n[cH][cH]1")(molecule),
    ),
    "elements": (dict(elements="CNO"), lambda molecule: symbols_of(molecule) <= set("CNO")),
    "avoid": (dict(avoid=["S", "Cl"]), lambda molecule: not symbols_of(molecule) & {"S", "Cl"}),
    "size": (dict(heavy_atoms="6..8"), lambda molecule: 6 <= molecule.GetNumHeavyAtoms() <= 8),
    "least": (dict(heavy_atoms="9..999"), lambda molecule: molecule.GetNumHeavyAtoms() >= 9),
    "single": (dict(single=True), lambda molecule: len(Chem.GetMolFrags(molecule)) == 1),
    "neutral": (dict(neutral=True), lambda molecule: not any(a.GetFormalCharge() for a in molecule.GetAtoms())),
    "closed": (
        dict(closed_shell=True),
        lambda molecule: not any(a.GetNumRadicalElectrons() for a in molecule.GetAtoms()),
    ),
    "several": (
        dict(contains="[*]C(=O)N[*]", heavy_atoms=9, elements="CNOF", neutral=True),
        lambda molecule: holds("*C(=O)[NH]*")(molecule) and molecule.GetNumHeavyAtoms() == 9,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", RULES)
def test_every_valid_sample_keeps_the_rules(name):
    rules, kept = RULES[name]
    domain, made = Molecules(), prior()
    guidance = domain.keep(made, **rules)
    found = gk.sample(made, guidance, 300, steps=8)
    valid = [molecule for molecule in found.objects() if molecule is not None]
    assert len(valid) > 4 and all(map(kept, valid))
    assert made.codec.texts(found.samples).count("") <= 3  # hardly any had to be emptied, see docs/molecules.md
    assert not all(map(kept, map(Chem.MolFromSmiles, SEEN)))


PIECES = {
    "[*]c1ccccc1": ["C", "N", "=", "(", ")", "c1ccccc1", "c2ccccc2", "cc1", "1"],
    "[*]c1ccc([*])cc1": ["C", "-", "(", ")", "c1ccc(", "cc1", "c1ccc(C)cc1", "N"],
    "C=N": ["C", "N", "=", "(", ")", "O", "1", "#"],
    "[*]C(=O)N[*]": ["C", "(", ")", "C(=O)N", "NC(=O)", "(=O)", "O=", "1"],
    "O=C[*]": ["C", "O=", "=O", "N", "(", ")", "1", "C="],
}


def reader(rule, symbols):
    """Whether a text is accepted by an automaton of symbols."""
    moves, final = rule.moves.tolist(), rule.ends.tolist()

    def accepts(text):
        state = 0
        for symbol in SMILES.split(text):
            state = moves[state][symbols.index(symbol) + 1]
            if state < 0:
                return False
        return final[state]

    return accepts


@pytest.mark.parametrize("text", PIECES)
def test_texts_that_spell_a_fragment_hold_it_and_those_of_rdkit_are_spelled(text):
    """All texts of at most five pieces that are molecules: accepted ones hold it; most canonical ones are accepted."""
    fragment, pieces = Fragment(text), PIECES[text]
    symbols = sorted({one for piece in [*pieces, "2", "-", "C"] for one in SMILES.split(piece)})
    spells = reader(holding(fragment, symbols), symbols)
    texts = ["".join(one) for length in range(1, 6) for one in itertools.product(pieces, repeat=length)]
    told = [one for one in texts if spells(one)]
    molecules = [molecule for molecule in (parse(one)[0] for one in told[::5]) if molecule is not None]
    assert len(molecules) > 10 and all(map(fragment.held_by, molecules))
    canonical = {Chem.MolToSmiles(molecule) for molecule in molecules if len(Chem.GetMolFrags(molecule)) == 1}
    known = [one for one in canonical if set(SMILES.split(one)) <= set(symbols)]
    assert sum(map(spells, known)) > 0.8 * len(known)


def test_grammar_accepts_canonical_smiles_and_no_open_brackets_or_rings():
    texts = [one for one in SEEN if "." not in one]
    symbols = sorted({symbol for one in texts for symbol in SMILES.split(one)})
    accepts = reader(grammar(symbols), symbols)
    assert all(map(accepts, texts))
    assert not any(map(accepts, ["CC(", "C)C", "C1CC", "C=", "C()C", "(C)C", "C(=O)N1C2CC2"]))


def test_draws_follow_the_law_given_that_a_fragment_is_spelled():
    """Total variation within .02 of the law of independent tokens of four places, padding behind, given the rule."""
    pieces = ["", "C", "O", "=O", "C(=O)", ")", "CO", "N", "(=O)"]
    symbols = ["C", "O", "=", "(", ")", "N"]
    tokens = [[symbols.index(symbol) + 1 for symbol in SMILES.split(piece)] if piece else None for piece in pieces]
    rule = languages.padded(languages.spelled(holding(Fragment("[*]C(=O)[*]"), symbols), tokens), 0)
    law = (2 * torch.randn(4, 9, generator=torch.Generator().manual_seed(0))).log_softmax(-1)
    every = torch.cartesian_prod(*[torch.arange(9)] * 4)
    texts = ["".join(pieces[i] for i in row) for row in every.tolist()]
    closed = [0 not in row or not any(row[row.index(0) :]) for row in every.tolist()]
    kept = rule.accepts(every)
    assert all(closed[i] for i in kept.nonzero()[:, 0].tolist())
    molecules = [molecule for molecule in (parse(texts[i])[0] for i in kept.nonzero()[:, 0].tolist()) if molecule]
    assert len(molecules) > 10 and all(map(Fragment("[*]C(=O)[*]").held_by, molecules))
    wanted = law[torch.arange(4), every].sum(1).exp().double() * kept
    wanted = wanted / wanted.sum()
    count = 200_000
    known = torch.full((count, 4), -1)
    known[::2, 3] = 0  # half of them with a place of padding that is known
    drawn = accepted.draw_classed(rule, law.expand(count, -1, -1), Draw(KeyedRandom(0, 0, count), (0,), "x"), known)
    for part, given in ((drawn[1::2], wanted), (drawn[::2], wanted * (every[:, 3] == 0))):
        share = (part * 9 ** torch.arange(3, -1, -1)).sum(1).bincount(minlength=9**4) / len(part)
        assert (share - given / given.sum()).abs().sum() / 2 < 0.02


def test_lengths_follow_the_chance_that_the_rule_is_kept():
    """Of lengths alike, those are drawn as often as the first belief keeps the rule, among what the grammar allows."""
    domain, made = Molecules(), prior()
    rules = domain.keep(made, heavy_atoms=4)
    lengths = (gk.sample(made, rules, 2000, steps=4).samples != 0).sum(1).bincount(minlength=15) / 2000
    wanted = rules.lengths.exp() * (made.length_counts > 0)
    assert (lengths - wanted / wanted.sum()).abs().sum() / 2 < 0.05
    assert wanted.argmax() < 8


def test_rules_are_kept_beside_other_guidance():
    domain, made = Molecules(), prior()
    rules, reward = domain.keep(made, contains="[*]c1ccccc1", avoid="S"), domain.rewards.make("qed")
    for guidance in (
        gk.chain(rules, gk.guidance.SVDD(reward, 4)),
        gk.chain(rules, gk.guidance.FKSteering(reward, particles=4)),
        gk.chain(rules, gk.guidance.BestOfN(reward, 3)),
    ):
        found = [one for one in gk.sample(made, guidance, 20, steps=8).objects() if one is not None]
        assert found and all(holds("*-c1[cH][cH][cH][cH][cH]1")(one) and "S" not in symbols_of(one) for one in found)


BAD = {
    "{contains: c1cccc}": "is no SMILES of a fragment",
    "{contains: [1]}": "a SMILES or a list of SMILES",
    "{contains: 'C.C'}": "no single fragment",
    "{contains: '[*]'}": "has one bond",
    "{contains: 'C[*]C'}": "has one bond",
    "{contains: '[C@H](N)(O)[*]'}": "stereochemistry",
    "{contains: '[*]P'}": "needs P, which this prior's vocabulary lacks",
    "{contain: C}": "did you mean 'contains'",
    "{elements: CX}": "elements are needed",
    "{avoid: 3}": "elements are needed",
    "{heavy_atoms: 0}": "from 1 on",
    "{heavy_atoms: 9..3}": "the least one first",
    "{heavy_atoms: many}": "a number is needed, or a range",
    "{heavy_atoms: 500}": "samples of this prior have at most",
    "{elements: C, contains: '[*]c1ccncc1'}": "keeps contains and elements",
    "{single: 1}": "true or false",
    "{neutral: false}": "no rule is given",
}


@pytest.mark.parametrize("rules", BAD)
def test_bad_rules_are_one_line(rules, capsys, tmp_path):
    code = main(["sample", "domain=molecules", f"keep={rules}", "num_samples=1", f"output={tmp_path / 'x'}"])
    error = capsys.readouterr().err.strip()
    assert code == 2 and BAD[rules] in error and "\n" not in error
    assert not (tmp_path / "x").exists()


def test_command_line(tmp_path):
    arguments = ["num_samples=4", "steps=3", "baseline=false", "keep={contains: 'c1ccc2ncncc2c1[*]', elements: CNO}"]
    assert main(["sample", "domain=molecules", *arguments, f"output={tmp_path / 'run'}"]) == 0
    found = [
        Chem.MolFromSmiles(line.split()[0]) for line in (tmp_path / "run" / "samples.smi").read_text().splitlines()
    ]
    assert found and all(holds("c1ccc2ncncc2c1")(one) and symbols_of(one) <= set("CNO") for one in found)
