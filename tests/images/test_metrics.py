import math

import numpy as np
import pytest
import torch

from guidekit.domains.images import ImageError, Images, evaluate
from guidekit.domains.images.data import pictures
from guidekit.domains.images.metrics import diversity, inside, nearest, precision_recall
from guidekit.evaluation.frechet import frechet
from guidekit.evaluation.kernel import kernel_distance

TEST = pictures("fashion_mnist", "test")
TRAIN = list(pictures("fashion_mnist").images[:2000])
JUDGE = Images("fashion_mnist").classifier()
DRAW = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=DRAW, dtype=torch.float64)


def test_frechet_of_known_gaussians():
    x = normal(4000, 3)
    shift = torch.tensor([3.0, 0.0, 4.0], dtype=torch.float64)
    assert frechet(x, x) == pytest.approx(0.0, abs=1e-8)
    assert frechet(x, x + shift) == pytest.approx(25.0, abs=1e-8)
    assert frechet(x, 2 * (x - x.mean(0)) + x.mean(0)) == pytest.approx(float(torch.cov(x.T).trace()), rel=1e-8)
    first, second = normal(50, 4) @ normal(4, 4), normal(60, 4) @ normal(4, 4) + 1
    assert frechet(first, second) == pytest.approx(frechet(second, first), rel=1e-8)
    values = torch.linalg.eigvals(torch.cov(first.T) @ torch.cov(second.T)).real.clamp_min(0).sqrt().sum()
    gap = (first.mean(0) - second.mean(0)).square().sum()
    exact = gap + torch.cov(first.T).trace() + torch.cov(second.T).trace() - 2 * values
    assert frechet(first, second) == pytest.approx(float(exact), rel=1e-8)
    assert math.isnan(frechet(x[:1], x))


def test_precision_and_recall_of_known_sets():
    left, right = normal(200, 2), normal(200, 2) + 50
    both = torch.cat([left, right])
    assert precision_recall(left, left) == (1.0, 1.0) and precision_recall(left, right) == (0.0, 0.0)
    precision, recall = precision_recall(left + 1e-9, both)
    assert precision == 1.0 and recall == pytest.approx(0.5)
    line = torch.arange(6.0)[:, None]
    assert inside(torch.tensor([[5.9], [8.1], [-2.9], [-3.1]]), line, 3) == 0.5
    assert math.isnan(precision_recall(left[:3], right)[0])


def test_diversity_and_neighbours_of_known_sets():
    points = torch.tensor([[0.0], [1.0], [3.0]], dtype=torch.float64)
    assert diversity(points) == pytest.approx(2.0) and math.isnan(diversity(points[:1]))
    spread = normal(3000, 1)
    assert diversity(spread) == pytest.approx(2 / math.sqrt(math.pi), rel=0.06)
    black, white = torch.full((1, 1, 4, 4), -1.0), torch.full((1, 1, 4, 4), 1.0)
    assert nearest(black, torch.cat([white, white])).tolist() == [1.0]
    assert nearest(torch.cat([black, white]), torch.cat([white, torch.zeros(1, 1, 4, 4)])).tolist() == [0.5, 0.0]


def test_real_images_are_at_their_floor():
    samples, reference = list(TEST.images[:400]), list(TEST.images[400:2400])
    labels = TEST.labels
    found = evaluate(samples, reference, TRAIN, JUDGE, labels[:400], labels[400:2400])
    assert found["n"] == found["n_valid"] == found["n_floor"] == 400 and found["n_reference"] == 2000
    assert found["frechet_judge"] == pytest.approx(found["frechet_judge_floor"], rel=0.5)
    assert found["precision"] == pytest.approx(found["precision_floor"], abs=0.1)
    assert found["judge_accuracy"] > 0.85 and found["judge_accuracy_reference"] > 0.85
    assert found["classes"] > 9 and found["classes_reference"] > 9 and found["uniqueness"] == 1.0
    assert found["mean_pixel"] == pytest.approx(np.mean(samples) / 255, abs=1e-6)
    assert found["sd_pixel"] == pytest.approx(np.std(np.stack(samples) / 255), abs=1e-6)
    assert found["diversity"] == pytest.approx(found["diversity_reference"], rel=0.1)
    assert found["nearest_mean"] == pytest.approx(found["nearest_reference"], rel=0.1) and found["copied"] < 0.05


