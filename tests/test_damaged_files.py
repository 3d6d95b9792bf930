"""Every reader, on files that were cut, changed or made to hang: they are read, or refused in one line."""

import gzip
import io
import json
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from Bio import SeqIO
from Bio.Seq import Seq
from Bio.SeqRecord import SeqRecord
from PIL import Image
from rdkit import Chem

from guidekit.domains.audio import Audio, Chorales, Sound, midi
from guidekit.domains.audio import files as sounds
from guidekit.domains.dna import PROTEIN, Dna
from guidekit.domains.dna import files as sequences
from guidekit.domains.images import Images
from guidekit.domains.images import files as pictures
from guidekit.domains.molecules import Molecules, SmilesTokenizer, rewards
from guidekit.domains.molecules import files as molecules
from guidekit.domains.molecules.data import read_front_coded, write_front_coded
from guidekit.io import archives, contents

RNG = np.random.default_rng(0)


def npz(**arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def picture(kind):
    stream = io.BytesIO()
    Image.fromarray(RNG.integers(0, 256, (12, 10, 3), np.uint8)).save(stream, kind)
    return stream.getvalue()


def wav(kind):
    stream = io.BytesIO()
    soundfile.write(stream, 0.5 * np.sin(np.arange(900) / 9), 22050, format=kind)
    return stream.getvalue()


def genbank():
    stream, note = io.StringIO(), {"molecule_type": "DNA"}
    SeqIO.write([SeqRecord(Seq("ACGTTGCA" * 20), id="U0", name="U0", annotations=note)], stream, "genbank")
    return stream.getvalue().encode()


def sdf():
    return (Chem.MolToMolBlock(Chem.MolFromSmiles("c1ccc2[nH]ccc2c1")) + "\n$$$$\n").encode() * 2


def late(wait, beat=2):
    """A MIDI file of one note, before and in which ticks pass."""
    body = wait[0] + b"\x90\x40\x50" + wait[1] + b"\x80\x40\x00\x00\xff\x2f\x00"
    return b"MThd" + struct.pack(">IHHH", 6, 0, 1, beat) + b"MTrk" + struct.pack(">I", len(body)) + body


PIECE = np.array([[4 * i, 4, 60 + i % 5] for i in range(8)])
SKIPPED = ("raise", "skip")
READERS = {
    "a.smi": (b"CCO ethanol\nc1ccccc1\nCC(=O)[O-].[Na+] x\nC%12CC%12\n", lambda path: molecules.read(path)),
    "b.smi": (b"CC(C)(C)c1ccc(cc1)[C@H](O)C[N+](=O)[O-]\n[13CH4]\n", lambda path: Molecules().read_samples(path)),
    "a.csv": (b'id,smiles\n1,"CCO |r|"\n2,CCN\n', lambda path: molecules.read(path, on_error="skip")),
    "a.sdf": (sdf(), lambda path: molecules.read(path, on_error="skip")),
    "a.smi.gz": (gzip.compress(b"CCO\n" * 20), lambda path: molecules.read(path)),
    "a.fasta": (b">a one\nACGTNNACGT\n>b\nGGR\n", lambda path: sequences.read(path)),
    "b.fasta": (b">a\nMKTAYIAKQR*\n", lambda path: sequences.read(path, PROTEIN, on_error="skip")),
    "b.csv": (b"id,sequence\n1,ACGT\n2,GG\n", lambda path: Dna().read_samples(path)),
    "a.gb": (genbank(), lambda path: sequences.read(path)),
    "a.txt": (b"ACGT\nGGA\n", lambda path: sequences.read(path)),
    "a.wav": (wav("WAV"), lambda path: sounds.read(path)),
    "a.flac": (wav("FLAC"), lambda path: sounds.read(path)),
    "a.ogg": (wav("OGG"), lambda path: Audio().read_samples(path)),
    "waves.npz": (
        npz(waves=RNG.integers(-9999, 9999, (2, 300), np.int16), rate=16000, lengths=np.array([300, 200])),
        lambda path: sounds.read(path),
    ),
    "a.mid": (midi.encoded(PIECE), lambda path: midi.read(path)),
    "notes.npz": (npz(notes=PIECE, offsets=np.array([0, 3, 8])), lambda path: Chorales().read_samples(path)),
    "a.png": (picture("PNG"), lambda path: pictures.read(path)),
    "a.jpg": (picture("JPEG"), lambda path: pictures.read(path)),
    "a.bmp": (picture("BMP"), lambda path: Images().read_samples(path)),
    "a.webp": (picture("WEBP"), lambda path: pictures.read(path)),
    "images.npz": (
        npz(images=RNG.integers(0, 9, (3, 4, 4), np.uint8), labels=np.array([0, 1, 0]), classes=np.array(["a", "b"])),
        lambda path: pictures.read(path),
    ),
    "codec.json": (
        SmilesTokenizer.train(["CCO", "CCN"], 2, 1).dumps().encode(),
        lambda path: SmilesTokenizer.load(path),
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_damaged_files_are_read_or_refused_in_one_line(name, withstands):
    data, read = READERS[name]
    withstands(name, data, read, times=120)


def test_damaged_packed_text(tmp_path, withstands):
    write_front_coded(tmp_path / "x.xz", ["CCO", "CCN", "c1ccccc1"])
    withstands("a.front.xz", (tmp_path / "x.xz").read_bytes(), read_front_coded)


@pytest.mark.parametrize("name", ["a.smi", "a.csv", "a.fasta", "a.wav", "a.mid", "a.png", "images.npz", "waves.npz"])
@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_only_ordinary_files_are_opened(name, kind, tmp_path, guarded):
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()
    said = f"a {kind}; an ordinary file" if kind != "folder" else "a folder|folder .* holds no"
    with guarded(20, 1 << 30), pytest.raises(ValueError, match=said if kind != "pipe" else "a named pipe; an ordinary"):
        READERS[name][1](path)


@pytest.mark.parametrize("make", [bytes, lambda: b"\0" * 50, lambda: b"\xff\xfe\0", lambda: b"\x89PNG\r\n"])
@pytest.mark.parametrize("name", READERS)
def test_empty_and_binary_files_are_refused(name, make, tmp_path):
    (tmp_path / name).write_bytes(make())
    try:
        objects = READERS[name][1](tmp_path / name)
    except ValueError as error:
        assert "\n" not in str(error)
    else:  # a reader of samples counts what is none
        assert not any(one is not None for one in objects[0])


@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16"])
def test_marked_text_is_read_and_other_text_refused(mark, tmp_path):
    (tmp_path / "a.csv").write_bytes("id\tsmiles\r\n1\tCCO\r2\tCCN\n".replace("\t", ",").encode(mark))
    assert molecules.read(tmp_path / "a.csv").smiles == ["CCO", "CCN"]
    (tmp_path / "b.smi").write_bytes("CCO é\n".encode("latin-1"))
    with pytest.raises(ValueError, match="b.smi is not readable as text .*; UTF-8 is expected"):
        molecules.read(tmp_path / "b.smi")


def test_what_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(contents, "MOST_PACKED", 1 << 16)
    (tmp_path / "a.smi.gz").write_bytes(gzip.compress(b"CCO\n" * 40_000))
    with pytest.raises(ValueError, match="a.smi.gz unpacks to more than"):
        molecules.read(tmp_path / "a.smi.gz")
    np.savez_compressed(tmp_path / "a.npz", images=np.zeros((400, 28, 28), np.uint8))
    with pytest.raises(ValueError, match="a.npz is damaged .*its arrays unpack to"):
        pictures.read(tmp_path / "a.npz")
    write_front_coded(tmp_path / "a.front.xz", ["C" * 9_000_000])
    with pytest.raises(ValueError, match="unpacks to more than"):
        read_front_coded(tmp_path / "a.front.xz")


def header(shape, kind="<f8"):
    """An npz of one array `images` that claims a shape."""
    text = str({"descr": kind, "fortran_order": False, "shape": shape}).ljust(117) + "\n"
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode() + b"\0" * 16)
    return stream.getvalue()


@pytest.mark.parametrize("shape, kind", [
    ((10**12,), "<f8"), ((-1, -2), "<f8"), ((2,) * 70, "<f8"), ((10**15, 0), "<f8"), ((10**15,), "<U0"), ((2,), "|O"),
    ((16,), "V1"), ((2,), "<M8[s]"), ((3,), "<f8"), ((1,), "<f8"), ("x", "<f8"), ((1.0,), "<f8"),
])  # fmt: skip
def test_claims_of_an_array_are_held_against_its_file(shape, kind, tmp_path, guarded):
    (tmp_path / "a.npz").write_bytes(header(shape, kind))
    with guarded(20, 1 << 30), pytest.raises(ValueError, match="a.npz is damaged or no npz file") as told:
        archives.npz(tmp_path / "a.npz", ["images"])
    assert "\n" not in str(told.value)


def test_a_password_is_told(tmp_path):
    raw = bytearray(header((2,)))
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(mark) + place] |= 1
    (tmp_path / "a.npz").write_bytes(raw)
    with pytest.raises(ValueError, match="locked by a password"):
        archives.npz(tmp_path / "a.npz", ["images"])


@pytest.mark.parametrize("text, said", [
    ("C" + "(C" * 9000 + ")" * 9000, "nested more than 250 deep"),
    ("[" * 60_000, "nested more than 250 deep"),
    ("C" * 30_000, "longer than 5,000 characters"),
    ("[$(" * 300 + "C" + ")]" * 300, "nested more than 250 deep"),
])  # fmt: skip
def test_smiles_and_patterns_that_end_the_process_are_never_given_to_rdkit(text, said, tmp_path):
    (tmp_path / "a.smi").write_text(f"{text}\nCCO\n")
    objects = Molecules().read_samples(tmp_path / "a.smi")
    note = objects.notes
    assert [one is None for one in objects] == [False, True] and said in note and len(note) < 300
    for make in (rewards.Similarity, rewards.Substructure):
        with pytest.raises(ValueError, match=said) as told:
            make(text)
        assert len(str(told.value)) < 200
    assert molecules.parse("C(" * 200 + "C" + ")C" * 200)[1] == ""


def test_a_long_chain_in_a_record_is_no_crash(tmp_path):
    atoms = "".join(f"M  V30 {i} C 0 0 0 0\n" for i in range(1, 30_001))
    bonds = "".join(f"M  V30 {i} 1 {i} {i + 1}\n" for i in range(1, 30_000))
    table = f"M  V30 BEGIN ATOM\n{atoms}M  V30 END ATOM\nM  V30 BEGIN BOND\n{bonds}M  V30 END BOND\n"
    head = "chain\n\n\n  0  0  0     0  0            999 V3000\nM  V30 BEGIN CTAB\nM  V30 COUNTS 30000 29999 0 0 0\n"
    (tmp_path / "a.sdf").write_text(f"{head}{table}M  V30 END CTAB\nM  END\n$$$$\n")
    with pytest.raises(ValueError, match="a.sdf line 1: cannot read record 'chain' .more than 5,000 atoms"):
        molecules.read(tmp_path / "a.sdf")


def test_fields_of_tables(tmp_path, monkeypatch):
    letters = "".join(RNG.choice(list("ACGT"), 150_000))
    (tmp_path / "a.csv").write_text(f"\nsequence,value\n{letters},1\n")
    assert sequences.read(tmp_path / "a.csv").sequences == [letters]
    monkeypatch.setattr(contents, "MOST_FIELD", 1000)
    with pytest.raises(ValueError, match="a.csv line 3: no readable table .*at most 1,000 characters"):
        sequences.read(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text('smiles\nCCO\n"CCN\nCCC\nCCCl\n')
    with pytest.raises(ValueError, match="b.csv line 3: no readable table"):  # and not two molecules fewer
        molecules.read(tmp_path / "b.csv")


@pytest.mark.parametrize("wait", [(b"\xff\xff\xff\x7e", b"\x83\x60"), (b"\x00", b"\xff\xff\xff\x7e")])
def test_notes_that_come_or_end_after_years(wait, tmp_path, guarded):
    (tmp_path / "a.mid").write_bytes(late(wait))
    with guarded(10, 1 << 30), pytest.raises(ValueError, match="a.mid lasts .* sixteenths .*at most 65,536"):
        midi.read(tmp_path / "a.mid")
    np.savez(tmp_path / "a.npz", notes=np.array([[2**62, 2**62, 60]]), offsets=np.array([0, 1]))
    with pytest.raises(ValueError, match="piece 0 lasts"):
        midi.read(tmp_path / "a.npz", whole=True)
    (tmp_path / "b.mid").write_bytes(late(wait).ljust(3 << 20, b"\0"))
    with pytest.raises(ValueError, match="b.mid has 3,145,728 bytes; at most 2,097,152 are read"):
        midi.read(tmp_path / "b.mid")


@pytest.mark.parametrize("rate", [3, 999, 768_001, 15_999_971])
def test_rates_that_no_sound_has(rate, tmp_path, guarded):
    raw = bytearray(wav("WAV"))
    raw[24:28] = struct.pack("<I", rate)
    (tmp_path / "a.wav").write_bytes(raw)
    with guarded(20, 1 << 30), pytest.raises(ValueError, match=f"sample rate of {rate:,} Hz.*from 1,000 to 768,000"):
        sounds.read(tmp_path / "a.wav")


@pytest.mark.parametrize("rate", [8_363, 16_007, 44_101, 383_987])
def test_odd_rates_are_resampled_in_little_memory(rate, guarded):
    seconds = 0.4
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(int(rate * seconds)) / rate)
    with guarded(20, 1 << 30):
        found = sounds.resample(Sound(wave.astype(np.float32), rate))
    expected = 0.5 * np.sin(2 * np.pi * 440 * np.arange(len(found.wave)) / 16_000)
    assert abs(len(found.wave) - 16_000 * seconds) < 3e-4 * 16_000 * seconds + 1
    assert np.abs(found.wave - expected)[100:-100].max() < 0.5 * 2 * np.pi * 440 * seconds * 3e-4  # of the phase


def test_pictures_by_their_contents_and_size(tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n")
    with pytest.raises(ValueError, match="a.png is damaged or no picture"):  # another program would be started
        pictures.read(tmp_path / "a.png")
    monkeypatch.setattr(pictures, "MOST_PIXELS", 100)
    (tmp_path / "b.png").write_bytes(picture("PNG"))
    with pytest.raises(ValueError, match="b.png is 10 x 12 pixels; at most 100 are read"):
        pictures.read(tmp_path / "b.png")


def test_a_record_that_was_cut_is_told(tmp_path):
    (tmp_path / "a.gb").write_bytes(genbank().replace(b"tgca", b"", 1))
    with pytest.raises(ValueError, match="a.gb is no readable genbank file .Expected sequence length 160, found 156"):
        sequences.read(tmp_path / "a.gb")


def test_what_is_no_codec_is_told(tmp_path):
    content = json.loads(SmilesTokenizer.train(["CCO", "CCN"], 2, 1).dumps())
    for damage in ({"symbols": 3}, {"symbols": [1, 2]}, {"tokenizer": {}}, {"tokenizer": None}):
        Path(tmp_path / "c.json").write_text(json.dumps(content | damage))
        with pytest.raises(ValueError, match="no readable tokenizer"):
            SmilesTokenizer.load(tmp_path / "c.json")
