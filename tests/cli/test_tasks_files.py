"""Measurements and masks in array files of many fields, and tasks of sounds and pieces."""

import sys

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.core.ledger import Ledger
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.units import Units
from guidekit.domains.audio import Audio, Chorales
from guidekit.domains.images import Images
from guidekit.domains.images.codec import ImageCodec
from guidekit.guidance import DPS
from guidekit.io.arrays import read_array
from guidekit.running.groups import load_group
from guidekit.running.tasks import build_task
from guidekit.sampling import fitting_guidances

VALUES = np.arange(12.0).reshape(3, 4)


class Flat(gk.priors.Prior):
    """Independent numbers of mean 0 and variance 0.3."""

    name, process = "flat", gk.processes.EDM()

    def __init__(self, shape, codec):
        self.event_shape, self.codec = shape, codec

    def predict(self, x, t, condition=None):
        a, s = self.process.coefficients(t)
        return GaussianPrediction(0.3 * a / (0.3 * a * a + s * s) * x, x, a, s)


def config(name, **settings):
    return {**load_group("task", name), **settings}


def test_npy_npz_mat(tmp_path):
    scipy = pytest.importorskip("scipy.io")
    np.save(tmp_path / "a.npy", VALUES)
    np.savez(tmp_path / "one.npz", anything=VALUES)
    np.savez(tmp_path / "two.npz", other=VALUES + 1, y=VALUES)
    scipy.savemat(tmp_path / "a.mat", {"measurement": VALUES, "other": VALUES + 1})
    for name in ("a.npy", "one.npz", "two.npz", "a.mat"):
        np.testing.assert_array_equal(read_array(tmp_path / name).values, VALUES)
    np.savez(tmp_path / "none.npz", p=VALUES, q=VALUES)
    (tmp_path / "broken.mat").write_bytes(b"nothing")
    for name, message in (("none.npz", "holds p, q; name the one that is meant 'y'"), ("broken.mat", "is damaged")):
        with pytest.raises(ValueError, match=message) as told:
            read_array(tmp_path / name)
        assert "\n" not in str(told.value)
    with pytest.raises(ValueError, match="has suffix '.txt'; arrays are read from"):
        (tmp_path / "a.txt").write_text("1 2")
        read_array(tmp_path / "a.txt")


def netcdf(path, unit):
    scipy = pytest.importorskip("scipy.io")
    with scipy.netcdf_file(path, "w") as data:
        for name, size in (("y", 3), ("x", 4)):
            data.createDimension(name, size)
            data.createVariable(name, "f4", (name,))[:] = np.arange(size)
        height = data.createVariable("height", "f4", ("y", "x"))
        height[:] = VALUES
        if unit:
            height.units = unit


def test_netcdf_and_its_unit(tmp_path):
    netcdf(tmp_path / "a.nc", "m")
    found = read_array(tmp_path / "a.nc")
    np.testing.assert_array_equal(found.values, VALUES)
    assert found.unit == "m"


class Metres(ImageCodec):
    units = Units(1000.0, 0.0, "m")


@pytest.mark.parametrize(("unit", "message"), [("km", "is in km; m is expected"), ("", "is in no unit; m is expected")])
def test_a_measurement_in_another_unit(unit, message, tmp_path):
    netcdf(tmp_path / "a.nc", unit)
    prior = Flat((1, 3, 4), Metres((1, 3, 4)))
    with pytest.raises(ValueError, match=message):
        build_task(Images(), config("denoise", input=str(tmp_path / "a.nc"), damaged=True), prior)
    netcdf(tmp_path / "b.nc", "m")
    given = build_task(Images(), config("denoise", input=str(tmp_path / "b.nc"), damaged=True), prior)
    torch.testing.assert_close(
        given.likelihood.operator.forward(given.original), torch.from_numpy(VALUES)[None, None].float()
    )


def test_objects_as_arrays(tmp_path):
    """Where a domain reads no such file: values in its unit, of one state or of several."""
    prior = Flat((1, 3, 4), ImageCodec((1, 3, 4)))
    np.save(tmp_path / "a.npy", np.stack([VALUES, VALUES])[:, None] / 12)
    given = build_task(Images(), config("denoise", input=str(tmp_path / "a.npy"), add_noise=False), prior)
    torch.testing.assert_close(given.truth[0, 0], torch.from_numpy(VALUES / 12).float())
    np.save(tmp_path / "b.npy", VALUES[:2])
    with pytest.raises(ValueError, match=r"b.npy holds numbers \(2, 4\); \(1, 3, 4\) or n of these"):
        build_task(Images(), config("denoise", input=str(tmp_path / "b.npy")), prior)


