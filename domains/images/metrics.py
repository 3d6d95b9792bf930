"""Numbers that describe a set of generated images, each beside what real images get."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from guidekit.evaluation.checks import check_labels, check_sets
from guidekit.evaluation.frechet import frechet
from guidekit.evaluation.kernel import kernel_distance
from guidekit.evaluation.pairs import random_pairs

from . import paired as pairs
from .codec import ImageError, encode, state_shape
from .judging import Classifier

NEIGHBOURS = 3
PAIRS = 2_000  # random pairs for the diversity
NO_JUDGE = (
    "judge_accuracy, classes, frechet_judge, kernel_judge, precision, recall and diversity need a judge of such "
    "images: guidekit train domain=images trainer=judge data=FOLDER output=judge.safetensors, with a sub-folder a "
    "class, makes one for domain.judge=judge.safetensors"
)
"""What is said where no classifier judges."""
USUAL = 200  # real images, at least, whose nearest neighbours tell what is usual
ROWS = 512  # a block of a distance matrix


def evaluate(
    images: Sequence[np.ndarray | None],
    reference: Sequence[np.ndarray] | None = None,
    training: Sequence[np.ndarray] | None = None,
    judge: Classifier | None = None,
    labels: Sequence[int] | None = None,
    reference_labels: Sequence[int] | None = None,
    paired: bool = False,
) -> dict[str, float | int | str]:
    """Judge generated images; 1,000 of 28 x 28 against 10,000 real ones take some 10 s on one thread.

    Features are the hidden layer of the judge, a classifier of the same set: these are no Inception features, and the
    Frechet distance here is not comparable with any published FID.

    Args:
        images: uint8, all of one shape; None counts as invalid.
        reference: real images to compare with, not those trained on; None leaves the comparisons out.
        training: images trained on, for the nearest neighbours.
        judge: which classifier judges; better not the one that was the reward. None leaves classes and features out.
        labels: class number wanted of each image, -1 where none was.
        reference_labels: class numbers of the reference, for what the judge's accuracy is on real images; -1 for none.
        paired: the reference is what each image should have been, in this order; adds the figures of `paired.paired`.

    Returns:
        n, n_valid, n_reference, n_training: images, those that are not None, real ones, those trained on.
        validity, uniqueness: n_valid / n; distinct images / n_valid.
        judge: its name and accuracy on held-out images.
        judge_accuracy: share of the n_labelled valid images with a wanted class that the judge takes for it;
            judge_accuracy_reference: its accuracy on real images (of the same class, where all samples have one).
        judge_confidence: mean largest class probability; classes: exp of the entropy of the mean class probabilities,
            the effective number of classes; each with _reference.
        frechet_judge: |m - m'|^2 + tr(S + S' - 2 (S S')^1/2) of mean and covariance of the features, samples against
            the whole reference; frechet_judge_floor: of n_floor random reference images (seed 0; as many as samples,
            at most half) against the rest: what real images get.
        kernel_judge, kernel_judge_error: squared maximum mean discrepancy of the features, of samples and the whole
            reference, without bias (0 on average for real images), and its standard error; see `kernel_distance`.
        precision, recall: share of samples in the manifold of n_floor real images, and of these in that of as many
            samples; the manifold of a set is the balls to the third nearest neighbour in the set. precision_floor,
            recall_floor: of as many other real images.
        mean_pixel, sd_pixel: of all pixels, 0 to 1; each with _reference.
        diversity: mean distance in features of random pairs (at most 2,000, seed 0), with _reference.
        nearest_mean, nearest_least: root-mean-square difference in pixels (0 to 1) to the nearest training image, mean
            and least; nearest_reference: mean of n_floor real images, at least 200 where there are; copied: share of
            samples nearer than all but 1 % of these.
        note: sentences on what is to be read with care; only where there is something to say.
        A figure that needs more images than there are is NaN.

    Raises:
        ValueError: no images, an empty reference or training set, labels that do not fit, or images that do not.

    Source: Frechet distance, Heusel et al. 2017, arXiv:1706.08500, eq. 6, on other features; precision and recall,
    Kynkaanniemi et al. 2019, arXiv:1904.06991, eq. 1 and 2.
    """
    check_sets("images", images, reference=reference, training_set=training)
    check_labels("images", {"labels": (labels, images), "reference_labels": (reference_labels, reference)})
    kept = [i for i, image in enumerate(images) if image is not None]
    valid = [image for image in images if image is not None]
    result: dict[str, float | int | str] = {
        "n": len(images),
        "n_valid": len(valid),
        "validity": len(valid) / len(images),
        "uniqueness": len({image.tobytes() for image in valid}) / len(valid) if valid else math.nan,
    }
    if paired:
        result |= pairs.paired(images, () if reference is None else reference)
    if not valid:
        return result
    notes: list[str] = []
    shape = state_shape(valid[0])
    states = encode(valid, shape)
    real = None if reference is None else _real(reference, shape, "reference")
    drawn, rest = _divide(0 if real is None else len(real), len(valid))
    if real is not None:
        result |= {"n_reference": len(real), "n_floor": len(drawn)}
        if len(drawn) < len(valid):
            notes.append(f"the floors are of {len(drawn)} reference images, the figures of {len(valid)} samples")
    if judge is not None:
        wanted = None if labels is None else np.asarray(labels)[kept]
        features, found = judge.judged(states)
        true, known = (None, None) if real is None else judge.judged(real)
        accuracy = judge.card.get("test accuracy")
        result["judge"] = judge.name + (f", test accuracy {accuracy:.3f}" if accuracy is not None else "")
        result |= _classes(judge, found, wanted, known, reference_labels)
        if true is not None:
            result["frechet_judge"] = frechet(features, true)
            result["frechet_judge_floor"] = frechet(true[drawn], true[rest])
            result["kernel_judge"], result["kernel_judge_error"] = kernel_distance(features, true)
            few = min(len(valid), len(drawn))
            if min(len(valid), len(true)) < 2:
                notes.append("frechet_judge, kernel_judge, precision, recall and diversity compare sets: one has none")
            elif few <= features.shape[1]:
                notes.append(
                    f"{few} images in {features.shape[1]} features: frechet_judge and its floor are biased upwards"
                )
            others = rest[: len(drawn)]
            result["precision"], result["recall"] = precision_recall(features[_order(len(valid))[:few]], true[drawn])
            floors = precision_recall(true[others], true[drawn])
            result["precision_floor"], result["recall_floor"] = floors
        result["diversity"] = diversity(features)
        if true is not None:
            result["diversity_reference"] = diversity(true)
    else:
        notes.append(NO_JUDGE)
    result |= {f"{name}_pixel": value for name, value in _pixels(states).items()}
    if real is not None:
        result |= {f"{name}_pixel_reference": value for name, value in _pixels(real).items()}
    if training is not None:
        learned = _real(training, shape, "training set")
        distances = nearest(states, learned)
        result["n_training"] = len(learned)
        result |= {"nearest_mean": float(distances.mean()), "nearest_least": float(distances.min())}
        if real is not None and len(drawn):
            usual = nearest(real[torch.cat([drawn, rest])[: max(len(drawn), USUAL)]], learned)
            result["nearest_reference"] = float(usual.mean())
            result["copied"] = float((distances < torch.quantile(usual, 0.01)).double().mean())
    if notes:
        result["note"] = "; ".join(notes)
    return result


def _real(images: Sequence[np.ndarray], shape: tuple[int, int, int], what: str) -> Tensor:
    try:
        return encode(images, shape)
    except ImageError as error:
        raise ImageError(f"{what}: {error}, as the samples are") from error


def _divide(total: int, count: int) -> tuple[Tensor, Tensor]:
    """Numbers of `count` random reference images (at most half) and of the rest."""
    order, cut = _order(total), min(count, total // 2)
    return order[:cut], order[cut:]


def _order(count: int) -> Tensor:
    """Numbers of so many things in a random order (seed 0)."""
    return torch.randperm(count, generator=torch.Generator().manual_seed(0))


def _classes(
    judge: Classifier,
    found: Tensor,
    wanted: np.ndarray | None,
    true: Tensor | None,
    real_labels: Sequence[int] | None,
) -> dict[str, float | int]:
    """What the judge takes samples and real images for, by their class probabilities (n, K)."""
    result: dict[str, float | int] = {}
    if wanted is not None and (wanted >= 0).any():
        given = torch.from_numpy(wanted).long()
        if given.max() >= len(judge.classes):
            raise ValueError(f"label {given.max()}; the judge {judge.name} knows 0 to {len(judge.classes) - 1}")
        asked = given >= 0
        result["n_labelled"] = int(asked.sum())
        result["judge_accuracy"] = float((found.argmax(1) == given)[asked].double().mean())
    if true is not None and real_labels is not None:
        given = torch.as_tensor(np.asarray(real_labels)).long()
        if (given >= 0).any():
            hits = (true.argmax(1) == given)[given >= 0]
            result["judge_accuracy_reference"] = float(hits.double().mean())
    for end, laws in (("", found), ("_reference", true)):
        if laws is not None:
            mean = laws.mean(0)
            result[f"judge_confidence{end}"] = float(laws.amax(1).mean())
            result[f"classes{end}"] = float(torch.special.entr(mean).sum().exp())
    return result


def precision_recall(samples: Tensor, real: Tensor, neighbours: int = NEIGHBOURS) -> tuple[float, float]:
    """Shares of samples in the manifold of real features and the other way round; NaN where a set is too small."""
    if min(len(samples), len(real)) <= neighbours:
        return math.nan, math.nan
    return inside(samples, real, neighbours), inside(real, samples, neighbours)


def inside(points: Tensor, manifold: Tensor, neighbours: int = NEIGHBOURS) -> float:
    """Share of points (n, F) within a ball around any point of the manifold (m, F) to its k-th nearest in it."""
    blocks = [torch.cdist(part, manifold) for part in manifold.split(ROWS)]
    radii = torch.cat([block.kthvalue(neighbours + 1, 1).values for block in blocks])  # the nearest is the point itself
    hits = [(torch.cdist(part, manifold) <= radii).any(1) for part in points.split(ROWS)]
    return float(torch.cat(hits).double().mean())


def diversity(features: Tensor) -> float:
    """Mean Euclidean distance of random pairs of different rows (seed 0), all pairs where they are few; NaN for one."""
    n = len(features)
    if n < 2:
        return math.nan
    first, second = random_pairs(n, PAIRS)
    return float((features[first] - features[second]).norm(dim=1).mean())


def nearest(states: Tensor, known: Tensor) -> Tensor:
    """Root-mean-square difference (B,) of brightness 0 to 1 of states to the nearest of others, each (n, C, H, W)."""
    flat = known.flatten(1)
    found = [torch.cdist(part.flatten(1), flat).amin(1) for part in states.split(ROWS)]
    return torch.cat(found).double() / 2 / math.sqrt(flat.shape[1])


def _pixels(states: Tensor) -> dict[str, float]:
    numbers = (states.double() + 1) / 2
    return {"mean": float(numbers.mean()), "sd": float(numbers.std(correction=0))}
