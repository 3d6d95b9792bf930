import json

import numpy as np
import pytest
import torch

from guidekit.cli import main
from guidekit.domains import molecules as package
from guidekit.domains.molecules import Molecules
from guidekit.domains.molecules import preparation as module
from guidekit.domains.molecules.data import reference_smiles, write_smi
from guidekit.domains.molecules.labels import label_of
from guidekit.domains.molecules.selfies_tokenizer import SelfiesTokenizer, tokenizer_from_text
from guidekit.errors import UnknownNameError
from guidekit.networks import SequenceTransformer
from guidekit.priors.checkpoints import save_checkpoint

TRAINER = {"merges": None, "max_tokens": 32, "validation": 20, "notation": "smiles"}


def prepared(tmp_path, data, **changes):
    Molecules().prepare_training(tmp_path / "p.npz", data, TRAINER | changes)
    with np.load(tmp_path / "p.npz") as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("description")))


def decoded(description, tokens, offsets):
    codec = tokenizer_from_text(description["codec"])
    return codec.decode(
        torch.nn.utils.rnn.pad_sequence(
            [torch.from_numpy(row.astype(np.int64)) for row in np.split(tokens, offsets[1:-1])], batch_first=True
        )
    )


@pytest.fixture
def small_qm9(monkeypatch):
    """The first 1,000 molecules of the shuffled set: the whole one takes seconds."""
    whole = module.shuffled_training_smiles("qm9")[:1000]
    monkeypatch.setattr(module, "shuffled_training_smiles", lambda data: list(whole))
    return whole


def test_qm9_with_labels(tmp_path, small_qm9):
    arrays, description = prepared(tmp_path, "qm9", labels=["rings", "qed"])
    assert description["dataset"] == "qm9" and "QM9, 980 molecules" in description["card"]["data"]
    train = decoded(description, arrays["tokens"], arrays["offsets"])
    held = decoded(description, arrays["val_tokens"], arrays["val_offsets"])
    assert train == small_qm9[:980] and held == small_qm9[980:]
    assert description["vocab_size"] == len(tokenizer_from_text(description["codec"]).symbols) + 1  # atom-level
    assert sum(description["length_counts"]) == 1000 and len(description["length_counts"]) == 33
    assert arrays["labels"].shape == (980, 2) and arrays["labels"].dtype == arrays["val_labels"].dtype == np.int8
    assert arrays["val_labels"].tolist() == [label_of(s, description["labels"]) for s in held]
    assert [label["name"] for label in description["labels"]] == ["rings", "qed"]
    assert arrays["labels"][:, 1].sum() == 98


def test_selfies_skips_and_counts_what_it_cannot_express(tmp_path):
    smiles = ["C" * n for n in range(1, 30)] * 10 + ["*C", "*CC"]
    write_smi(tmp_path / "mine.smi", smiles)
    arrays, description = prepared(tmp_path, str(tmp_path / "mine.smi"), notation="selfies", labels=["logp"])
    codec = tokenizer_from_text(description["codec"])
    assert type(codec) is SelfiesTokenizer and codec.symbols == ("[C]",)
    assert description["card"]["left out"] == "0 longer than 32 tokens, 2 not expressible as SELFIES"
    assert description["dataset"] == "mine.smi"
    assert decoded(description, arrays["tokens"], arrays["offsets"]) == smiles[:270]
    assert len(arrays["labels"]) == 270 and len(arrays["val_labels"]) == len(arrays["val_offsets"]) - 1 == 20


def test_labels_stay_with_their_molecules(tmp_path):
    """Rows that are left out (too long, not expressible) take their labels along."""
    smiles = (["C1CC1", "*C1CC1", "C", "C" * 40] + ["C1CC1C1CC1", "CC"] * 20) * 5
    write_smi(tmp_path / "mine.smi", smiles)
    arrays, description = prepared(tmp_path, str(tmp_path / "mine.smi"), notation="selfies", labels=["rings"])
    texts = decoded(description, arrays["tokens"], arrays["offsets"])
    assert len(texts) == 42 * 5 - 20
    assert arrays["labels"].tolist() == [label_of(s, description["labels"]) for s in texts]


def test_refusals(tmp_path, small_qm9):
    with pytest.raises(ValueError, match=r"of 1,000 molecules \d+ longer than 12 tokens; raise trainer.max_tokens"):
        prepared(tmp_path, "qm9", max_tokens=12)
    with pytest.raises(ValueError, match="too few to hold out trainer.validation=200"):
        prepared(tmp_path, "qm9", validation=200)
    with pytest.raises(UnknownNameError, match="selfie"):
        prepared(tmp_path, "qm9", notation="selfie")
    with pytest.raises(UnknownNameError, match="mass"):
        prepared(tmp_path, "qm9", labels=["mass"])


