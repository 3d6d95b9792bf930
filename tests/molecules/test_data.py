import gzip
import random

import pytest
from rdkit import Chem

from guidekit.domains.molecules.data import (
    ASSETS,
    QM9_HELD,
    parse,
    qm9_smiles,
    read,
    read_front_coded,
    reference_smiles,
    shuffled_training_smiles,
    training_smiles,
    write_front_coded,
    write_sdf,
    write_smi,
)
from guidekit.domains.molecules.figures import grid
from guidekit.errors import UnknownNameError


@pytest.mark.parametrize(
    "smiles, reason",
    [
        ("c1ccccc1O", ""),
        (" CCO ", ""),
        ("", "empty"),
        ("C(C", "parse"),
        ("hello", "parse"),
        ("CCO name", "parse"),
        ("C1CC", "ring closure"),
        ("C11", "ring closure"),
        ("C%12CC", "ring closure"),
        ("C1CC(", "parse"),
        ("CC(C)(C)(C)C", "valence"),
        ("c1cccc1", "kekulize"),
        ("cc", "kekulize"),
        ("[13CH4]1", "ring closure"),
        ("CCn1=CC(C)CC1O", "valence"),
    ],
)
def test_parse_gives_the_reason_and_prints_nothing(smiles, reason, capfd):
    molecule, found = parse(smiles)
    assert found == reason and (molecule is None) == bool(reason)
    assert capfd.readouterr() == ("", "")


def test_front_coding_round_trip(tmp_path):
    texts = ["CCO", "CC", "CC", "", "N" * 300, "N" * 300 + "C", "c1ccccc1", "\xe9", "\x85C"]
    write_front_coded(tmp_path / "a.xz", texts)
    assert read_front_coded(tmp_path / "a.xz") == sorted(texts)
    write_front_coded(tmp_path / "b.xz", [])
    assert read_front_coded(tmp_path / "b.xz") == []
    for bad in ("C\nC", "C\u4e00"):
        with pytest.raises(ValueError, match="cannot front-code"):
            write_front_coded(tmp_path / "c.xz", [bad])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.xz", "b.xz"]  # no temporary file is left


