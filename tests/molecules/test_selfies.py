import random
import sys

import pytest
import torch
from rdkit import Chem

from guidekit.domains.molecules.data import ASSETS, parse, qm9_smiles, reference_smiles
from guidekit.domains.molecules.notation import SELFIES, expressible
from guidekit.domains.molecules.selfies_tokenizer import SelfiesTokenizer, tokenizer_from_text
from guidekit.domains.molecules.tokenizer import SmilesTokenizer
from guidekit.extras import MissingExtraError

SET = random.Random(0).sample(qm9_smiles(), 300) + reference_smiles(100)


def canonical(smiles: str) -> str:
    return Chem.MolToSmiles(Chem.MolFromSmiles(smiles))


@pytest.fixture(scope="module")
def codec() -> SelfiesTokenizer:
    return SelfiesTokenizer.train(SET, merges=0)


def test_round_trip_keeps_the_molecule(codec):
    tokens = codec.encode(SET)
    assert [canonical(s) for s in codec.decode(tokens)] == [canonical(s) for s in SET]
    assert all(piece[0] == "[" and piece[-1] == "]" and piece.count("[") == 1 for piece in codec.pieces[1:])
    assert codec.pieces[0] == "" and codec.vocab_size == len(codec.symbols) + 1


def test_merges_shorten_and_still_decode(codec):
    merged = SelfiesTokenizer.train(SET, merges=60, min_frequency=2)
    assert merged.vocab_size == codec.vocab_size + 60
    assert (merged.encode(SET) > 0).sum() < 0.8 * (codec.encode(SET) > 0).sum()
    assert [canonical(s) for s in merged.decode(merged.encode(SET))] == [canonical(s) for s in SET]


def test_random_tokens_are_molecules(codec):
    tokens = torch.randint(1, codec.vocab_size, (200, 20), generator=torch.Generator().manual_seed(0))
    texts = [text for text in codec.decode(tokens) if text]
    assert len(texts) > 150 and all(parse(text)[0] is not None for text in texts)
    assert codec.decode(torch.zeros(1, 4, dtype=torch.int64)) == [""]


def test_what_selfies_cannot_express_is_refused(codec):
    for bad in ("CC(C)(C)(C)C", "C1CC", "*C", ""):
        with pytest.raises(ValueError, match="SELFIES cannot express .*leave the molecule out"):
            codec.encode([bad])
    texts, refused = expressible(["CCO", "*C", "C", "C1CC"], SELFIES)
    assert texts == ["[C][C][O]", "[C]"] and refused == [1, 3]
    with pytest.raises(ValueError, match="is no SELFIES"):
        SELFIES.read("[C][Zz9]")
    with pytest.raises(ValueError, match=r"symbol '\[I\]' at column 4"):
        codec.encode(["CI"])


def test_text_names_its_notation(codec, tmp_path):
    again = tokenizer_from_text(codec.dumps())
    assert type(again) is SelfiesTokenizer and again.pieces == codec.pieces
    assert type(tokenizer_from_text((ASSETS / "codec.json").read_text())) is SmilesTokenizer
    codec.save(tmp_path / "codec.json")
    assert SelfiesTokenizer.load(tmp_path / "codec.json").pieces == codec.pieces
    with pytest.raises(ValueError, match="expected 'guidekit smiles codec 1'"):
        SmilesTokenizer.load(tmp_path / "codec.json")
    with pytest.raises(ValueError, match="readable are guidekit smiles codec 1, guidekit selfies codec 1"):
        tokenizer_from_text('{"format": "guidekit codec of the future"}')
    for damaged in ("", "{", "[]", "{}"):
        with pytest.raises(ValueError, match="no readable tokenizer"):
            tokenizer_from_text(damaged)


def test_missing_package_names_the_extra(codec, monkeypatch):
    monkeypatch.setitem(sys.modules, "selfies", None)
    with pytest.raises(MissingExtraError, match=r"guidekit\[molecules\]"):
        codec.encode(["C"])
