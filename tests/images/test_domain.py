import json
import math
import shutil

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.domains.images import Images
from guidekit.domains.images.classifier import ROLES, train_classifier, training_data
from guidekit.domains.images.classifier import main as train_main
from guidekit.domains.images.codec import ImageCodec
from guidekit.domains.images.data import SETS, pictures
from guidekit.domains.images.files import write_folder
from guidekit.domains.images.judging import load, shipped
from guidekit.domains.images.preparation import prepare
from guidekit.errors import UnknownNameError
from guidekit.installed import load_domain
from guidekit.networks import UNet
from guidekit.priors.checkpoints import save_checkpoint
from guidekit.samples import Samples

TEST, CLASSES = pictures("fashion_mnist", "test"), SETS["fashion_mnist"].classes
STATES = Images().codec.encode(list(TEST.images[:5]))


def size_of(path):
    from matplotlib.image import imread

    return imread(path).shape


def test_registered():
    assert isinstance(load_domain("images"), Images) and load_domain("images", set="emoji").codec.shape == (3, 32, 32)


def saved_prior(path, shape, dataset, values):
    """A tiny untrained conditional prior in a checkpoint file."""
    torch.manual_seed(0)
    options = {
        "channels": shape[0],
        "width": 8,
        "multipliers": [1],
        "attention": [],
        "heads": 2,
        "labels": [len(values)],
    }
    description = {
        "domain": "images",
        "network": {"name": "unet", "options": options},
        "event_shape": shape,
        "dataset": dataset,
        "labels": [{"name": "class", "values": values}],
        "card": {"data": "nothing"},
    }
    save_checkpoint(path, UNet(**options), description)
    return str(path)


def test_a_prior_brings_its_set(tmp_path):
    path = saved_prior(tmp_path / "p.safetensors", (3, 32, 32), "emoji", list(SETS["emoji"].classes))
    domain = Images()
    prior = domain.load_prior(path)
    assert (
        domain.about(prior)[:2] == ("emoji", (3, 32, 32))
        and prior.codec.shape == (3, 32, 32)
        and prior.condition("flags").tolist() == [[3]]
    )
    with pytest.raises(ValueError, match="was trained on emoji, not on domain.set=fashion_mnist"):
        Images("fashion_mnist").load_prior(path)
    with pytest.raises(UnknownNameError, match="no prior named 'nothing'"):
        Images().load_prior("nothing")
    with pytest.raises(ValueError, match="of domain 'images', not of 'dna'"):
        load_domain("dna").load_prior(path)


def test_classes_of_another_order_keep_their_names(tmp_path):
    path = saved_prior(tmp_path / "p.safetensors", (1, 28, 28), "fashion_mnist", ["bag", "coat", "hat"])
    domain = Images()
    prior = domain.load_prior(path)
    bags = Samples(prior.encode(list(TEST.images[TEST.labels == 8][:20])), prior, "bag")
    rows = domain.table(bags)
    assert domain.wanted(bags) == "bag" and domain.summary(rows, [0.0] * 20, bags)["judged bag"] > 0.9
    assert np.mean([row["wanted"] for row in rows]) > 0.9
    found = domain.evaluate(bags.objects, training=(), prior=prior, condition="bag")
    assert found["judge_accuracy"] > 0.9 and found["n_reference"] == 1000 and found["judge_accuracy_reference"] > 0.9
    domain.write(tmp_path, bags, {})
    again = Images()
    objects = again.read_samples(tmp_path / "samples.npz")
    assert again.evaluate(objects, training=())["judge_accuracy"] == found["judge_accuracy"]
    hats = Samples(bags.states, prior, "hat")  # the judge knows none
    assert "wanted" not in domain.table(hats)[0]
    assert "judge_accuracy" not in domain.evaluate(list(objects), training=(), prior=prior, condition="hat")


