import json

import numpy as np
import pytest
from PIL import Image

from guidekit.domains.images import ImageError, Images
from guidekit.domains.images.files import png, read, tiled, write_folder
from guidekit.io.files import write_npz

RNG = np.random.default_rng(1)
GREY = [RNG.integers(0, 256, (28, 28), np.uint8) for _ in range(5)]
COLOUR = [RNG.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(3)]


def same(first, second):
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("images", [GREY, COLOUR])
def test_npz_folder_and_picture_give_back_what_was_written(images, tmp_path):
    write_npz(tmp_path / "a.npz", {"images": np.stack(images), "labels": np.arange(len(images))})
    found = read(tmp_path / "a.npz")
    assert same(found.images, images) and found.labels.tolist() == list(range(len(images)))
    assert write_folder(tmp_path / "b", images)[1] == "image-00001.png"
    found = read(tmp_path / "b")
    assert same(found.images, images) and found.labels is None and found.classes == ()
    assert same(read(tmp_path / "b" / "image-00002.png").images, images[2:3])


def test_a_camera_held_sideways_is_seen(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned by 90 degrees clockwise
    Image.fromarray(GREY[0][:20]).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read(tmp_path / "a.png").images[0], np.rot90(GREY[0][:20], -1))
    Image.fromarray(GREY[0][:20]).save(tmp_path / "b.jpg", exif=exif, quality=100)
    seen = Images().read_samples(tmp_path / "b.jpg")[0]
    assert np.abs(seen.astype(int) - np.rot90(GREY[0][:20], -1)).max() < 12


def test_what_is_wrong_is_named_with_its_class(tmp_path):
    write_folder(tmp_path / "bag", GREY[:1], ["a"])
    (tmp_path / "sneaker").mkdir()
    (tmp_path / "sneaker" / "a.png").write_bytes(b"no picture")
    with pytest.raises(ImageError, match=r"sneaker/a.png is damaged or no picture \(PNG, JPEG, BMP, WEBP are read\)"):
        read(tmp_path)
    name, why = read(tmp_path, on_error="skip").skipped[0]
    assert name == "sneaker/a.png" and why.startswith(name) and str(tmp_path) not in why


def test_sub_folders_are_classes(tmp_path):
    write_folder(tmp_path / "bag", GREY[:2])
    write_folder(tmp_path / "sneaker", GREY[2:])
    found = read(tmp_path)
    assert found.classes == ("bag", "sneaker") and found.labels.tolist() == [0, 0, 1, 1, 1] and same(found.images, GREY)
    note = Images().read_samples(tmp_path).notes
    assert note == ""


def test_reference_batches_without_names_are_read(tmp_path):
    np.savez(tmp_path / "batch.npz", np.stack(COLOUR))
    assert same(read(tmp_path / "batch.npz").images, COLOUR)


def test_palettes_and_opaque_alpha_are_read_and_transparency_is_not(tmp_path):
    Image.fromarray(COLOUR[0]).quantize(16).save(tmp_path / "p.png")
    assert read(tmp_path / "p.png").images[0].shape == (32, 32, 3)
    opaque = np.dstack([COLOUR[0], np.full((32, 32), 255, np.uint8)])
    Image.fromarray(opaque).save(tmp_path / "a.png")
    assert same(read(tmp_path / "a.png").images, COLOUR[:1])
    opaque[3, 4, 3] = 9
    Image.fromarray(opaque).save(tmp_path / "a.png")
    with pytest.raises(ImageError, match="a.png is transparent in places"):
        read(tmp_path / "a.png")


def test_sixteen_bits_are_read_as_eight_and_said(tmp_path):
    levels = np.array([[0, 128, 129, 256], [257, 32896, 65406, 65535]], np.uint16)
    Image.fromarray(levels).save(tmp_path / "deep.png")
    found = read(tmp_path / "deep.png")
    assert found.images[0].tolist() == [[0, 0, 1, 1], [1, 128, 254, 255]]
    assert found.notes == ["1 picture of 16 bits, 0 to 65,535, read as 8 bits, 0 to 255"]
    Image.fromarray(np.zeros((8, 8), np.float32)).save(tmp_path / "real.tiff")
    (tmp_path / "real.tiff").rename(tmp_path / "real.png")
    with pytest.raises(ImageError):
        read(tmp_path / "real.png")


def bad_files(folder):
    """Damaged and unfit inputs by name, with what is said of each."""
    whole = png(GREY[0])
    (folder / "cut.png").write_bytes(whole[:-40])
    (folder / "text.png").write_text("no picture")
    (folder / "cut.npz").write_bytes(b"PK\x03\x04 and nothing more")
    (folder / "empty").mkdir()
    np.savez(folder / "other.npz", x=np.zeros(3))
    np.savez(folder / "real.npz", images=np.zeros((3, 28, 28)))
    np.savez(folder / "flat.npz", images=np.zeros((3, 784), np.uint8))
    np.savez(folder / "labels.npz", images=np.stack(GREY), labels=np.zeros(4, int))
    np.savez(folder / "objects.npz", images=np.array([GREY[0], None], object))
    np.savez(folder / "wide.npz", images=np.zeros((2, 28, 30), np.uint8))
    return {
        "cut.png": "cut.png is damaged or no picture",
        "text.png": "text.png is damaged or no picture",
        "cut.npz": "cut.npz is damaged or no npz file",
        "empty": "holds no pictures",
        "nothing.npz": "there is no file or folder",
        "other.npz": "other.npz has the arrays x; images",
        "real.npz": "real.npz: every image has numbers of type float64; uint8 is expected",
        "flat.npz": r"flat.npz: images have shape \(3, 784\)",
        "labels.npz": r"labels.npz: labels have shape \(4,\)",
        "objects.npz": "objects.npz is damaged or no npz file",
        "wide.npz": "wide.npz: every image is 28 x 30 pixels, 28 x 28 are expected",
    }


