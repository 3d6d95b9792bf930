import random

import pytest
import torch
from rdkit import Chem, rdBase

from guidekit.domains.molecules.data import ASSETS, parse, qm9_smiles, reference_smiles
from guidekit.domains.molecules.selfies_tokenizer import SelfiesTokenizer
from guidekit.domains.molecules.tokenizer import SmilesTokenizer, split_symbols
from guidekit.domains.molecules.verifier import SmilesVerifier, scan, violation

ALPHABET = [*"CNOFcno()=#-.1234[]+H", "Cl", "Br", "[nH]", "[NH3+]", "[O-]", "[13CH4]", "%12"]


@pytest.fixture(scope="module")
def verify() -> SmilesVerifier:
    return SmilesVerifier(SmilesTokenizer.train([*ALPHABET, *"%=/:"], merges=0))


@pytest.mark.parametrize(
    "smiles, wrong",  # and the number of the atom-level symbol that is wrong
    [
        ("C(CC", 1),
        ("C(C(C)C", 1),
        ("CC)C", 2),
        ("CCC1CC", 3),
        ("C%12CC", 1),
        ("CC=(C)C", 3),
        ("C==O", 2),
        ("=CC", 0),
        ("CC=", 2),
        ("CC(=1)C1", 4),
        ("CC(C==O)C", 5),  # a bracket that is closed later is not to blame
        ("C1CC==C1", 5),  # nor is a ring
        ("C()C", 2),
        ("C..C", 2),
        ("C]C", 1),
        ("CCl[CC", 2),
        ("ClC(C)(C)(C)C", 1),
        ("CO(C)C", 1),
        ("CC[NH3+](C)C", 2),
        ("C=1CC1(C)(C)=O", 4),
        ("CCn1=CC(C)CC1O", 2),
        ("CCc", 2),
        ("C11", 2),
        ("CC12CC12", 7),
    ],
)
def test_first_violation_is_one_token(verify, smiles, wrong):
    tokens = verify.tokenizer.encode([smiles], length=20)
    first, stop = verify(tokens)
    assert first.dtype == stop.dtype == torch.int64
    assert (first.tolist(), stop.tolist()) == ([wrong], [wrong + 1])


def test_kekulisation_spans_the_ring_system_only(verify):
    tokens = verify.tokenizer.encode(["CCc1cccc1CC", "c1ccccc1C(c1cccn1)=O"])
    first, stop = verify(tokens)
    assert first.tolist() == [2, 10] and stop.tolist() == [8, 16]


def test_the_first_of_several_violations_counts(verify):
    assert violation("FC(C)(C)(C)c1cccc1") == (1, 2)  # the valence comes before the ring
    assert violation("c1cccc1C(C)(C)(C)C") == (0, 6)
    assert violation("C(CC))C1(") == (5, 6)  # a bracket too many, before what stays open
    assert violation("C1C(=") == (1, 2)  # open label before the open bracket before the dangling bond


def test_valid_rows_and_padding(verify):
    texts = ["CCO", "c1ccccc1", "C1CC1", "CC(C)(C)(C)C", "N"]
    tokens = verify.tokenizer.encode(texts, length=12)
    first, stop = verify(tokens)
    assert first.tolist() == [-1, -1, -1, 1, -1] and stop.tolist() == [-1, -1, -1, 2, -1]
    gap = torch.cat([tokens[3:4, :1], torch.zeros(1, 2, dtype=torch.int64), tokens[3:4, 1:]], 1)
    assert [int(t) for t in verify(gap)] == [3, 4]  # padding is dropped wherever it stands
    empty = torch.zeros(1, 5, dtype=torch.int64)
    assert [int(t) for t in verify(empty)] == [0, 5]
    assert [t.shape for t in verify(empty[:0])] == [(0,), (0,)]


def test_merged_tokens_are_blamed_as_a_whole():
    codec = SmilesTokenizer.load(ASSETS / "codec.json")
    smiles = "c1ccc(CCC(C)(C)(C)C)cc1"
    tokens = codec.encode([smiles])
    first, stop = map(int, SmilesVerifier(codec)(tokens))
    ends = [sum(len(codec.pieces[t]) for t in tokens[0, : i + 1].tolist()) for i in range(tokens.shape[1])]
    wrong = smiles.index("C(C)(C)(C)")
    assert [0, *ends][first] <= wrong < ends[first] and stop == first + 1 < tokens.shape[1]


def test_agrees_with_rdkit_on_broken_molecules(verify):
    """The scan finds a place exactly where rdkit cannot build a graph, and every refusal gets a place."""
    rng = random.Random(0)
    for smiles in rng.sample(qm9_smiles(), 600) + reference_smiles(200):
        symbols = split_symbols(smiles)
        for _ in range(rng.choice((1, 1, 2))):
            i = rng.randrange(len(symbols))
            symbols[i : i + rng.randrange(2)] = rng.choice(([], [rng.choice(ALPHABET)], [rng.choice(ALPHABET)]))
            symbols = symbols or ["C"]
        text = "".join(symbols)
        with rdBase.BlockLogs():
            raw = Chem.MolFromSmiles(text, sanitize=False)
        place, atoms = scan(text)
        assert (raw is None) == (place is not None), text
        assert raw is None or raw.GetNumAtoms() == len(atoms), text
        if parse(text)[0] is None and len(atoms) > 3:
            start, stop = violation(text)
            assert 0 <= start < stop <= len(text) and (start, stop) != (0, len(text)), text


def test_other_notations_are_refused():
    with pytest.raises(ValueError, match="the prior spells SELFIES"):
        SmilesVerifier(SelfiesTokenizer.train(["CCO"], merges=0))