def test_data_of_another_shape_are_not_of_the_set(tmp_path):
    path = saved_prior(tmp_path / "p.safetensors", (1, 32, 32), "fashion_mnist", ["a", "b"])
    domain = Images()
    prior = domain.load_prior(path)
    assert domain.about(prior).set is None and domain.classifier(prior) is None
    with pytest.raises(ValueError, match=r"is of states \(1, 32, 32\), domain.set=fashion_mnist of \(1, 28, 28\)"):
        Images("fashion_mnist").load_prior(path)


def test_a_judge_of_ones_own(tmp_path, shown):
    other = Images(judge=shipped("fashion_mnist", "reward"))
    assert other.classifier().name == "fashion_mnist_reward"
    laws = other.classifier().probabilities(STATES).amax(1).tolist()
    assert [row["probability"] for row in other.table(shown(other, STATES))] == pytest.approx(laws)
    path = saved_prior(tmp_path / "p.safetensors", (3, 32, 32), "emoji", ["a"])
    with pytest.raises(ValueError, match=r"is of states \(3, 32, 32\), domain.judge of \(1, 28, 28\)"):
        other.load_prior(path)
    with pytest.raises(ValueError, match="there is no checkpoint"):
        Images(judge=tmp_path / "no.safetensors")


def test_a_prior_of_other_data_has_neither_judge_nor_reference(tmp_path):
    domain = Images()
    prior = domain.load_prior(saved_prior(tmp_path / "p.safetensors", (1, 8, 8), "mine", ["a", "b"]))
    assert domain.about(prior).set is None and domain.classifier(prior) is None and domain.reference(prior=prior) == []
    reward = domain.rewards["symmetry"]
    guided = gk.sample(prior, gk.guidance.SVDD(reward, 2), 5, steps=4, condition="b")
    samples = Samples(guided.samples, prior, "b")
    images = samples.objects
    rows = domain.table(samples)
    assert len(rows) == 5 and "class" not in rows[0] and domain.summary(rows, [1.0] * 5, samples)["valid"] == 1.0
    assert domain.write(tmp_path, samples, {}) == ["samples.npz", "samples.png"]
    assert domain.figure(samples, [1.0] * 5, "symmetry", tmp_path / "figure.png") == "figure.png"
    found = domain.evaluate(images, prior=prior)
    assert found["n_valid"] == 5 and "frechet_judge" not in found and "n_reference" not in found
    assert domain.evaluate(images, images * 2, training=images, prior=prior)["nearest_mean"] == pytest.approx(
        0.0, abs=1e-3
    )


@pytest.mark.parametrize("kind, least", [("fashion_mnist", 0.89), ("emoji", 0.3)])
def test_shipped_classifiers_are_two_and_know_the_test_set(kind, least):
    states = Images(kind).codec.encode(list(pictures(kind, "test").images[:500]))
    labels = torch.from_numpy(pictures(kind, "test").labels[:500])
    both = [load(shipped(kind, role)) for role in ROLES]
    for one in both:
        assert one.classes == SETS[kind].classes and shipped(kind, "judge").stat().st_size <= 1 << 20
        assert (one.probabilities(states).argmax(1) == labels).double().mean() > least
    assert both[0].card["half"] != both[1].card["half"]
    assert {one.network.blocks[0].kernel_size for one in both} == {(3, 3), (5, 5)}