def test_checkpoint_brings_codec_and_data_set(tmp_path, monkeypatch):
    codec = SelfiesTokenizer.train(["CCO", "CCN"], merges=0)
    options = dict(vocab_size=codec.vocab_size, max_length=8, width=16, depth=1, heads=2, pad_id=0)
    made = {"name": "sequence_transformer", "options": options}
    description = dict(domain="molecules", network=made, vocab_size=codec.vocab_size, pad_id=0, card={})
    description |= {"length_counts": [0, 1, 1], "codec": codec.dumps()}
    network = SequenceTransformer(**options)
    seen = []
    monkeypatch.setattr(package, "evaluate", lambda objects, *rest, **options: seen.append(rest) or {})
    monkeypatch.setattr(package, "training_smiles", lambda data: [f"training {data}"])
    monkeypatch.setattr(package, "reference_smiles", lambda most=None, data=None: [f"reference {data}"])
    domain = Molecules()
    for dataset in ({}, {"dataset": "qm9"}, {"dataset": "mine.smi"}):
        save_checkpoint(tmp_path / "p.safetensors", network, description | dataset)
        prior = domain.load_prior(str(tmp_path / "p.safetensors"))
        assert type(prior.codec.tokenizer) is SelfiesTokenizer and prior.encode(["CCO"]).shape[1] >= 2
        domain.evaluate([None], prior=prior)
    domain.evaluate([None], domain.read_reference("qm9"), training=["C"])
    domain.evaluate([None], training=[])
    expected = [([f"reference {data}"], [f"training {data}"]) for data in ("moses", "qm9")]
    found = [tuple(one and list(one) for one in pair) for pair in seen]
    assert found == [*expected, (None, None), (["reference qm9"], ["C"]), (["reference moses"], None)]