def test_bad_files_give_one_line_each(tmp_path):
    for name, said in bad_files(tmp_path).items():
        with pytest.raises(ValueError, match=said) as told:
            read(tmp_path / name, (1, 28, 28))
        assert "\n" not in str(told.value), name
    (tmp_path / "a.txt").write_text("")
    with pytest.raises(ValueError, match=r"a.txt has suffix '.txt'; readable are .npz"):
        read(tmp_path / "a.txt")


def test_damaged_pictures_count_as_invalid_samples_and_stop_a_reference(tmp_path):
    write_folder(tmp_path, GREY)
    (tmp_path / "image-00001.png").write_bytes(png(GREY[1])[:50])
    (tmp_path / "wrong.png").write_bytes(png(COLOUR[0]))
    objects = Images().read_samples(tmp_path)
    note = objects.notes
    assert (
        len(objects) == 6 and list(objects)[4:] == [None, None] and "2 pictures count as invalid; the first: " in note
    )
    with pytest.raises(ImageError, match="image-00001.png is damaged"):
        Images().read_reference(tmp_path)
    images = Images().read_reference(tmp_path, "skip")
    assert len(images) == 4 and "2 pictures are left out" in images.notes
    with pytest.raises(ValueError, match="is for tables"):
        Images().read_samples(tmp_path, "smiles")


def test_tiles_lie_row_by_row():
    sheet = tiled(GREY, columns=2, gap=1)
    assert sheet.shape == (3 * 28 + 2, 2 * 28 + 1)
    assert np.array_equal(sheet[29:57, :28], GREY[2]) and (sheet[28] == 255).all()
    with pytest.raises(ValueError, match="no images"):
        tiled([])


TRAINER = {"validation": 20}


def test_prepared_arrays(tmp_path):
    domain = Images("emoji")
    domain.prepare_training(tmp_path / "p.npz", None, TRAINER)
    with np.load(tmp_path / "p.npz") as file:
        arrays = dict(file)
    made = json.loads(str(arrays["description"]))
    assert made["domain"] == "images" and made["event_shape"] == [3, 32, 32] and made["dataset"] == "emoji"
    assert (
        made["labels"] == [{"name": "class", "values": list(domain.about().classes)}]
        and "1,718" in made["card"]["data"]
    )
    assert arrays["images"].shape == (1718, 32, 32, 3) and arrays["labels"].shape == (1718, 1)
    assert arrays["val_images"].shape == (20, 32, 32, 3) and arrays["val_labels"].shape == (20, 1)


def test_prepared_from_own_data(tmp_path):
    own = RNG.integers(0, 256, (60, 8, 12), np.uint8)
    np.savez(tmp_path / "own.npz", images=own)
    Images().prepare_training(tmp_path / "p.npz", str(tmp_path / "own.npz"), {"validation": 6})
    with np.load(tmp_path / "p.npz") as file:
        made = json.loads(str(file["description"]))
        assert made["event_shape"] == [1, 8, 12] and "labels" not in made and "labels" not in file.files
        assert {image.tobytes() for key in ("images", "val_images") for image in file[key]} == {
            image.tobytes() for image in own
        }
    for name, images in {"b": GREY, "a": GREY[:4]}.items():
        write_folder(tmp_path / "classes" / name, images)
    Images().prepare_training(tmp_path / "p.npz", str(tmp_path / "classes"), {"validation": 0})
    with np.load(tmp_path / "p.npz") as file:
        assert json.loads(str(file["description"]))["labels"] == [{"name": "class", "values": ["a", "b"]}]
        assert np.bincount(file["labels"][:, 0]).tolist() == [4, 5]
    with pytest.raises(ValueError, match="9 images are too few to hold out trainer.validation=1"):
        Images().prepare_training(tmp_path / "p.npz", str(tmp_path / "classes"), {"validation": 1})
    with pytest.raises(ImageError, match="32 x 32 are expected|is grey, RGB is expected"):
        Images("emoji").prepare_training(tmp_path / "p.npz", str(tmp_path / "classes"), TRAINER)
    np.savez(tmp_path / "ten.npz", images=np.stack(GREY), labels=np.array([0, 1, 2, 3, 10]))
    with pytest.raises(ValueError, match="labels from 0 to 10, and there are 10 classes"):
        Images("fashion_mnist").prepare_training(tmp_path / "p.npz", str(tmp_path / "ten.npz"), {"validation": 0})
