import pytest
import torch

from guidekit.domains.dna import DNA, PROTEIN, AlphabetError, Dna, Proteins


def test_ids_are_the_agreed_ones():
    assert DNA.encode(["ACGTacgt"]).tolist() == [[0, 1, 2, 3, 0, 1, 2, 3]]
    assert (DNA.vocab_size, DNA.pad_id) == (4, None)
    assert PROTEIN.encode(["ACY", "a"], 4).tolist() == [[1, 2, 20, 0], [1, 0, 0, 0]]
    assert (PROTEIN.vocab_size, PROTEIN.pad_id) == (21, 0)
    assert DNA.encode(["A"]).dtype == torch.int64


@pytest.mark.parametrize("alphabet", [DNA, PROTEIN])
def test_round_trip(alphabet):
    sequences = [alphabet.letters, alphabet.letters[::-1]]
    assert alphabet.decode(alphabet.encode(sequences)) == sequences
    if alphabet is PROTEIN:
        assert alphabet.decode(alphabet.encode(["MK", "MKV"], 7)) == ["MK", "MKV"]


def test_reverse_complement_of_strings_and_tokens():
    assert DNA.reverse_complement("AACGtt") == "AACGTT" and DNA.reverse_complement("ACCT") == "AGGT"
    tokens = DNA.encode(["ACCTG", "GGGAA"])
    assert DNA.decode(DNA.reverse_complement(tokens)) == ["CAGGT", "TTCCC"]
    assert torch.equal(DNA.reverse_complement(DNA.reverse_complement(tokens)), tokens)
    assert DNA.reverse_complement(torch.tensor([[0, 4, 1]])).tolist() == [[2, 4, 3]]  # a mask stays a mask
    with pytest.raises(AlphabetError, match="only DNA has two strands"):
        PROTEIN.reverse_complement("MK")


@pytest.mark.parametrize(
    "text, message",
    [
        ("ACGXACGT", r"^seq7 holds 'X' at position 4; DNA letters are ACGT$"),
        ("ACGUUA", "holds 'U' at position 4; this is RNA: replace U by T"),
        ("MKTAYIAKQR", "holds 'M' at position 1; this looks like a protein: use domain=proteins"),
        ("ACGTN", "holds 'N' at position 5; N stands for an unknown letter: see n_policy"),
        ("AC-GT", "holds '-' at position 3; gaps"),
        ("", "seq7 is empty"),
    ],
)
def test_foreign_letters_are_refused_by_name_and_position(text, message):
    with pytest.raises(AlphabetError, match=message):
        DNA.encode([text], names=["seq7"])


def test_lengths_that_do_not_fit():
    with pytest.raises(AlphabetError, match="sequence 2 has 3 letters, shorter than the window of 4"):
        DNA.encode(["ACGT", "ACG"])
    with pytest.raises(AlphabetError, match="sequence 1 has 5 letters, longer than the window of 4"):
        DNA.encode(["ACGTA"], 4)
    with pytest.raises(AlphabetError, match="sequence 1 has 300 letters, longer than the window of 256"):
        Proteins().codec.encode(["A" * 300])
    with pytest.raises(AlphabetError, match="has 100 letters, shorter than the window of 256"):
        Dna().codec.encode(["A" * 100])
    with pytest.raises(AlphabetError, match="no sequences"):
        DNA.encode([])


def test_states_that_are_no_sequence_decode_to_none():
    assert Dna(3).codec.decode(torch.tensor([[0, 1, 2], [0, 4, 2]])) == ["ACG", None]
    states = torch.tensor([[1, 2, 0], [0, 0, 0], [1, 0, 2], [21, 1, 0]])
    assert Proteins(3).codec.decode(states) == ["AC", None, None, None]