def test_table_summary_and_files(tmp_path, shown):
    domain = Images()
    states = STATES[[0, 1, 1, 2]].clone()
    states[3, 0, 0, 0] = math.nan
    states[1, 0, 0, 0] = -2.0
    samples = shown(domain, states, "ankle_boot", CLASSES, "fashion_mnist")
    rows = domain.table(samples)
    assert [row["valid"] for row in rows] == [True, True, True, False] and rows[3]["reason"] == "not finite"
    assert rows[0]["class"] == "ankle_boot" and rows[0]["wanted"] == rows[0]["probability"] > 0.5
    assert rows[0]["brightness"] == pytest.approx(TEST.images[0].mean() / 255)
    assert rows[1]["outside"] == pytest.approx(1 / 784) and rows[1]["checksum"] == rows[2]["checksum"]
    figures = domain.summary(rows, [1.0, 3.0, 3.0, 9.0], samples)
    assert (figures["valid"], figures["unique"]) == (0.75, pytest.approx(2 / 3))
    assert (figures["reward"], figures["best"], figures["judged ankle_boot"]) == (2.0, 3.0, 0.5)
    assert domain.write(tmp_path, samples, {"reward": [1.0, 3.0, 3.0, -math.inf]}) == ["samples.npz", "samples.png"]
    assert size_of(tmp_path / "samples.png")[:2] == (57, 57)
    back = domain.read_samples(tmp_path / "samples.npz")
    assert back.notes == "" and all(np.array_equal(a, b) for a, b in zip(back, samples.objects, strict=False))
    with np.load(tmp_path / "samples.npz") as file:
        assert file["labels"].tolist() == [9] * 3 and file["index"].tolist() == [0, 1, 2]
        assert file["reward"].tolist() == [1.0, 3.0, 3.0]
    assert domain.summary([rows[3]], [math.nan], samples)["valid"] == 0


def test_the_class_wanted_reaches_the_judge(tmp_path, shown):
    domain = Images()
    states = domain.codec.encode(list(TEST.images[TEST.labels == 8][:40]))
    domain.write(tmp_path, shown(domain, states, {"class": "bag"}, CLASSES, "fashion_mnist"), {})
    other = Images()  # another process: nothing but the file tells
    objects = other.read_samples(tmp_path / "samples.npz")
    found = other.evaluate(objects, training=())
    assert found["n_labelled"] == 40 and found["judge_accuracy"] > 0.9 and found["n_reference"] == 1000
    assert found["classes_reference"] < 3  # real bags, not everything
    assert other.evaluate(objects, label="sneaker", training=())["judge_accuracy"] < 0.1
    real = other.reference()[:200]
    assert "judge_accuracy" not in other.evaluate(list(objects), real, training=())


@pytest.mark.parametrize(
    "condition, wanted", [(7, 7), ("sneaker", 7), ([7], 7), (None, None), (-1, None), (True, None)]
)
def test_conditions_are_understood(condition, wanted, shown):
    samples = shown(Images(), STATES, condition, CLASSES, "fashion_mnist")
    assert Images().wanted(samples) == (None if wanted is None else CLASSES[wanted])


def test_pictures_of_sets(tmp_path, shown):
    domain, path = Images(), tmp_path / "figure.png"
    samples = shown(domain, STATES, dataset="fashion_mnist")
    values = [0.1, math.nan, 2.0, -math.inf, 1.0]
    assert domain.figure(samples, values, "classifier", path, unguided=(samples, [0.0] * 5)) == "figure.png"
    both = size_of(path)
    assert both[1] > 1200
    assert domain.figure(samples, [math.nan] * 5, "", path) == "figure.png"  # beside real ones
    assert (
        size_of(path)[1] > 1200
        and domain.figure(shown(domain, STATES * math.nan), values, "", tmp_path / "no.png") is None
    )
    assert not (tmp_path / "no.png").exists()
    emoji = Images("emoji")
    assert (
        emoji.figure(
            shown(emoji, emoji.codec.encode(emoji.reference()[:3]), dataset="emoji"), [1.0, 2.0, 3.0], "symmetry", path
        )
        == "figure.png"
    )


