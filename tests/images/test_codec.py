import numpy as np
import pytest
import torch

from guidekit.domains.images import ImageError, Images, codec
from guidekit.domains.images.data import SETS, pictures
from guidekit.errors import UnknownNameError
from guidekit.installed import load_domain

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("kind", SETS)
def test_round_trip_is_exact(kind):
    domain = load_domain("images", set=kind)
    levels = np.arange(256, dtype=np.uint8)
    images = [RNG.permutation(np.resize(levels, codec.array_shape(domain.codec.shape))) for _ in range(3)]
    states = domain.codec.encode(images)
    assert states.shape == (3, *domain.codec.shape) and states.dtype == torch.float32
    assert states.min() == -1 and states.max() == 1
    assert all(np.array_equal(a, b) for a, b in zip(domain.codec.decode(states), images, strict=True))


def test_channels_and_rows_stay_in_their_place():
    image = np.zeros((4, 5, 3), np.uint8)
    image[1, 2, 0] = 255
    state = codec.encode([image])
    assert state.shape == (1, 3, 4, 5) and (state > 0).nonzero().tolist() == [[0, 0, 1, 2]]


def test_decoding_clips_and_reports_what_is_not_finite():
    states = torch.zeros(3, 1, 28, 28)
    states[0, 0, 0, :2] = torch.tensor([-7.0, 7.0])
    states[1, 0, 3, 3], states[2, 0, 0, 0] = torch.nan, torch.inf
    images = Images().codec.decode(states)
    assert images[0][0, :3].tolist() == [0, 255, 128] and images[1] is None and images[2] is None


GOOD = np.zeros((28, 28), np.uint8)


@pytest.mark.parametrize(
    "image, said",
    [
        (np.zeros((28, 28)), r"image 1 has numbers of type float64; uint8 is expected"),
        (np.zeros((28, 28, 3), np.uint8), r"image 1 is RGB, grey is expected; .*convert\('L'\)"),
        (np.zeros((28, 28, 4), np.uint8), r"image 1 has 4 channels; 1 \(grey\) or 3 \(RGB\) .* alpha"),
        (np.zeros((27, 28), np.uint8), r"image 1 is 27 x 28 pixels, 28 x 28 are expected"),
        (np.zeros(28, np.uint8), r"image 1 has shape \(28,\)"),
        (None, r"image 1 has numbers of type object"),
    ],
)
def test_what_is_no_image_of_the_set_is_told_in_one_line(image, said):
    with pytest.raises(ImageError, match=said) as told:
        Images().codec.encode([GOOD, image])
    assert "\n" not in str(told.value)


def test_states_of_another_kind_are_told():
    for states in (torch.zeros(2, 3, 28, 28), torch.zeros(1, 28, 28), torch.zeros(2, 1, 28, 28, dtype=torch.long)):
        with pytest.raises(ImageError, match=r"states have shape .*; \(B, 1, 28, 28\) of real numbers"):
            Images().codec.decode(states)
    with pytest.raises(ImageError, match="no images"):
        Images().codec.encode([])


def test_grey_with_a_channel_axis_is_grey():
    assert Images().codec.encode([GOOD[..., None]]).shape == (1, 1, 28, 28)


def test_shipped_sets():
    train, test = pictures("fashion_mnist"), pictures("fashion_mnist", "test")
    assert train.images.shape == (20_000, 28, 28) and np.bincount(test.labels).tolist() == [1000] * 10
    plain, held, variants = (pictures("emoji", split) for split in ("train", "test", "variants"))
    assert (len(plain.images), len(held.images), len(variants.images)) == (1738, 173, 3488)
    assert len(plain.captions) == 1738 and plain.captions[0] == "grinning face"
    assert SETS["emoji"].classes[plain.labels[0]] == "smileys"
    known = {image.tobytes() for image in variants.images}
    assert {image.tobytes() for image in plain.images} <= known
    with pytest.raises(UnknownNameError, match="did you mean 'train'"):
        pictures("emoji", "trian")
    with pytest.raises(UnknownNameError, match="no split of fashion_mnist named 'variants'"):
        pictures("fashion_mnist", "variants")
    with pytest.raises(UnknownNameError, match="no set of images named 'mnist'"):
        Images("mnist")


def test_damaged_assets_are_told(tmp_path, monkeypatch):
    from guidekit.domains.images import data

    monkeypatch.setattr(data, "ASSETS", tmp_path)
    (tmp_path / "emoji.npz.xz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is damaged .*; restore it from the package"):
        pictures.__wrapped__("emoji")