def test_hdf5(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as data:
        data.create_group("inside").create_dataset("velocity", data=VALUES).attrs["units"] = "m/s"
        data.create_dataset("times", data=np.arange(3))
    found = read_array(tmp_path / "a.h5")
    np.testing.assert_array_equal(found.values, VALUES)
    assert found.unit == "m/s"


def test_volumes_say_orientation_and_unit(tmp_path):
    nibabel = pytest.importorskip("nibabel")

    def volume(name, affine, unit="mm"):
        image = nibabel.Nifti1Image(np.zeros((3, 4, 5), np.float32), affine)
        image.header.set_xyzt_units(unit)
        nibabel.save(image, tmp_path / name)
        return tmp_path / name

    assert read_array(volume("a.nii.gz", np.eye(4))).values.shape == (3, 4, 5)
    with pytest.raises(ValueError, match="is oriented LPS; RAS is expected"):
        read_array(volume("b.nii", np.diag([-1.0, -1, 1, 1])))
    with pytest.raises(ValueError, match="says no unit of length"):
        read_array(volume("c.nii", np.eye(4), "unknown"))


@pytest.mark.parametrize(("name", "module"), [("a.h5", "h5py"), ("a.nii.gz", "nibabel"), ("a.mat", "scipy.io")])
def test_a_reader_that_is_not_installed_is_named(name, module, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(b"1")
    monkeypatch.setitem(sys.modules, module, None)
    package = module.partition(".")[0]
    with pytest.raises(ValueError, match=f"reading {name} needs {package}: pip install {package}") as told:
        read_array(tmp_path / name)
    assert "\n" not in str(told.value)


FITS = {"mel": {"bandwidth", "declip"}, "waveform": {"band_infill"}, "roll": {"bandwidth", "declip"}}
SPECIAL = {"none", "fwi", "scattering", "interferometry", "mri", "tomography", "phase"}
"""Tasks that take other shapes, or mean nothing for sounds."""


@pytest.mark.parametrize("kind", FITS)
def test_sounds_and_pieces_have_every_task_of_their_shape(kind):
    domain = Chorales() if kind == "roll" else Audio(kind)
    prior = Flat(domain.shape, domain.codec)
    for name in sorted(set(domain.tasks) - SPECIAL - FITS[kind]):
        own = {"second": 4} if name == "transition" else {"operator": torch.sigmoid} if name == "custom" else {}
        given = build_task(domain, config(name, input=3, **own), prior, 2)
        assert given.num_samples == 2 and given.y.isfinite().all()
        judged = given.judged(gk.sample(prior, given.guided(DPS(given.likelihood)), 2, steps=2)) if own else {}
        assert not own or len(judged["misfit"]) == 2


def test_every_guidance_that_fits_obeys_the_task():
    prior = Flat((1, 28, 28), ImageCodec((1, 28, 28)))
    prior.dataset = "fashion_mnist"
    given = build_task(Images(), config("inpaint", input=0), prior)
    names = fitting_guidances(prior, given.likelihood, 100)
    assert {"dps", "replacement", "svdd", "fk_steering"} <= set(names) and "classifier" not in names
    with pytest.raises(gk.GuidanceError, match="takes a value of noisy states; a likelihood of Keep is of clean ones"):
        gk.sample(prior, gk.guidance.ClassifierGuidance(given.likelihood), 1, steps=2)
    for name in names:
        given.guided(gk.registry.get("guidance", name)(given.likelihood))
    with pytest.raises(gk.GuidanceError, match="would ignore task=inpaint: guidance="):
        given.guided(gk.guidance.FromSample(torch.zeros(1, 1, 28, 28)))


def test_every_input_has_its_own_noise():
    """Noise is added, counted with and judged by input; the number of noises is that of the inputs."""
    domain = Images()
    prior = domain.load_prior()
    settings = dict(input=[0, 1], noise_std=[0.02, 0.2])
    given = build_task(domain, config("denoise", **settings), prior, each=3)
    added = (given.y - given.truth).flatten(1).std(1)
    torch.testing.assert_close(added, torch.tensor([0.02, 0.2]), rtol=0.1, atol=0)
    torch.testing.assert_close(given.likelihood.std.float(), torch.tensor([0.02] * 3 + [0.2] * 3))
    states = prior.units.states(given.truth).repeat_interleave(3, 0)
    chi = given.judged(gk.sampling.Result(states, torch.zeros(6, 1), torch.zeros(6), Ledger(), {}))["chi"]
    assert chi == pytest.approx([1.0] * 6, abs=0.1)
    one = build_task(domain, config("denoise", **settings | {"noise_std": 0.02}), prior, each=3)
    assert float(one.likelihood.std) == pytest.approx(0.02) and one.likelihood.std.ndim == 0
    for wrong, message in (([0.1, 0.2, 0.3], "3 numbers for 2 images: give one for all"), ([0.1, -1], "at least 0")):
        with pytest.raises(ValueError, match=message) as told:
            build_task(domain, config("denoise", **settings | {"noise_std": wrong}), prior)
        assert "\n" not in str(told.value)