def test_evaluate_command_with_names_and_raw_strings(tmp_path):
    known, other = reference_smiles(2, "qm9")
    path = tmp_path / "samples.csv"
    path.write_text(f"smiles,canonical\n{known},{known}\n{other},{other}\nOCC,CCO\nC1CC,\n")
    settings = [f"samples={path}", "training=qm9", "reference=qm9", f"output={tmp_path / 'figures.json'}"]
    assert main(["evaluate", "domain=molecules", *settings]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["validity"] == pytest.approx(3 / 4) and figures["uniqueness_raw_of_valid"] == 1
    assert figures["novelty"] == 0 and figures["novelty_raw_of_valid"] == pytest.approx(1 / 3)
    assert figures["snn"] > 0.7  # two of three are in the reference of QM9; to that of MOSES it is 0.2


def test_raw_strings_come_from_the_file_but_not_from_sdf(tmp_path, shown):
    domain = Molecules()
    (tmp_path / "a.smi").write_text("OCC\nC1CC\n")
    read = domain.read_samples(tmp_path / "a.smi")
    assert read.raw == ["OCC", ""] and read[1] is None and "count as invalid" in read.notes
    assert domain.evaluate(read, reference=["CCO"], training=["CCO"])["novelty_raw_of_valid"] == 1.0
    domain.write(tmp_path, shown(domain, domain.codec.encode(["CCO"])), {})
    assert domain.read_samples(tmp_path / "samples.sdf").raw is None
    assert list(domain.read_reference("moses")) == reference_smiles()
    write_smi(tmp_path / "r.smi", reference_smiles(3))
    assert list(domain.read_reference(tmp_path / "r.smi")) == reference_smiles(3)
    assert list(domain.read_training(f"{tmp_path / 'r.smi'},{tmp_path / 'r.smi'}")) == reference_smiles(3) * 2


def test_a_family_is_spelled_as_the_prior_that_is_trained_on(tmp_path):
    """Canonical, each once; stereo, charges and long ones are counted and listed, or flattened."""
    family = reference_smiles(30)
    odd = ["C[C@H](N)C(=O)O", "CC[N+](C)(C)C", "N(C)CCO" * 12, "OCC", "CCO", "[13CH3]NC.Cl"]
    (tmp_path / "a.csv").write_text(
        "\n".join(["id,smiles", *(f"{i},{s}" for i, s in enumerate([*family, *odd]))]) + "\n"
    )
    trainer = TRAINER | {"init": "default", "max_tokens": 18, "validation": 8000}

    def run(unfit):
        reading = Molecules().prepare_training(tmp_path / "p.npz", str(tmp_path / "a.csv"), trainer | {"unfit": unfit})
        with np.load(tmp_path / "p.npz") as file:
            arrays = dict(file)
        description = json.loads(str(arrays["description"]))
        assert tokenizer_from_text(description["codec"]).symbols == Molecules().codec.tokenizer.symbols
        held = decoded(description, arrays["val_tokens"], arrays["val_offsets"])
        return {*decoded(description, arrays["tokens"], arrays["offsets"]), *held}, len(held), reading

    texts, held, reading = run("skip")
    assert texts == {*family, "CCO"} and held == 3
    assert "; 31 of 36 molecules are trained on; 1 are the same as others; 4 do not fit; the first:" in reading.notes
    assert [one.text for one in reading.rejected] == [odd[0], odd[1], odd[2], odd[5]]
    assert "no token for" in reading.rejected[0].reason and "tokens, at most 18" in reading.rejected[2].reason
    texts, _, reading = run("flatten")
    assert texts == {*family, "CCO", "CC(N)C(=O)O", "CNC"} and [one.text for one in reading.rejected] == [
        odd[1],
        odd[2],
    ]
    (tmp_path / "a.csv").write_text("smiles\nCCO\nCCN\n")
    with pytest.raises(ValueError, match="2 of 2 molecules are trained on; at least 10 are needed"):
        run("skip")


def test_classes_are_files_with_names(tmp_path):
    """Every molecule keeps its class, and what the codec cannot spell is counted."""
    esters = [f"{'C' * n}OC(C)=O" for n in range(1, 31)]
    amides = [f"{'C' * n}NC(C)=O" for n in range(1, 31)] + ["[Na+].[Cl-]"]
    write_smi(tmp_path / "esters.smi", esters, [str(i) for i in range(30)])
    write_smi(tmp_path / "amides.smi", amides, [str(i) for i in range(31)])
    data = f"ester={tmp_path / 'esters.smi'},amide={tmp_path / 'amides.smi'}"
    arrays, description = prepared(tmp_path, data, merges=None)
    assert description["labels"] == [{"name": "class", "values": ["ester", "amide"]}]
    train = decoded(description, arrays["tokens"], arrays["offsets"])
    held = decoded(description, arrays["val_tokens"], arrays["val_offsets"])
    labels = [*arrays["labels"][:, 0].tolist(), *arrays["val_labels"][:, 0].tolist()]
    assert len(train) + len(held) == 60 and len(held) == 6 and set(labels[:54]) == {0, 1}
    assert all(("N" in text) == bool(label) for text, label in zip([*train, *held], labels, strict=True))
    told = Molecules().prepare_training(tmp_path / "q.npz", data, TRAINER)
    assert "30 of 31 molecules" in told.notes and len(told.rejected) == 1
    for wrong in (f"ester={tmp_path / 'esters.smi'}", data.replace("amide=", "ester="), data.replace("amide=", "=")):
        with pytest.raises(ValueError, match="name=file,name=file"):
            prepared(tmp_path, wrong)
    with pytest.raises(ValueError, match="leave trainer.labels out"):
        prepared(tmp_path, data, labels=["qed"])


def test_a_prior_of_classes_is_trained_and_conditioned_on_them(tmp_path):
    write_smi(tmp_path / "esters.smi", [f"{'C' * n}OC(C)=O" for n in range(1, 31)], [""] * 30)
    write_smi(tmp_path / "amides.smi", [f"{'C' * n}NC(C)=O" for n in range(1, 31)], [""] * 30)
    small = ["trainer.network.options={width: 16, depth: 1, heads: 2, max_length: 32}", "trainer.accelerator=cpu"]
    small += ["trainer.steps=2", "trainer.batch_size=8", "trainer.validate_every=2", "trainer.precision=32-true"]
    data = f"ester={tmp_path / 'esters.smi'},amide={tmp_path / 'amides.smi'}"
    output = tmp_path / "mine.safetensors"
    assert main(["train", "domain=molecules", f'data="{data}"', f"output={output}", *small]) == 0
    run = tmp_path / "run"
    assert (
        main(
            [
                "sample",
                "domain=molecules",
                f"prior={output}",
                "condition=amide",
                "guidance=cfg",
                "num_samples=4",
                f"output={run}",
            ]
        )
        == 0
    )
    assert main(["sample", "domain=molecules", f"prior={output}", "condition=acid", f"output={tmp_path / 'x'}"]) == 2