def test_a_classifier_can_be_trained_and_used(tmp_path):
    images = np.zeros((200, 12, 12), np.uint8)
    labels = np.arange(200) % 2
    images[labels == 1, :, 6:] = 255
    path = tmp_path / "sides.safetensors"
    report = train_classifier(images, labels, ("left", "right"), path, epochs=8, batch_size=20, test=(images, labels))
    assert report["test accuracy"] == 1.0 and report["images"] == 100
    one = load(path)
    assert one.shape == (1, 12, 12) and one.number("right") == 1
    reward = Images().rewards.make("classifier", label="right", model=str(path))
    values = reward(ImageCodec((1, 12, 12)).encode(list(images[:2])))
    assert values[1] > values[0] + 0.5
    with pytest.raises(UnknownNameError, match="no role named 'jury'"):
        train_classifier(images, labels, ("left", "right"), path, role="jury")
    shutil.copy(shipped("fashion_mnist", "judge"), path)
    assert load(path).classes == SETS["fashion_mnist"].classes  # a file made anew is read anew
    with pytest.raises(ValueError, match="epochs=0"):
        train_classifier(images, labels, ("left", "right"), path, epochs=0)
    with pytest.raises(ValueError, match="labels from 0 to 1; expected one each, 0 to 0"):
        train_classifier(images, labels, ("left",), path)


def test_sub_folders_are_the_classes_of_the_set(tmp_path, capsys):
    for name, number in (("bag", 8), ("t-shirt", 0)):
        write_folder(tmp_path / "data" / name, list(TEST.images[TEST.labels == number][:30]))
    _, labels, title = training_data("fashion_mnist", str(tmp_path / "data"))
    assert labels.tolist() == [8] * 30 + [0] * 30 and title == "Fashion-MNIST, data"
    prepare(tmp_path / "p.npz", str(tmp_path / "data"), {"validation": 1}, "fashion_mnist")
    with np.load(tmp_path / "p.npz") as file:
        made = json.loads(str(file["description"]))
        assert set(file["labels"].ravel().tolist()) == {0, 8}
        assert made["labels"][0]["values"] == list(SETS["fashion_mnist"].classes)
    write_folder(tmp_path / "data" / "hat", list(TEST.images[:1]))
    with pytest.raises(UnknownNameError, match="no class of fashion_mnist named 'hat'"):
        prepare(tmp_path / "p.npz", str(tmp_path / "data"), {"validation": 1}, "fashion_mnist")
    with pytest.raises(SystemExit) as stopped:
        train_main(["--data", str(tmp_path / "data"), "--output", "judge.safetensors"])
    assert stopped.value.code == 2 and "no class of fashion_mnist named 'hat'" in capsys.readouterr().err


def test_command_line(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.savez("samples.npz", images=TEST.images[:60], labels=TEST.labels[:60])
    assert main(["evaluate", "domain=images", "samples=samples.npz", "reference=samples.npz", "output=f.json"]) == 0
    found = json.loads((tmp_path / "f.json").read_text())
    assert found["n_labelled"] == 60 and found["judge_accuracy"] > 0.8 and found["n_training"] == 20_000
    assert main(["evaluate", "domain=images", "domain.set=emoji", "samples=samples.npz"]) == 2
    assert "is grey, RGB is expected" in capsys.readouterr().err
    assert main(["evaluate", "domain=images", "domain.set=emojis", "samples=samples.npz"]) == 2
    assert "did you mean 'emoji'" in capsys.readouterr().err


def test_sampling_from_the_command_line(tmp_path, capsys):
    path = saved_prior(tmp_path / "p.safetensors", (1, 28, 28), "fashion_mnist", list(SETS["fashion_mnist"].classes))
    chosen = ["domain=images", f"prior={path}", "reward=brightness", "condition=sneaker", "guidance=gradient"]
    assert main(["sample", *chosen, "num_samples=3", "steps=4", f"output={tmp_path / 'run'}"]) == 0
    names = {"samples.csv", "samples.npz", "samples.png", "figure.png", "unguided.csv", "run.json"}
    assert {item.name for item in (tmp_path / "run").iterdir()} == names
    with np.load(tmp_path / "run" / "samples.npz") as file:
        assert file["images"].shape == (3, 28, 28) and file["labels"].tolist() == [7] * 3 and "reward" in file.files
    assert "judged sneaker" in capsys.readouterr().out
    assert main(["sample", *chosen, "domain.set=emoji"]) == 2
    assert "leave domain.set out" in capsys.readouterr().err