def test_noise_copies_and_collapse_are_seen():
    noise = list(np.random.default_rng(0).integers(0, 256, (200, 28, 28), np.uint8))
    reference = list(TEST.images[:1000])
    found = evaluate(noise, reference, TRAIN, JUDGE)
    assert found["frechet_judge"] > 5 * found["frechet_judge_floor"] and found["nearest_least"] > 0.3
    copies = evaluate(TRAIN[:200], reference, TRAIN, JUDGE)
    assert copies["copied"] == 1.0 and copies["nearest_least"] == pytest.approx(0.0, abs=1e-3)
    bags = list(TEST.images[TEST.labels == 8][:200])
    one = evaluate(bags, reference, None, JUDGE, [8] * 200)
    assert one["judge_accuracy"] > 0.9 and one["classes"] < 2 and one["recall"] < one["recall_floor"] - 0.2
    assert evaluate(bags[:1] * 50, None, None, JUDGE)["diversity"] == 0.0


def test_no_distance_is_within_its_error_and_noise_is_not():
    reference = list(TEST.images[1000:3000])
    for samples in (list(TEST.images[:40]), list(TEST.images[:1000])):
        found = evaluate(samples, reference, None, JUDGE)
        assert abs(found["kernel_judge"]) < 4 * found["kernel_judge_error"]
    states = Images().codec.encode([*samples, *reference])
    features = JUDGE.judged(states)[0]
    assert (found["kernel_judge"], found["kernel_judge_error"]) == kernel_distance(features[:1000], features[1000:])
    noise = list(np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8))
    found = evaluate(noise, reference, None, JUDGE)
    assert found["kernel_judge"] > 10 * found["kernel_judge_error"]


def test_precision_and_recall_are_of_equal_numbers():
    found = evaluate(list(TEST.images[:300]), list(TEST.images[300:500]), None, JUDGE)
    assert found["n_floor"] == 100
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))[:100]
    drawn = torch.randperm(200, generator=torch.Generator().manual_seed(0))[:100]
    features = JUDGE.judged(Images().codec.encode(list(TEST.images[:500])))[0]
    expected = precision_recall(features[:300][order], features[300:][drawn])
    assert (found["precision"], found["recall"]) == expected


def test_real_images_without_a_class_do_not_count_as_wrong():
    real, labels = list(TEST.images[:200]), TEST.labels[:200]
    known = evaluate(real, real, None, JUDGE, None, labels)["judge_accuracy_reference"]
    half = np.where(np.arange(200) % 2, -1, labels)
    hits = evaluate(real, real, None, JUDGE, None, half)["judge_accuracy_reference"]
    assert (
        known > 0.85
        and hits == evaluate(real[::2], real[::2], None, JUDGE, None, labels[::2])["judge_accuracy_reference"]
    )
    assert "judge_accuracy_reference" not in evaluate(real, real, None, JUDGE, None, [-1] * 200)


def test_invalid_ones_are_counted_and_never_dropped():
    found = evaluate([None, TEST.images[0], TEST.images[0], None], None, None, JUDGE, [1, 9, -1, 2])
    assert (found["n"], found["n_valid"], found["validity"], found["uniqueness"]) == (4, 2, 0.5, 0.5)
    assert found["n_labelled"] == 1 and found["judge_accuracy"] == 1.0
    nothing = evaluate([None], None, None, JUDGE)
    assert nothing["n_valid"] == 0 and math.isnan(nothing["uniqueness"])
    few = evaluate(list(TEST.images[:10]), list(TEST.images[10:30]), None, JUDGE)
    assert "biased upwards" in few["note"]


def test_one_image_is_no_set():
    one = evaluate([TEST.images[0]], list(TEST.images[10:400]), TRAIN, JUDGE)
    assert "compare sets: one has none" in one["note"] and "biased" not in one["note"]
    assert all(math.isnan(one[name]) for name in ("frechet_judge", "precision", "recall", "diversity"))
    assert one["copied"] == 0 and one["nearest_mean"] < one["nearest_reference"]  # against 200 real ones, not one


@pytest.mark.parametrize(
    "arguments, said",
    [
        (([],), "no images to evaluate"),
        (([TEST.images[0]], []), "the reference is empty"),
        (([TEST.images[0]], None, []), "the training set is empty"),
        (([TEST.images[0]], None, None, JUDGE, [1, 2]), "2 labels for 1 images"),
        (([TEST.images[0]], None, None, JUDGE, [10]), "knows 0 to 9"),
        (([TEST.images[0]], [np.zeros((32, 32), np.uint8)]), "reference: image 0 is 32 x 32 pixels"),
        (([np.zeros((32, 32, 3), np.uint8)], None, None, JUDGE), "classifier fashion_mnist_judge: states have shape"),
    ],
)
def test_what_cannot_be_judged_is_told(arguments, said):
    with pytest.raises((ValueError, ImageError), match=said):
        evaluate(*arguments)
