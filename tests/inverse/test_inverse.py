"""The domain of fields: contract, files with units, metrics, symmetries, training of its Gaussian fields."""

import math

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.cli import main
from guidekit.domains.inverse import FieldError
from guidekit.domains.inverse.data import KINDS, fields
from guidekit.domains.inverse.files import netcdf, read
from guidekit.domains.inverse.metrics import data_misfit, nearest, pairs, radial_power, spectrum_distance, wasserstein
from guidekit.domains.inverse.preparation import alike, prepare
from guidekit.errors import UnknownNameError
from guidekit.installed import load_domain
from guidekit.objectives.operators.navier_stokes import Flow
from guidekit.priors.checkpoints import CheckpointError
from guidekit.priors.field_checkpoint import save_field
from guidekit.samples import Samples
from guidekit.testing import check_domain

CLIMATE = load_domain("inverse", kind="climate")
TEST = fields("climate", "test")


def test_contract():
    check_domain(CLIMATE, prior=CLIMATE.load_prior("climate_field"), steps=3)


@pytest.mark.parametrize("kind", KINDS)
def test_shipped_fields(kind):
    """Sizes, finite numbers in a believable range of the unit, and no field in both parts."""
    train, test = fields(kind), fields(kind, "test")
    assert train.shape[1:] == test.shape[1:] == KINDS[kind].size and len(test) >= 40 and len(train) > 300
    low, high = {"relief": (-11e3, 9e3), "climate": (-20, 40), "mri": (0, 255), "vorticity": (-40, 40)}[kind]
    assert np.isfinite(train).all() and low <= train.min() and train.max() <= high
    assert not {one.tobytes() for one in train} & {one.tobytes() for one in test}
    domain = load_domain("inverse", kind=kind)
    states = domain.codec.encode(list(train[:50]))
    assert states.shape[1:] == KINDS[kind].shape and 0.2 < float(states.std()) < 1.1
    np.testing.assert_allclose(domain.codec.decode(states)[3], train[3], atol=1e-3 * states.std() * KINDS[kind].scale)
    prior = domain.load_prior(f"{kind}_field")
    assert prior.units.name == KINDS[kind].unit and prior.event_shape == KINDS[kind].shape


def test_codec_refuses():
    codec = CLIMATE.codec
    holed = TEST[0].copy()
    holed[2, 3:5] = np.nan
    for wrong, told in (
        ([np.zeros((4, 4))], r"shape \(4, 4\); \(16, 16\) is expected"),
        ([TEST[0].astype(str)], "type <U"),
        ([holed], "2 numbers that are not finite"),
        ([], "no fields"),
    ):
        with pytest.raises(FieldError, match=told):
            codec.encode(wrong)
    assert codec.decode(torch.tensor([math.nan]).expand(1, 1, 16, 16)) == [None]
    with pytest.raises(FieldError, match="states have shape"):
        codec.decode(torch.zeros(1, 1, 8, 8))


def test_files(tmp_path):
    """Whatever is written is read again; formats of others too."""
    kind, three = KINDS["climate"], TEST[:3]
    np.savez(tmp_path / "a.npz", fields=three)
    np.save(tmp_path / "b.npy", three[0])
    np.savetxt(tmp_path / "c.csv", three[1], delimiter=",")
    (tmp_path / "d.nc").write_bytes(netcdf(list(three), kind))
    for name, wanted in (("a.npz", three), ("b.npy", three[:1]), ("c.csv", three[1:2]), ("d.nc", three)):
        np.testing.assert_allclose(np.stack(read(tmp_path / name, kind).fields), wanted, atol=1e-5)
    assert len(read(tmp_path, kind).fields) == 8
    prior = CLIMATE.load_prior("climate_field")
    samples = Samples(prior.encode(list(three)), prior)
    assert CLIMATE.write(tmp_path, samples, {"reward": [1.0, 2.0, 3.0]}) == ["samples.npz", "samples.nc"]
    for name in ("samples.npz", "samples.nc"):
        np.testing.assert_allclose(np.stack(CLIMATE.read_samples(tmp_path / name).objects), three, atol=1e-4)
    assert len(CLIMATE.read_reference("climate:test")) == len(TEST)


