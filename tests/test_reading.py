import numpy as np
import pytest

from guidekit.classes import class_number, condition_class
from guidekit.errors import UnknownNameError
from guidekit.io import archives, reading
from guidekit.io.files import write_npz, write_packed

NAMES = ("bag", "ankle_boot", "Coat")


def test_what_can_be_read_is_told(tmp_path):
    (tmp_path / "a.txt").write_text("")
    for path, on_error, said in (
        (tmp_path / "a.txt", "raise", r"a.txt has suffix '.txt'; readable are .npz, folders of pictures and .png"),
        (tmp_path / "b.png", "raise", "there is no file or folder"),
        (tmp_path, "stop", "on_error='stop'; accepted: raise, skip"),
    ):
        with pytest.raises(ValueError, match=said):
            reading.source(path, (".png",), "pictures", on_error)
    (tmp_path / "folder.png").mkdir()
    assert reading.source(tmp_path / "folder.png", (".png",), "pictures", "skip").is_dir()
    with pytest.raises(ValueError, match="holds no pictures"):
        reading.files_below(tmp_path, (".png",), "pictures")  # a folder is no picture, whatever it is called


def test_classes_of_folders(tmp_path):
    for name in ("z/1.png", "a/2.PNG", "a/deep/3.png", "4.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = reading.files_below(tmp_path, (".png",), "pictures")
    labels, classes = reading.folder_classes(tmp_path, found)
    assert [file.name for file in found] == ["4.png", "2.PNG", "3.png", "1.png"]
    assert labels.tolist() == [-1, 0, 0, 1] and classes == ("a", "z")
    assert reading.folder_classes(tmp_path / "z", found[-1:]) == (None, ())


def test_arrays_and_their_classes(tmp_path):
    write_npz(tmp_path / "a.npz", {"x": [1, 2], "labels": [[1], [0]], "classes": ["a", "b"]})
    arrays, held = archives.npz(tmp_path / "a.npz", ("x", "labels", "classes", "y"))
    assert set(arrays) == {"x", "labels", "classes"} and held == "x, labels, classes"
    labels, classes = reading.npz_classes(arrays, 2, "a.npz")
    assert labels.tolist() == [1, 0] and classes == ("a", "b")
    assert reading.npz_classes({}, 2, "a.npz") == (None, ())
    for wrong, said in (
        ([0, 1, 0], r"labels have shape \(3,\)"),
        ([0.0, 1.0], "type float64; \\(2,\\) whole numbers"),
        ([0, 2], "labels from 0 to 2, and there are 2 classes; 0 to 1 and -1"),
        ([-2, 0], "labels from -2 to 0"),
    ):
        with pytest.raises(ValueError, match=said):
            reading.npz_classes({"labels": np.array(wrong), "classes": np.array(["a", "b"])}, 2, "a.npz")
    (tmp_path / "b.npz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="b.npz is damaged or no npz file"):
        archives.npz(tmp_path / "b.npz", ("x",))


def test_packed_arrays(tmp_path):
    write_packed(tmp_path / "a.xz", {"x": np.arange(3)})
    assert reading.packed(tmp_path / "a.xz")["x"].tolist() == [0, 1, 2]
    (tmp_path / "a.xz").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="is damaged .*; restore it from the package"):
        reading.packed(tmp_path / "a.xz")


def test_numbers_follow_names():
    assert reading.renumbered(np.array([0, 1, 2, -1]), ("Coat", "hat", "bag"), NAMES).tolist() == [2, -1, 0, -1]
    reading.refuse_classes(("bag",), NAMES, "class of clothes")
    with pytest.raises(UnknownNameError, match="no class of clothes named 'hat'"):
        reading.refuse_classes(("bag", "hat"), NAMES, "class of clothes")


def test_classes_by_name_or_number():
    assert [class_number(one, NAMES, "class") for one in ("bag", "Ankle boot", "Coat", 2)] == [0, 1, 2, 2]
    for wrong, said in ((3, "class: 3 is out of range; 0 .bag. to 2 exist"), (True, "no class named 'True'")):
        with pytest.raises(ValueError, match=said):
            class_number(wrong, NAMES, "class")
    with pytest.raises(ValueError, match="there are none"):
        class_number(0, (), "class")
    for condition, number in (("Coat", 2), (1, 1), ([1], 1), ({"class": "bag"}, 0), ({"size": 1}, None), (3, None)):
        assert condition_class(condition, NAMES) == number
    assert condition_class(True, NAMES) is None and condition_class([0, 1], NAMES) is None


def test_a_note_says_what_was_left_out():
    assert reading.note("f", [], "count as invalid", "files") == ""
    said = reading.note("f", [("a", "it is empty"), ("b", "-")], "are left out", "files", ["1 was cut"])
    assert said == "f: 2 files are left out; the first: it is empty; 1 was cut"
