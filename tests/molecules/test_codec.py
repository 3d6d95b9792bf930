import json

import numpy as np
import pytest
import torch

from guidekit.domains.molecules.data import ASSETS, qm9_smiles, reference_smiles
from guidekit.domains.molecules.tokenizer import SmilesTokenizer, split_symbols


@pytest.fixture(scope="module")
def codec() -> SmilesTokenizer:
    return SmilesTokenizer.load(ASSETS / "codec.json")


@pytest.fixture(scope="module")
def smiles() -> list[str]:
    return reference_smiles(500)


def test_symbols_join_to_the_string():
    text = "C[N+](C)(C)CC(Cl)%12CBr%12[nH]"
    assert split_symbols(text) == [
        "C",
        "[N+]",
        "(",
        "C",
        ")",
        "(",
        "C",
        ")",
        "C",
        "C",
        "(",
        "Cl",
        ")",
        "%12",
        "C",
        "Br",
        "%12",
        "[nH]",
    ]
    assert "".join(split_symbols(text)) == text


def test_round_trip(codec, smiles):
    tokens = codec.encode(smiles)
    assert tokens.dtype == torch.int64 and tokens.shape[0] == 500
    assert codec.decode(tokens) == smiles
    assert (tokens != 0).sum(1).max() == tokens.shape[1]  # no wider than the longest


def test_ids_follow_the_conventions(codec):
    assert (codec.pad_id, codec.vocab_size) == (0, 24 + 1024 + 1)
    assert codec.pieces[0] == "" and list(codec.pieces[1:25]) == list(codec.symbols)
    model = codec.pairs.get_vocab()
    assert model[chr(0xE000)] == 0 and codec.symbols[0] == "#"
    # Recorded from the ids the first prior was trained on; training set lines 1 and 2.
    smiles = ["CCCS(=O)c1ccc2[nH]c(=NC(=O)OC)[nH]c2c1", "CC(C)(C)C(=O)C(Oc1ccc(Cl)cc1)n1ccnc1"]
    first, second = codec.encode(smiles).tolist()
    assert first == [61, 74, 770, 32, 11, 40, 109, 20, 182]
    assert second == [205, 34, 30, 17, 293, 3, 42, 25, 133]


def test_padding_and_ragged_agree(codec, smiles):
    padded = codec.encode(smiles, length=40)
    tokens, offsets = codec.ragged(smiles)
    assert padded.shape == (500, 40) and tokens.dtype == np.uint16 and offsets.dtype == np.int64
    assert offsets[0] == 0 and offsets[-1] == len(tokens) and tokens.min() >= 1
    for i in (0, 7, 499):
        assert padded[i][padded[i] > 0].tolist() == tokens[offsets[i] : offsets[i + 1]].tolist()
    assert [len(a) for a in codec.ragged([])] == [0, 1]
    assert codec.encode([]).shape == (0, 0) and codec.encode([""], length=3).tolist() == [[0, 0, 0]]


def test_padding_is_dropped_wherever_it_stands(codec):
    row = codec.encode(["CCO"])[0].tolist()
    assert codec.decode(torch.tensor([[0, *row, 0], [0] * (len(row) + 2)])) == ["CCO", ""]


def test_too_long_is_an_error(codec):
    with pytest.raises(ValueError, match=r"SMILES 1 has \d+ tokens, the limit is 2"):
        codec.encode(["CC", reference_smiles(1)[0]], length=2)


def test_unknown_symbol_is_named_with_its_place(codec):
    with pytest.raises(ValueError, match=r"symbol '\[Na\+\]' at column 4 of 'CCl\[Na\+\]'"):
        codec.encode(["CCl[Na+]"])
    with pytest.raises(ValueError, match="symbol '/' at column 2"):
        codec.ragged(["C/C=C/C"])


def test_mask_id_and_wrong_shape_do_not_decode(codec):
    with pytest.raises(ValueError, match="id 1049 at row 0, column 1"):
        codec.decode(torch.tensor([[1, codec.vocab_size]]))
    with pytest.raises(ValueError, match="id -1 "):
        codec.decode(torch.tensor([[-1]]))
    with pytest.raises(ValueError, match="expected integers of shape"):
        codec.decode(torch.tensor([1, 2]))


def test_without_merges_every_token_is_one_symbol():
    smiles = qm9_smiles()
    codec = SmilesTokenizer.train(smiles, merges=0)
    assert codec.vocab_size == 31 and codec.pieces == ("", *codec.symbols)
    assert {"[NH3+]", "[O-]", "[nH]", "c", "5"} < set(codec.symbols)
    assert max(len(split_symbols(s)) for s in smiles) == 22 <= 32  # the published length
    some = smiles[::100]
    assert codec.decode(codec.encode(some, length=32)) == some
    assert (codec.encode(some) > 0).sum(1).tolist() == [len(split_symbols(s)) for s in some]
    special = ["CCl", "CBr", "C%12CC%12", "C[13CH3]", "C[N+](C)(C)C"]
    again = SmilesTokenizer.train(special, merges=0)
    assert (again.encode(special) > 0).sum(1).tolist() == [2, 2, 5, 2, 9]


def test_training_saving_and_loading(tmp_path, smiles):
    small = SmilesTokenizer.train(smiles, merges=30, min_frequency=2)
    assert small.vocab_size == len(small.symbols) + 30 + 1
    small.save(tmp_path / "codec.json")
    again = SmilesTokenizer.load(tmp_path / "codec.json")
    assert again.pieces == small.pieces and torch.equal(again.encode(smiles), small.encode(smiles))
    assert (again.encode(smiles) > 0).sum() < sum(len(split_symbols(s)) for s in smiles)  # merges shorten
    with pytest.raises(ValueError, match="0 different symbols"):
        SmilesTokenizer.train([])


@pytest.mark.parametrize(
    "change",
    [
        lambda c: c.pop("symbols"),
        lambda c: c.update(format="other"),
        lambda c: c["symbols"].pop(),
        lambda c: c.update(tokenizer={}),
    ],
)
def test_damaged_file_is_one_clear_error(tmp_path, change):
    content = json.loads((ASSETS / "codec.json").read_text())
    change(content)
    (tmp_path / "bad.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="no readable tokenizer"):
        SmilesTokenizer.load(tmp_path / "bad.json")
