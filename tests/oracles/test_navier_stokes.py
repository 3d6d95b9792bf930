"""The flow solver against closed solutions, itself at other steps, and finite differences."""

import math

import pytest
import torch

from guidekit.core.requirements import Fact
from guidekit.objectives import GaussianLikelihood
from guidekit.objectives.operators.navier_stokes import Flow, NavierStokes, random_vorticity

N = 32
PLACE = torch.arange(N, dtype=torch.float64) * (2 * math.pi / N)
Y, X = torch.meshgrid(PLACE, PLACE, indexing="ij")


def test_velocity_and_advection_of_known_fields():
    """w = cos x + cos 2y + sin(x + y): stream function, velocity and u . grad w by hand."""
    w = X.cos() + (2 * Y).cos() + (X + Y).sin()
    flow = Flow(N, forcing=0.0)
    found = flow.start(w[None])
    u, v = flow.velocity(found)
    true_u = -(2 * Y).sin() / 2 + (X + Y).cos() / 2
    true_v = X.sin() - (X + Y).cos() / 2
    torch.testing.assert_close(u[0], true_u, rtol=0, atol=1e-12)
    torch.testing.assert_close(v[0], true_v, rtol=0, atol=1e-12)
    carried = true_u * (-X.sin() + (X + Y).cos()) + true_v * (-2 * (2 * Y).sin() + (X + Y).cos())
    torch.testing.assert_close(torch.fft.irfft2(flow.rate(found))[0], -carried, rtol=0, atol=1e-12)


def test_vortices_that_only_decay():
    """2 cos x cos y does not carry itself: exp(-2 nu t), to second order in dt."""
    w = (2 * X.cos() * Y.cos())[None]
    found = Flow(N, viscosity=0.1, forcing=0.0).evolve(w, 2.0, 0.01)
    torch.testing.assert_close(found, w * math.exp(-0.4), rtol=0, atol=1e-6)


def test_forced_shear():
    """From rest towards forcing / (nu 16): (1 - exp(-16 nu t)) of it."""
    flow, time = Flow(N, viscosity=0.02, forcing=-0.5, wave=4), 3.0
    wanted = -0.5 / (16 * 0.02) * (1 - math.exp(-16 * 0.02 * time)) * (4 * Y).cos()
    torch.testing.assert_close(flow.evolve(torch.zeros(1, N, N).double(), time, 0.01)[0], wanted, rtol=0, atol=1e-5)


def test_conservation_and_order():
    """Almost without viscosity energy and enstrophy stay; halving the step divides the error by four."""
    flow, w = Flow(N, viscosity=1e-9, forcing=0.0), random_vorticity(2, N, decay=6.0, std=1.0).double()
    start, end = flow.start(w), flow.start(flow.evolve(w, 1.0, 0.01))
    for quantity in (lambda c: flow._grid(c).square(), lambda c: sum(one.square() for one in flow.velocity(c))):
        torch.testing.assert_close(quantity(end).mean((1, 2)), quantity(start).mean((1, 2)), rtol=2e-4, atol=0)
    flow, fine = Flow(N), Flow(N).evolve(w, 0.5, 0.000625)
    errors = [float((flow.evolve(w, 0.5, dt) - fine).norm()) for dt in (0.01, 0.005)]
    assert 3.5 < errors[0] / errors[1] < 4.6


def test_what_is_cut_stays_out_and_the_mean_does_too():
    w = 1.0 + (12 * X).cos() + X.cos()
    torch.testing.assert_close(Flow(N).evolve(w[None], 1e-9, 1.0)[0], X.cos(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("black_box", [False, True])
def test_members_do_not_see_their_neighbors(black_box):
    """Also beside one that moves ten times faster, and one that has no finite numbers."""
    operator = NavierStokes(Flow(N), 0.3, black_box=black_box)
    x = random_vorticity(3, N)[:, None].double() * torch.tensor([1.0, 10.0, 0.1]).view(3, 1, 1, 1).double()
    x = torch.cat([x, torch.full((1, 1, N, N), math.nan).double()])
    together = operator.forward(x)
    assert together.shape == (4, 1, N // 2, N // 2) and not together[3].isfinite().any()
    for i in (0, 2):
        torch.testing.assert_close(operator.forward(x[i : i + 1])[0], together[i], rtol=1e-11, atol=1e-11)


def test_adaptive_steps_agree_with_small_ones():
    w = random_vorticity(2, N).double()
    fine, found = (
        Flow(N).evolve(w, 0.5, 0.0005),
        Flow(N).evolve_adaptively(w, 0.5, longest=0.0023),
    )  # the last step is shorter
    assert float((found - fine).norm() / fine.norm()) < 1e-3


def test_gradient():
    """Along a random direction, as central differences have it; memory is traded without changing a number."""
    operator, x = NavierStokes(Flow(N), 0.2, every=4), random_vorticity(1, N)[:, None].double().requires_grad_()
    weights, way = (torch.randn(1, 1, n, n, generator=torch.Generator().manual_seed(n)).double() for n in (8, N))
    (found,) = torch.autograd.grad((operator.forward(x) * weights).sum(), x)
    with torch.no_grad():
        ends = [(operator.forward(x + h * way) * weights).sum() for h in (1e-4, -1e-4)]
    torch.testing.assert_close((found * way).sum(), (ends[0] - ends[1]) / 2e-4, rtol=1e-6, atol=1e-6)
    one = operator.flow._grid(operator.flow._steps(operator.flow.start(x[:, 0]), 0.2 / 40, 40))[:, None, ::4, ::4]
    torch.testing.assert_close(torch.autograd.grad((one * weights).sum(), x)[0], found, rtol=1e-10, atol=1e-12)


def test_random_fields():
    """The spread asked for, each by its own number."""
    w = random_vorticity(200, N, std=2.0)
    assert abs(float(w.std()) - 2.0) < 0.05 and w.mean((1, 2)).abs().max() < 1e-5
    torch.testing.assert_close(random_vorticity(2, N, std=2.0), w[:2])


def test_black_box_offers_no_gradient_and_bad_settings_are_refused():
    operator = NavierStokes(Flow(N), 0.1, black_box=True)
    likelihood = GaussianLikelihood(operator, torch.zeros(1, 1, N // 2, N // 2), 0.1)
    assert Fact.GRADIENT not in likelihood.provides
    assert Fact.GRADIENT in GaussianLikelihood(NavierStokes(Flow(N)), likelihood.y, 0.1).provides
    with pytest.raises(ValueError, match="does not divide"):
        NavierStokes(Flow(N), every=5)
    with pytest.raises(ValueError, match="even number"):
        Flow(33)
    with pytest.raises(ValueError, match="viscosity"):
        Flow(viscosity=0.0)
    with pytest.raises(ValueError, match=r"expected \(B, 1, 32, 32\)"):
        operator.forward(torch.zeros(2, 1, 16, 16))
