import numpy as np
import pytest

from guidekit.domains.dna import data
from guidekit.domains.dna.data import Block, pack, protein_sequences, strings, training_blocks, unpack, windows
from guidekit.errors import UnknownNameError


def test_two_bits_a_letter(tmp_path, monkeypatch):
    codes = np.array([0, 1, 2, 3, 3, 0, 1], np.uint8)
    assert pack(codes).tolist() == [0b00011011, 0b11000100]
    assert unpack(pack(codes), 7).tolist() == codes.tolist()
    blocks = [Block("chr22", 5, codes), Block("chr22", 40, codes[:3])]
    data.write_genome(tmp_path / "human.npz.xz", blocks)
    monkeypatch.setattr(data, "ASSETS", tmp_path)
    read = training_blocks.__wrapped__("human")
    assert [(b.name, b.start, b.codes.tolist()) for b in read] == [(b.name, b.start, b.codes.tolist()) for b in blocks]
    (tmp_path / "human.npz.xz").write_bytes((tmp_path / "human.npz.xz").read_bytes()[:-20])
    with pytest.raises(ValueError, match="is damaged .*; restore it from the package"):
        training_blocks.__wrapped__("human")


def test_shipped_genomes():
    (ecoli,) = training_blocks("ecoli")
    assert len(ecoli.codes) == 4_639_675
    assert strings(ecoli.codes[None, :20]) == ["AGCTTTTCATTCTGACTGCA"]  # how U00096 begins
    assert np.isin(ecoli.codes, (1, 2)).mean() == pytest.approx(0.508, abs=5e-4)
    human = training_blocks("human")
    assert len(human) == 9628 and sum(len(b.codes) for b in human) == 21_628_775
    assert min(len(b.codes) for b in human) >= 256 and human[0].start == 17_443_628
    assert all(a.start + len(a.codes) <= b.start for a, b in zip(human, human[1:], strict=False))


@pytest.mark.parametrize("species, counts", [("human", (50_504, 29_222)), ("ecoli", (16_406, 1_716))])
def test_windows_are_split_by_position(species, counts):
    train, test = windows(species, "train"), windows(species, "test")
    assert (len(train), len(test)) == counts and train.shape[1] == 256 and train.max() == 3
    assert np.array_equal(windows(species, "train"), train)


def test_no_window_crosses_the_split(monkeypatch):
    blocks = [Block("chr22", 39_999_990, np.arange(20, dtype=np.uint8) % 4)]
    monkeypatch.setattr(data, "training_blocks", lambda species: blocks)
    assert windows("human", "train", 4).tolist() == [[0, 1, 2, 3]] * 2  # the third would end behind the limit
    assert windows("human", "test", 4).tolist() == [[0, 1, 2, 3]] * 2


def test_names_and_lengths_that_do_not_exist():
    with pytest.raises(UnknownNameError, match="did you mean 'human'"):
        training_blocks("humann")
    with pytest.raises(UnknownNameError, match="no split named 'valid'"):
        windows("human", "valid")
    with pytest.raises(ValueError, match="length=50000 is longer than every train block"):
        windows("human", "train", 50_000)


def test_proteins_are_split_by_sequence():
    train, test = set(protein_sequences("train")), set(protein_sequences("test"))
    assert not train & test and len(train | test) == len(protein_sequences()) == 6735
    assert 0.08 < len(test) / 6735 < 0.12
    assert all(7 <= len(s) <= 256 for s in train | test)
