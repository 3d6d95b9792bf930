"""Files as the programs of a field write them: each holds what it holds, and what cannot be read is listed."""

import csv
import json
import random

import pytest

from guidekit.cli import main
from guidekit.domains.dna import Dna, Proteins
from guidekit.domains.molecules import Molecules
from guidekit.installed import load_domain

RANDOM = random.Random(3)
GENOME = "".join(RANDOM.choice("ACGT") for _ in range(400))
FIRST, SECOND, LAST = GENOME[:100], GENOME[100:250], GENOME[250:]


def molecules(path, **options):
    return Molecules().read_samples(path, **options)


@pytest.mark.parametrize(
    "name, text, said",
    [
        ("a.csv", "\n\n , \nname,smiles\na,CCO\nb,CCN\n", ""),
        ("a.csv", 'id,smiles\n1,CCO |r|\n2,"CCN |o1:1|"\n', ""),
        ("a.csv", "smiles;pIC50\nCCO;5,1\nCCN;6,2\n", "a.csv: its columns are separated by ';'"),
        ("a.csv", "smiles\tvalue\nCCO\t1\nCCN\t2\n", "a.csv: its columns are separated by '\\t'"),
        ("a.tsv", "value|SMILES\n1|CCO\n2|CCN\n", "a.tsv: its columns are separated by '|'"),
        ("a.tsv", "smiles\tvalue\nCCO\t1\nCCN\t2\n", ""),
        ("a.csv", "CCO\nCCN\n", "a.csv: it has no header"),
        ("a.csv", "x1,CCO,5.1\nx2,CCN,6.2\n", "a.csv: it has no header; column 2 of 3 is read"),
        ("a.csv", "\n5,1;CCO\n6,2;CCN\n", "a.csv: its columns are separated by ';'; a.csv: it has no header; column 2"),
        ("a.smi", "CCO [/red]\nCCN [bold]x\n", ""),
        ("a.smi", "CCO name of it |r|\nCCN\tb\t2\n", ""),
    ],
)
def test_molecules_of_tables(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    found = molecules(tmp_path / name)
    assert list(found.raw) == ["CCO", "CCN"] and len(found) == 2 and None not in found.objects
    assert said in found.notes and bool(said) == bool(found.notes) and not found.rejected


def test_columns_by_number_and_name(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("CCO,CCCl\nCCN,CCBr\nCCF,CCI\n")
    with pytest.raises(
        ValueError, match="a.csv has no header, and several columns that may be meant: give column=1 or"
    ):
        molecules(path)
    assert molecules(path, column="2").raw == ["CCCl", "CCBr", "CCI"]
    with pytest.raises(ValueError, match="'CCO' is its first entry and no name; give column=1"):
        molecules(path, column="CCO")
    with pytest.raises(ValueError, match="a.csv has 2 columns; column=3 is none of them"):
        molecules(path, column="3")
    with pytest.raises(ValueError, match="no column 'smile'; it has CCO, CCCl; did you mean column="):
        molecules(path, column="smile")
    path.write_text("id,molecule\n1,CCO\n2,CCN\n")
    assert molecules(path, column="2").raw == molecules(path, column="Molecule").raw == ["CCO", "CCN"]
    path.write_text("CCO,1\nC(C,2\nCCN,3\nCCF,4\n")  # a bad row is no reason to lose the column
    found = molecules(path)
    assert found.raw[:3] == ["CCO", "CCN", "CCF"]
    assert [tuple(one) for one in found.rejected] == [("line 2", "C(C", "parse")]


def test_salts_nested_and_equal_molecules(tmp_path):
    path = tmp_path / "a.smi"
    path.write_text("CC(=O)O.CCN\nCCO\nOCC\nC" + "(C" * 900 + ")" * 900 + "\n")
    found = molecules(path)
    assert "2 molecules" not in found.notes and "1 molecules are of several components" in found.notes
    assert found.objects[-1] is None and "nested more than 250 deep" in found.rejected[0].reason
    assert Molecules().evaluate(found)["uniqueness"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    "name, text, count",
    [
        ("a.fasta", f";old style\n;more\n>a\n{FIRST}\n;inside\n>b\n{SECOND}\n", 2),
        ("a.fas", f">a\n{FIRST}\n>b\n{SECOND}\n", 2),
        ("a.ffn", f">a kinase\n{FIRST}\n>b\n{SECOND}\n", 2),
        ("a.csv", f"\nsequence,value\n{FIRST},1\n{SECOND},2\n", 2),
        ("a.csv", f"1;{FIRST}\n2;{SECOND.lower()}\n", 2),
        ("a.tsv", f"{FIRST}\n{SECOND}\n", 2),
        ("a.csv", f"sequence,value\n{GENOME * 400},1\n{FIRST},2\n", 2),  # a field of 160,000 characters
    ],
)
def test_sequences(tmp_path, name, text, count):
    (tmp_path / name).write_text(text)
    found = Dna().read_samples(tmp_path / name)
    assert len(found) == count and None not in found.objects and found[-1] in (FIRST, SECOND)


def test_genbank_by_its_other_name(tmp_path):
    from Bio import SeqIO
    from Bio.Seq import Seq
    from Bio.SeqRecord import SeqRecord

    record = SeqRecord(Seq(FIRST), id="U1", name="U1", annotations={"molecule_type": "DNA"})
    SeqIO.write([record], tmp_path / "a.gbff", "genbank")
    assert list(Dna().read_samples(tmp_path / "a.gbff")) == [FIRST]


def test_stops_of_proteins_and_words_of_amino_acids(tmp_path):
    path = tmp_path / "a.fasta"
    path.write_text(">p\nMKVW*\n>q\nMW*\n")
    assert list(Proteins().read_samples(path)) == ["MKVW", "MW"]
    path = tmp_path / "a.csv"
    path.write_text("name,peptide\nMAGAININ,KWKLFKKIGAVLK\n")  # both names of columns could be peptides
    assert list(Proteins().read_samples(path, "peptide")) == ["KWKLFKKIGAVLK"]
    path.write_text("m1,KWKLFKKIGAVLK\nm2,GIGKFLHSAKKFGKAF\n")
    assert list(Proteins().read_samples(path)) == ["KWKLFKKIGAVLK", "GIGKFLHSAKKFGKAF"]


def test_letters_for_several_bases_cut_a_genome(tmp_path, capsys):
    """No "looks like a protein", and the cuts are counted."""
    path = tmp_path / "genome.fasta"
    path.write_text(f">contig\n{FIRST}R{SECOND}Y{LAST}\n")
    trained = tmp_path / "trained.safetensors"
    small = (
        "trainer.network={name: dilated_convolution, options: {width: 8, kernel: 3, dilations: [1], max_length: 40}}"
    )
    tiny = ["trainer.steps=2", "trainer.batch_size=2", "trainer.validation=2", "trainer.window=40", small]
    assert main(["train", "domain=dna", f"data={path}", f"output={trained}", *tiny]) == 0
    assert "genome.fasta: 1 record cut at 2 ambiguous letters (R 1, Y 1)" in capsys.readouterr().out
    found = Dna().read_reference(path)
    assert list(found) == [FIRST, SECOND, LAST]
    with pytest.raises(ValueError, match="R stands for one of several bases"):
        Dna().read_samples(path)


def test_training_leaves_a_few_bad_records_out(tmp_path, capsys, monkeypatch):
    """They are listed, every one; the checkpoint has a name where none is given."""
    monkeypatch.chdir(tmp_path)
    records = [f">r{i}\n{GENOME[i : i + 60]}\n" for i in range(60)]
    (tmp_path / "many.fasta").write_text("".join([*records, ">x1\nAC!T\n", ">x2\nACG-T\n"]))
    small = (
        "trainer.network={name: dilated_convolution, options: {width: 8, kernel: 3, dilations: [1], max_length: 40}}"
    )
    tiny = ["trainer.steps=1", "trainer.batch_size=2", "trainer.validation=2", "trainer.window=40", small]
    assert main(["train", "domain=dna", "data=many.fasta", *tiny]) == 0
    printed = capsys.readouterr().out
    assert "2 records are left out; the first: x1 holds '!' at position 3" in printed
    assert (tmp_path / "dna-prior.safetensors").exists()
    rows = list(csv.DictReader((tmp_path / "dna-prior.rejected.csv").open()))
    assert [row["place"] for row in rows] == ["x1", "x2"] and "gaps of an alignment" in rows[1]["reason"]
    (tmp_path / "bad.fasta").write_text("".join([*records[:5], ">x1\nAC!T\n"]))
    assert main(["train", "domain=dna", "data=bad.fasta", "output=b.safetensors", *tiny]) == 2
    assert "bad.fasta: x1 holds '!' at position 3" in capsys.readouterr().err
    assert main(["train", "domain=images", "data=x.npz", "column=a", "output=i.safetensors"]) == 2
    assert "column=a is for tables, and domain images is trained from none" in capsys.readouterr().err


def test_evaluation_lists_bad_rows_and_writes_json(tmp_path, capsys):
    path, figures = tmp_path / "a.smi", tmp_path / "figures.json"
    path.write_text("C1CC x\nCCO\nC(C)(C)(C)(C)C\n")
    command = ["evaluate", "domain=molecules", f"samples={path}", "reference=" + str(path), "on_error=skip"]
    assert main(command) == 0
    assert "output=figures.json also lists all 4 that cannot be read" in capsys.readouterr().out
    assert main([*command, f"output={figures}"]) == 0
    rows = list(csv.DictReader((tmp_path / "figures.rejected.csv").open()))
    assert [(row["place"], row["reason"]) for row in rows[:2]] == [("line 1", "ring closure"), ("line 3", "valence")]
    path.write_text("CCO\n")
    assert main(["evaluate", "domain=molecules", f"samples={path}", f"output={figures}"]) == 0
    assert not (tmp_path / "figures.rejected.csv").exists()  # that of an earlier command would mislead

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    assert None in json.loads(figures.read_text(), parse_constant=refuse).values()


def test_written_smiles_tell_their_rewards(tmp_path):
    from guidekit.samples import Samples

    prior = load_domain("molecules").load_prior("default")
    states = prior.codec.encode(["CCO", "CCN"])
    Molecules().write(tmp_path, Samples(states, prior), {"reward": [0.25, 1e-7]})
    lines = (tmp_path / "samples.smi").read_text().split("\n")
    assert lines == ["CCO\tsample-00000 reward=0.25", "CCN\tsample-00001 reward=1e-07", ""]
    assert Molecules().read_samples(tmp_path / "samples.smi").raw == ["CCO", "CCN"]
