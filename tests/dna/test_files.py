import gzip

import pytest
from Bio import SeqIO
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord

from guidekit.domains.dna import DNA, PROTEIN, Dna
from guidekit.domains.dna.files import read, write_fasta


@pytest.fixture
def put(tmp_path):
    def write(text, name="x.fasta"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
        return path

    return write


@pytest.mark.parametrize("name", ["x.fasta", "x.fa.gz"])
def test_fasta_of_several_lines(put, name):
    result = read(put(">one first\nACGT\nacgt\n\n>two\r\nGGG\r\n", name))
    assert result.records == [("one", "ACGTACGT"), ("two", "GGG")] and result.skipped == []
    assert any("lower-case" in note for note in result.notes)


def test_tables_and_text(put):
    assert read(put("id,Sequence\n1,ACGT\n2,GG\n", "x.csv")).sequences == ["ACGT", "GG"]
    assert read(put("dna\tn\nACGT\t1\n", "x.tsv"), column="dna").sequences == ["ACGT"]
    assert read(put("ACGT\n\nGGA\n", "x.txt")).records == [("line 1", "ACGT"), ("line 3", "GGA")]
    with pytest.raises(ValueError, match="has no column 'sequence'; it has id, seqence; did you mean column='seqence'"):
        read(put("id,seqence\n1,ACGT\n", "x.csv"))


def test_habits_of_the_field(put):
    assert read(put(";old style\n;more\n>a\nACGT\n;inside\n>b\nGG\n")).records == [("a", "ACGT"), ("b", "GG")]
    assert read(put(">p\nMKV*\n>q\nMW*\n"), PROTEIN).sequences == ["MKV", "MW"]
    with pytest.raises(ValueError, match=r"p holds '\*' at position 3"):
        read(put(">p\nMK*V\n"), PROTEIN)
    assert read(put(">g\nATGTAA\n", "x.ffn")).sequences == ["ATGTAA"]
    assert read(put("n;Sequence\n1;ACGT\n", "x.csv")).sequences == ["ACGT"]
    one = read(put(">a\n" + "ACGT" * 5 + "R" + "ACGT" * 5 + "\n"))
    assert one.records == [("a:0-20", "ACGT" * 5), ("a:21-41", "ACGT" * 5)]
    assert one.notes == ["x.fasta: 1 record cut at 1 ambiguous letter (R 1)"]
    with pytest.raises(ValueError, match="a holds 'R' at position 5"):
        read(put(">a\nACGTRACGTACGT\n"), n_policy="refuse")


def test_genbank(tmp_path):
    record = SeqRecord(Seq("ACGTTGCA" * 20), id="U00096", name="U00096", annotations={"molecule_type": "DNA"})
    SeqIO.write([record], tmp_path / "x.gb", "genbank")
    (found,) = read(tmp_path / "x.gb").records
    assert found.sequence == "ACGTTGCA" * 20 and found.name.startswith("U00096")


def test_unknown_letters_by_policy(put):
    path = put(">a\nACGNNNTTNG\n>b\nCCC\n")
    split = read(path)
    assert split.records == [("a:0-3", "ACG"), ("a:6-8", "TT"), ("a:9-10", "G"), ("b", "CCC")]
    assert split.notes == ["x.fasta: 1 record cut at 4 ambiguous letters (N 4)"] and split.skipped == []
    skip = read(path, n_policy="skip")
    assert skip.records == [("b", "CCC")] and skip.skipped == [("a", "holds N")]
    with pytest.raises(ValueError, match="x.fasta: a holds 'N' at position 4"):
        read(path, n_policy="refuse")
    with pytest.raises(ValueError, match="n_policy='cut'"):
        read(path, n_policy="cut")
    assert read(put(">p\nMKXV\n"), PROTEIN).sequences == ["MK", "V"]
    with pytest.raises(ValueError, match="a holds 'Q' at position 6"):  # the position in the record, not in the piece
        read(put(">a\nACNNGQ\n"))


@pytest.mark.parametrize(
    "text, name, message",
    [
        ("", "x.fasta", "x.fasta is empty"),
        (">a\nNNN\n", "x.fasta", "nothing left of 1 records"),
        (">a\n\n>b\nACG\n", "x.fasta", "a is empty"),
        ("ACGT\n", "x.fasta", "starts with 'ACGT'; a FASTA record starts with '>'"),
        (">a\nACGU\n>b\nACGT\n", "x.fasta", "a holds 'U' at position 4; this is RNA: replace U by T"),
        (">a\nMKTAYIAK\n", "x.fasta", "this looks like a protein: use domain=proteins"),
        ("x", "x.bam", "has suffix '.bam'; readable are .fasta"),
        ("", "x.csv", "x.csv is empty"),
    ],
)
def test_bad_files(put, text, name, message):
    with pytest.raises(ValueError, match=message):
        read(put(text, name))


def test_files_of_rna_are_read_as_dna(put):
    found = read(put(">a\nACGUu\n>b\nGGGCCC\n"))
    assert found.sequences == ["ACGTT", "GGGCCC"] and "x.fasta: RNA is read as DNA, U as T" in found.notes
    assert read(put(">a\nACGUNRACGGCCUUACGGACUACG\n")).sequences[0] == "ACGT"
    assert not any("RNA" in one for one in read(put(">a\nACGT\n")).notes)


def test_damaged_gzip_and_dna_for_proteins(tmp_path, put):
    (tmp_path / "y.fa.gz").write_bytes(b"no gzip")
    with pytest.raises(ValueError, match="y.fa.gz is not readable: damaged, or not packed by gzip"):
        read(tmp_path / "y.fa.gz")
    with pytest.raises(ValueError, match="nothing but ACGT: this looks like DNA or RNA: use domain=dna"):
        read(put(">a\n" + "ACGT" * 10 + "\n"), PROTEIN)
    assert read(put(">a\nGATTACA\n"), PROTEIN).sequences == ["GATTACA"]  # short: may well be a peptide


def test_skipping_and_repeated_names(put):
    result = read(put(">a\nACGT\n>a\nAC!T\n>c\nGG\n"), on_error="skip")
    assert result.sequences == ["ACGT", "GG"]
    assert result.skipped == [("a", "a holds '!' at position 3; DNA letters are ACGT")]
    assert result.notes == ["x.fasta: 1 names occur more than once, the first is 'a'"]


def test_fasta_round_trip(tmp_path):
    sequences = ["ACGT" * 40, "GG"]
    names = ["sample-00000", "sample-00001"]
    columns = {"reward": [1.25, -0.5], "log_weight": [0.0, 1e-7]}
    for name in ("s.fasta", "s.fasta.gz"):
        write_fasta(tmp_path / name, sequences, names, columns)
        assert read(tmp_path / name, DNA).records == list(zip(names, sequences, strict=True))
    text = (tmp_path / "s.fasta").read_text().split("\n")
    assert text[0] == ">sample-00000 reward=1.25 log_weight=0" and max(map(len, text)) == 60
    with pytest.raises(ValueError, match="reward has 1 entries for 2 sequences"):
        write_fasta(tmp_path / "s.fasta", sequences, names, {"reward": [1.0]})


def test_samples_that_are_no_sequence_count(put):
    sequences = Dna().read_samples(put("sequence,valid\nACGT,True\n??GT,False\nACNT,True\n", "x.csv"))
    note = sequences.notes
    assert list(sequences) == ["ACGT", None, None] and "2 records count as invalid" in note
    reference = Dna().read_reference(put(">a\nACGTN\n>b\nQQ\n"), on_error="skip")
    note = reference.notes
    assert list(reference) == ["ACGT"] and "1 records are left out" in note
