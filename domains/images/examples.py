"""Files for `guidekit examples`: pictures, folders of them, measurements, and an operator."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from guidekit.examples import MADE, Example
from guidekit.io.files import write_npz

from .data import SETS, pictures
from .files import png, write_folder

ZALANDO = "Fashion-MNIST, MIT (c) Zalando SE"
OPERATOR = '''import dataclasses

from guidekit.objectives.operators.base import Linear


@dataclasses.dataclass(frozen=True)
class ColumnMeans(Linear):
    """Means over the columns of a picture; the adjoint comes by differentiation."""

    shape: tuple[int, ...]  # of states: filled in by task=custom

    def forward(self, x):
        return x.mean(-2)

    def pinv(self, y):
        return y[..., None, :].expand(len(y), *self.shape)
'''


def clothes(name: str, count: int, first: int = 0) -> list[np.ndarray]:
    """Test images (28, 28) of a class of Fashion-MNIST."""
    known = pictures("fashion_mnist", "test")
    return list(known.images[known.labels == SETS["fashion_mnist"].classes.index(name)][first : first + count])


def one(name: str, number: int) -> np.ndarray:
    """One of them."""
    return clothes(name, 1, number)[0]


def means(image: np.ndarray, factor: int = 4) -> np.ndarray:
    """Means of blocks of a picture (H, W), as uint8."""
    height, width = image.shape
    return image.reshape(height // factor, factor, width // factor, factor).mean((1, 3)).round().astype(np.uint8)


def stripes(generator: np.random.Generator, size: int = 20) -> np.ndarray:
    """Colored stripes (size, size, 3) of any width, direction and place."""
    y, x = np.mgrid[:size, :size] / size
    angle, width, shift = generator.uniform(0, np.pi), generator.uniform(2, 5), generator.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi * width * (x * np.cos(angle) + y * np.sin(angle)) + shift)
    return colored(0.5 + 0.5 * wave, generator)


def dots(generator: np.random.Generator, size: int = 20) -> np.ndarray:
    """Colored dots (size, size, 3), three to seven of them."""
    y, x = np.mgrid[:size, :size] / size
    places = generator.uniform(0.1, 0.9, (generator.integers(3, 8), 2))
    nearest = np.min([np.hypot(x - a, y - b) for a, b in places], axis=0)
    return colored(1 / (1 + np.exp((nearest - 0.1) * 60)), generator)


def colored(shade: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """A mixture of two random colors, uint8, by a shade (H, W) from 0 to 1."""
    low, high = generator.uniform(0, 110, 3), generator.uniform(145, 255, 3)
    return (low + shade[..., None] * (high - low)).round().astype(np.uint8)


def textures(path: Path, count: int, seed: int) -> None:
    """A folder with a folder of pictures for each of two classes."""
    generator = np.random.default_rng(seed)
    for draw in (stripes, dots):
        write_folder(path / draw.__name__, [draw(generator) for _ in range(count)])


def training_set(path: Path) -> None:
    """Images and labels in one file."""
    known = pictures("fashion_mnist", "test")
    write_npz(path, {"images": known.images[:400], "labels": known.labels[:400].astype(np.int64)})


def truths() -> np.ndarray:
    """What was restored."""
    return np.stack([one(name, 20) for name in ("trouser", "coat", "sneaker", "bag")])


def restored(path: Path) -> None:
    """The truths from means of four pixels, as a poor method would have them."""
    write_npz(path, {"images": np.stack([np.kron(means(image, 2), np.ones((2, 2), np.uint8)) for image in truths()])})


EXAMPLES = (
    Example(
        "photo.png",
        "a picture of the prior's size, 28 x 28 in grey",
        "guidekit sample domain=images reward=likeness reward.reference=photo.png guidance=dps guidance.scale=2 "
        "num_samples=8",
        ZALANDO,
        lambda path: path.write_bytes(png(one("bag", 3))),
    ),
    Example(
        "photos",
        "a folder of four",
        "guidekit sample domain=images task=deblur task.kernel=motion task.input=photos/ guidance=dps num_samples=4",
        ZALANDO,
        lambda path: write_folder(path, [one(name, 7) for name in ("dress", "sandal", "bag", "ankle_boot")]),
    ),
    Example(
        "large.png",
        "one more, the truth of small.png",
        "guidekit sample domain=images task=superresolution task.damaged=true task.input=small.png "
        "task.truth=large.png guidance=dps num_samples=4",
        ZALANDO,
        lambda path: path.write_bytes(png(one("pullover", 11))),
    ),
    Example(
        "small.png",
        "a measurement: means of 4 x 4 pixels, 7 x 7",
        "guidekit sample domain=images task=superresolution task.damaged=true task.input=small.png "
        "task.truth=large.png guidance=dps num_samples=4",
        ZALANDO,
        lambda path: path.write_bytes(png(means(one("pullover", 11)))),
    ),
    Example(
        "wanted",
        "a folder of boots",
        "guidekit sample domain=images reward=examples reward.reference=wanted/ reward.negative=unwanted/ "
        "guidance=dps num_samples=8",
        ZALANDO,
        lambda path: write_folder(path, clothes("ankle_boot", 12)),
    ),
    Example(
        "unwanted",
        "a folder of sneakers",
        "guidekit sample domain=images reward=examples reward.reference=wanted/ reward.negative=unwanted/ "
        "guidance=dps num_samples=8",
        ZALANDO,
        lambda path: write_folder(path, clothes("sneaker", 12)),
    ),
    Example(
        "my_module.py",
        "an operator of your own",
        "guidekit sample domain=images task=custom task.operator=my_module:ColumnMeans task.input=3 guidance=dps "
        "num_samples=4",
        MADE,
        lambda path: path.write_text(OPERATOR),
    ),
    Example(
        "restored.npz",
        "four pictures that a method has restored",
        "guidekit evaluate domain=images samples=restored.npz reference=truth.npz domain.paired=true",
        ZALANDO,
        restored,
    ),
    Example(
        "truth.npz",
        "what they should be",
        "guidekit evaluate domain=images samples=restored.npz reference=truth.npz domain.paired=true",
        ZALANDO,
        lambda path: write_npz(path, {"images": truths()}),
    ),
    Example(
        "clothes.npz",
        "400 pictures and their labels, a training set",
        "guidekit train domain=images domain.set=fashion_mnist data=clothes.npz trainer.validation=40 "
        "output=clothes.safetensors",
        ZALANDO,
        training_set,
    ),
    Example(
        "textures",
        "pictures of a size of their own, 20 x 20 in color: folders of 60 stripes and 60 dots",
        "guidekit train domain=images trainer=judge data=textures output=textures_judge.safetensors",
        MADE,
        lambda path: textures(path, 60, 0),
    ),
    Example(
        "new_textures",
        "20 more of each, to be judged",
        "guidekit evaluate domain=images samples=new_textures reference=textures "
        "domain.judge=textures_judge.safetensors",
        MADE,
        lambda path: textures(path, 20, 1),
    ),
)