def test_bad_files(tmp_path):
    """One line, with what was wrong: unit, size, kind of file, damage."""
    kind = KINDS["climate"]
    wrong = netcdf(list(TEST[:1]), kind).replace(b"degC", b"kelv")
    files = {
        "unit.nc": (wrong, "in kelv; air temperature in °C is expected"),
        "damaged.nc": (b"CDF\x01damaged", "damaged"),
        "words.csv": (b"one,two\n", "no grid of numbers"),
        "cut.npz": (b"PK\x03\x04", "damaged"),
        "small.csv": (b"1,2\n3,4\n", r"shape \(2, 2\)"),
        "text.txt": (b"1", "suffix '.txt'"),
    }
    for name, (data, told) in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ValueError, match=told) as error:
            read(tmp_path / name, kind)
        assert "\n" not in str(error.value)
    (tmp_path / "text.txt").unlink()
    np.save(tmp_path / "good.npy", TEST[0])
    found = CLIMATE.read_samples(tmp_path)
    assert len(found) == 6 and sum(one is None for one in found) == 5 and "count as invalid" in found.notes


def test_paired_metrics_by_hand():
    kind, truth = KINDS["climate"], TEST[:4].astype(np.float64)
    span = kind.limits[1] - kind.limits[0]
    found = pairs(list(truth + 0.5), list(truth), kind)
    assert found["psnr"] == pytest.approx(20 * math.log10(span / 0.5), abs=1e-9)
    size = [np.linalg.norm(one - kind.shift) for one in truth]
    assert found["relative_l2"] == pytest.approx(np.mean([0.5 * 16 / one for one in size]), rel=1e-9)
    assert pairs([None, *truth[1:]], list(truth), kind)["n_paired"] == 3
    with pytest.raises(ValueError, match="3 samples and 4 reference"):
        pairs(list(truth[:3]), list(truth), kind)
    noise = 0.3 * torch.randn(50, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    assert float(data_misfit(noise, 0.3).mean()) == pytest.approx(1, abs=0.01)
    half = noise * (torch.arange(40) % 2)
    assert float(data_misfit(half, 0.3, 800).mean()) == pytest.approx(1, abs=0.01)


def test_distances_by_hand():
    """A plane wave has its power at its wave number; twice the field is 6.02 dB more; a shift is its distance."""
    place = torch.arange(32) * (2 * math.pi / 32)
    wave = (5 * place).cos().expand(1, 32, 32).double()
    assert int(radial_power(wave).argmax()) + 1 == 5
    x = torch.randn(20, 32, 32, generator=torch.Generator().manual_seed(0)).double()
    assert spectrum_distance(2 * x, x) == pytest.approx(20 * math.log10(2), abs=1e-9)
    assert wasserstein(x + 3, x) == pytest.approx(3, abs=1e-9)
    assert float(nearest(x[:1] * 1.1 + 5, x)[0]) == pytest.approx(0.1 / 1.1, abs=1e-6)  # means do not count


def test_symmetries_leave_the_flow_as_it_is():
    """What makes more fields of one commutes with the solver, to rounding."""
    w = torch.from_numpy(fields("vorticity", "test")[:2]).double().numpy()
    end = Flow().evolve(torch.from_numpy(w), 0.05, 0.005).numpy()
    for start, after in zip(alike(w, "vorticity", 5), alike(end, "vorticity", 5), strict=True):
        moved = Flow().evolve(torch.from_numpy(start.copy())[None], 0.05, 0.005)[0]
        np.testing.assert_allclose(moved, after, atol=1e-10)
    assert len({one.tobytes() for one in alike(w, "vorticity", 5)}) == 10


def test_prepared_data(tmp_path):
    prepare(tmp_path / "p.npz", None, {"validation": 32, "symmetry": 2}, "climate")
    with np.load(tmp_path / "p.npz") as file:
        assert len(file["images"]) == 2 * (len(fields("climate")) - 32) and len(file["val_images"]) == 32
    with pytest.raises(ValueError, match="of another kind"):
        prepare(tmp_path / "p.npz", "relief", {"validation": 32}, "climate")
    with pytest.raises(ValueError, match="too few to hold out"):
        prepare(tmp_path / "p.npz", None, {"validation": 1000}, "climate")
    with pytest.raises(UnknownNameError, match="did you mean 'relief'"):
        load_domain("inverse", kind="relieff")


def test_fit_and_load_a_field(tmp_path, capsys):
    """guidekit train trainer=gaussian_field writes what load_prior reads; again it is done; it is the shipped one."""
    arguments = ["train", "domain=inverse", "domain.kind=climate", "trainer=gaussian_field"]
    arguments.append(f"output={tmp_path / 'mine.safetensors'}")
    assert main(arguments) == 0
    assert "nats a number" in capsys.readouterr().out
    assert main(arguments) == 0
    assert "already done" in capsys.readouterr().out
    mine, shipped = CLIMATE.load_prior(str(tmp_path / "mine.safetensors")), CLIMATE.load_prior("climate_field")
    torch.testing.assert_close(mine.variances, shipped.variances)
    torch.testing.assert_close(mine.mean, shipped.mean)
    assert mine.dataset == "climate" and "cosine" in mine.card["summary"]
    assert main([*arguments, "trainer.basis=sines", "overwrite=true"]) == 2
    assert "accepted: cosine, fourier" in capsys.readouterr().err


def test_damaged_field(tmp_path):
    field = gk.priors.GaussianField(torch.zeros(1, 16, 16), torch.ones(1, 16, 16))
    save_field(tmp_path / "a.safetensors", field, {"domain": "inverse", "card": {}})
    assert CLIMATE.load_prior(str(tmp_path / "a.safetensors")).event_shape == (1, 16, 16)
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(tmp_path / "a.safetensors", "pt") as file:
        metadata = file.metadata()
    for name, weights in {
        "shape": {"mean": torch.zeros(1, 8, 8), "log_variances": torch.zeros(1, 8, 8)},
        "huge": {"mean": torch.zeros(1, 16, 16), "log_variances": torch.full((1, 16, 16), 1e4)},
        "other": {"mean": torch.zeros(1, 16, 16)},
    }.items():
        save_file(weights, tmp_path / f"{name}.safetensors", metadata)
        with pytest.raises(CheckpointError):
            CLIMATE.load_prior(str(tmp_path / f"{name}.safetensors"))
    dense = gk.priors.GaussianField.fit(torch.randn(9, 1, 4, 4), "dense")
    with pytest.raises(ValueError, match="this one has eigenvectors"):
        save_field(tmp_path / "b.safetensors", dense, {"domain": "inverse", "card": {}})


@pytest.mark.parametrize("task", ["inpaint", "superresolution"])
def test_tasks_from_the_command_line(task, tmp_path, capsys):
    """In degrees; known cells stay as they are measured."""
    arguments = ["sample", "domain=inverse", "domain.kind=climate", f"task={task}", "task.input=3", "steps=4"]
    arguments += ["guidance=replacement", "num_samples=2", "baseline=false", f"output={tmp_path / 'run'}"]
    assert main(arguments) == 0, capsys.readouterr().err
    assert (tmp_path / "run" / "posterior.png").is_file()
    if task == "inpaint":
        found = np.stack(CLIMATE.read_samples(tmp_path / "run" / "samples.npz").objects)
        same = np.abs(found - TEST[3]).max(0) < 1e-3
        assert 0.2 < same.mean() < 0.45