@pytest.mark.parametrize(
    "damage",
    [
        lambda b: b[: len(b) // 2],
        lambda b: b"",
        lambda b: b"CCO\nCC\n",
        lambda b: b[:40000] + bytes([b[40000] ^ 255]) + b[40001:],
    ],
)
def test_damaged_asset_is_one_clear_error(tmp_path, damage):
    path = tmp_path / "moses.front.xz"
    path.write_bytes(damage((ASSETS / "moses_test.front.xz").read_bytes()))
    with pytest.raises(ValueError, match="is damaged or no front-coded file"):
        read_front_coded(path)


def test_shipped_sets():
    training, reference = training_smiles(), reference_smiles()
    assert len(training) == 1_584_663 and len(reference) == len(set(reference)) == 15_000
    assert training == sorted(training) and not set(reference) & set(training)
    assert max(map(len, training)) == 57
    assert reference_smiles(100) == reference[:100] != sorted(reference[:100])
    drawn = random.Random(1).sample(training, 200)
    same = sum(Chem.MolToSmiles(Chem.MolFromSmiles(s)) == s for s in drawn)
    assert same >= 196  # 2 in 10,000 differ between rdkit versions
    with pytest.raises(ValueError, match="holds 15000 molecules"):
        reference_smiles(15_001)


def test_qm9():
    smiles = qm9_smiles()
    assert len(smiles) == len(set(smiles)) == 130_744 and smiles == sorted(smiles) == training_smiles("qm9")
    assert {c for s in smiles for c in s} == set("#()+-12345=CFHNO[]cno") and max(map(len, smiles)) == 34
    assert {"C", "O", "C#N", "c1ccccc1"} <= set(smiles) and sum("+" in s for s in smiles) == 579
    drawn = random.Random(1).sample(smiles, 300)
    assert sum(Chem.MolToSmiles(Chem.MolFromSmiles(s)) == s for s in drawn) >= 297
    assert max(Chem.MolFromSmiles(s).GetNumAtoms() for s in drawn) == 9


def test_qm9_reference_is_what_training_holds_out():
    order, reference = shuffled_training_smiles("qm9"), reference_smiles(data="qm9")
    assert len(reference) == QM9_HELD and not set(reference) & set(order[:-QM9_HELD])
    assert sorted(order) == qm9_smiles() != order
    assert reference_smiles(5, "moses") == reference_smiles(5) != reference_smiles(5, "qm9")
    with pytest.raises(UnknownNameError, match="qm10"):
        reference_smiles(data="qm10")


def test_training_set_of_the_user(tmp_path):
    write_smi(tmp_path / "mine.smi", ["CCO", "CCN"])
    write_front_coded(tmp_path / "mine.front.xz", ["CCO", "CCN"])
    assert training_smiles(tmp_path / "mine.smi") == ["CCO", "CCN"]
    assert training_smiles(tmp_path / "mine.front.xz") == ["CCN", "CCO"]


@pytest.mark.parametrize("suffix", [".smi", ".smi.gz", ".txt"])
def test_smi_round_trip(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_smi(path, ["CCO", "c1ccccc1"], names=["ethanol", "benzene ring"])
    assert read(path) == (["CCO", "c1ccccc1"], [], [])
    with pytest.raises(ValueError, match="1 names for 2 SMILES"):
        write_smi(path, ["C", "C"], names=["a"])


def test_malformed_lines(tmp_path):
    path = tmp_path / "file.smi"
    path.write_text("SMILES name\nCCO ethanol\n\nC1CC x\r\nsmiles\nCC(C)(C)(C)C\nCN\n")
    with pytest.raises(ValueError) as caught:
        read(path)
    assert str(caught.value) == (
        "file.smi line 4: cannot read SMILES 'C1CC' (ring closure); pass on_error=\"skip\" to leave such lines out"
    )
    smiles, skipped, _ = read(path, on_error="skip")
    assert smiles == ["CCO", "CN"]
    assert skipped == [(4, "C1CC", "ring closure"), (5, "smiles", "repeated header"), (6, "CC(C)(C)(C)C", "valence")]
    with pytest.raises(ValueError, match="expected 'raise' or 'skip'"):
        read(path, on_error="ignore")


def test_tables(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('\ufeffid,Smiles,"note, long"\n1,CCO,"a, b"\n2,C(C,x\n3\nid,Smiles,note\n4,CN,\n')
    smiles, skipped, _ = read(path, on_error="skip")
    assert smiles == ["CCO", "CN"]
    assert skipped == [(3, "C(C", "parse"), (4, "", "empty"), (5, "Smiles", "repeated header")]
    with pytest.raises(ValueError, match="t.csv line 3: cannot read SMILES"):
        read(path)
    with pytest.raises(ValueError, match=r"no column 'smile'; it has id, Smiles, note, long; did you mean .*'Smiles'"):
        read(path, column="smile")
    with gzip.open(tmp_path / "t.tsv.gz", "wt") as file:
        file.write("structure\tvalue\nCCO\t1\n")
    assert read(tmp_path / "t.tsv.gz", column="STRUCTURE").smiles == ["CCO"]


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.smi", b"", "no molecule"),
        ("a.smi", b"smiles\n", "no molecule"),
        ("a.csv", b"", "no molecule"),
        ("a.csv", b"smiles\n", "no molecule"),
        ("a.sdf", b"", "no molecule"),
        ("a.xyz", b"CC", "suffix '.xyz'"),
        ("a.smi.gz", b"CCO\n", "not readable"),
        ("a.smi", b"\xff\xfe\n", "not readable"),
    ],
)
def test_unusable_files(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read(tmp_path / name)


def test_other_separators_and_several_components_are_told(tmp_path):
    path = tmp_path / "t.csv"
    for separator in ";|\t":
        path.write_text(f"\n\nname{separator}smiles\n5,1{separator}CCO\n2{separator}CCN.Cl\n")
        smiles, skipped, notes = read(path)
        assert (smiles, skipped) == (["CCO", "CCN.Cl"], [])
        assert notes == [
            f"t.csv: its columns are separated by {separator!r}",
            "t.csv: 1 molecules are of several components, such as salts",
        ]
    path.write_text('smiles,n\n"CC(C)C(C)C(O)=O |o1:10|",1\nC[C@H](N)O |r|,2\n')
    assert read(path).smiles == ["CC(C)C(C)C(O)=O", "C[C@H](N)O"]  # without the extension
    path.write_text("CCO,5.1\nCCN,6.2\n")
    assert read(path) == (["CCO", "CCN"], [], ["t.csv: it has no header; column 1 of 2 is read"])


def test_sdf_round_trip(tmp_path):
    path = tmp_path / "m.sdf"
    molecules = [Chem.MolFromSmiles(s) for s in ("CCO", "c1ccc2[nH]ccc2c1")]
    write_sdf(path, molecules, {"qed": [0.4, 0.5], "source": ["a", "b"]})
    assert molecules[0].GetNumConformers() == 0  # the caller's molecule is left alone
    assert read(path).smiles == ["CCO", "c1ccc2[nH]ccc2c1"]
    assert [m.GetProp("source") for m in Chem.SDMolSupplier(str(path))] == ["a", "b"]
    text = path.read_text()
    first = text.index("$$$$") + 5
    path.write_text((text[:first] + "broken\n\n\n nonsense\nM  END\n$$$$\n" + text[first:]).replace("\n", "\r\n"))
    smiles, skipped, _ = read(path, on_error="skip")
    assert smiles == ["CCO", "c1ccc2[nH]ccc2c1"]
    assert skipped == [(text[:first].count("\n") + 1, "broken", "parse")]
    with pytest.raises(ValueError, match="1 values for 2 molecules"):
        write_sdf(path, molecules, {"qed": [1.0]})


def test_grid_is_a_picture(tmp_path):
    molecules = [Chem.MolFromSmiles(s) for s in reference_smiles(5)]
    picture = grid(molecules, [f"molecule {i}" for i in range(5)], columns=3, path=tmp_path / "g.png")
    assert (tmp_path / "g.png").read_bytes() == picture
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(picture[16:20], "big"), int.from_bytes(picture[20:24], "big")) == (900, 480)
    with pytest.raises(ValueError, match=r"entries \[1\]"):
        grid([molecules[0], None])
    with pytest.raises(ValueError, match="1 captions for 5"):
        grid(molecules, ["x"])
    with pytest.raises(ValueError, match="exceed"):
        grid(molecules * 100, columns=1)
