"""Priors that are told points: they are exact, and nothing moves them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.support import Given
from guidekit.domains.trajectories import MazeError, PathCodec, PathPrior, Trajectories, maze
from guidekit.errors import UnknownNameError
from guidekit.networks import TemporalUNet
from guidekit.processes import EDM
from guidekit.training.guided_losses import guided_loss
from guidekit.training.known import KnownPoints, stretched
from guidekit.training.regression import DenoisingError

KNOTS = 16


class Bridge(gk.priors.Gaussian):
    """A random walk of eleven points with unit steps, whose first and last point are known: a Brownian bridge."""

    def __init__(self, first: float, last: float) -> None:
        place = torch.arange(11, dtype=torch.float64)
        walk = torch.minimum(place[:, None], place[None]) + 1e-3
        self.known = torch.zeros(11, dtype=torch.bool)
        self.known[[0, -1]] = True
        self.values = torch.zeros(11, dtype=torch.float64)
        self.values[[0, -1]] = torch.tensor([first, last], dtype=torch.float64)
        free = ~self.known
        pull = walk[free][:, self.known] @ torch.linalg.inv(walk[self.known][:, self.known])
        mean, covariance = self.values.clone(), torch.eye(11, dtype=torch.float64) * 1e-9
        mean[free] = pull @ self.values[self.known]
        rows = free.nonzero()[:, 0]
        covariance[rows[:, None], rows] = walk[free][:, free] - pull @ walk[self.known][:, free]
        super().__init__(mean, covariance, EDM())

    def predict(self, x, t, condition=None):
        found = super().predict(x, t, condition)
        given = Given(self.known[None].expand(x.shape), self.values.to(x).expand(x.shape))
        return GaussianPrediction(given.place(found.mean), x, found.a, found.s, given)


@pytest.mark.parametrize("sampler", ["ancestral", "heun", "dpm_solver"])
def test_a_walk_with_known_ends_is_a_brownian_bridge(sampler):
    """Mean on the straight line, variance k (H - k) / H; the ends are exact whatever the sampler adds."""
    result = gk.sample(Bridge(1.0, 3.0), num_samples=4000, steps=60, seed=0, sampler=sampler)
    x = result.samples.double()
    assert (x[:, 0] - 1).abs().max() < 1e-6 and (x[:, -1] - 3).abs().max() < 1e-6
    place = torch.arange(11, dtype=torch.float64)
    torch.testing.assert_close(x.mean(0), 1 + 0.2 * place, atol=0.1, rtol=0)  # 4 standard errors of the middle
    torch.testing.assert_close(x.var(0), place * (10 - place) / 10, atol=0.25, rtol=0.1)


def test_no_guidance_moves_a_known_point():
    """The gradient of a linear reward pulls every point; the free ones move by covariance times slope."""
    reward = gk.objectives.Reward(lambda x: x.sum(1), differentiable=True)
    for guidance in (gk.guidance.DPS(reward, 0.3), gk.guidance.ClassifierGuidance(lambda x, t: x.sum(1))):
        x = gk.sample(Bridge(0.0, 0.0), guidance, num_samples=50, steps=20, seed=0, sampler="ancestral").samples
        assert x[:, [0, -1]].abs().max() < 1e-6
        assert x[:, 5].mean() > 0.5


def test_rules_see_the_free_points_only():
    given = Given(torch.tensor([[True, False, False]]), torch.tensor([[5.0, 0.0, 0.0]]))
    x = torch.tensor([[7.0, 3.0, 4.0]])
    assert given.norm(x).item() == 5 and given.dimensions(x).item() == 2 and given.mean(x).item() == 3.5
    torch.testing.assert_close(given.place(x), torch.tensor([[5.0, 3.0, 4.0]]))
    torch.testing.assert_close(given.project(x), torch.tensor([[0.0, 3.0, 4.0]]))
    assert given.quantile(x, 1.0).item() == 4


def test_the_loss_does_not_look_at_known_points():
    torch.manual_seed(0)
    process, x0 = EDM(), torch.randn(6, 2, KNOTS)
    loss = KnownPoints(DenoisingError(process), ends=1.0, others=0.0, cut=0.0)
    seen = []

    def network(x, level, known):
        seen.append(known)
        out = torch.zeros_like(x)
        out[:, :, 0] = 100.0  # nonsense where the answer is known
        return out

    def blank(x, level, known):
        return torch.zeros_like(x)

    same = [loss(each, x0, generator=torch.Generator().manual_seed(1)) for each in (network, blank)]
    torch.testing.assert_close(*same)
    assert (seen[0][:, 0, [0, -1]] == 1).all() and (seen[0][:, 0, 1:-1] == 0).all()
    torch.testing.assert_close(seen[0][:, 1:, [0, -1]], x0[:, :, [0, -1]])


def test_ends_and_others_are_known_as_often_as_asked():
    loss = KnownPoints(DenoisingError(EDM()), ends=0.8, others=0.5)
    mask = loss.drawn(torch.zeros(4000, 2, 64), torch.Generator().manual_seed(0))
    assert mask[:, 0, 0].mean().item() == pytest.approx(0.8 + 0.2 * 0.5 * 0.05, abs=0.03)
    assert mask[:, 0, 1:-1].mean().item() == pytest.approx(0.5 * 0.05, abs=0.005)


@pytest.mark.parametrize("name", ["ends", "others", "cut"])
def test_shares_out_of_range_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be from 0 to 1, got 1.5"):
        guided_loss(DenoisingError(EDM()), {"name": "known_points", name: 1.5})


def test_a_stretch_of_a_line_is_a_line():
    line = torch.linspace(-1, 2, KNOTS)[None, None].expand(500, 2, KNOTS)
    cut = stretched(line, 1.0, torch.Generator().manual_seed(0))
    torch.testing.assert_close(cut.diff(n=2), torch.zeros(500, 2, KNOTS - 2), atol=1e-5, rtol=0)
    assert cut.min() >= -1 and cut.max() <= 2 and cut.diff().min() > 0
    torch.testing.assert_close(stretched(line, 0.0), line)


@pytest.fixture(scope="module")
def prior():
    torch.manual_seed(0)
    made = PathPrior(TemporalUNet(length=KNOTS, width=8, multipliers=(1, 2)), EDM(), (2, KNOTS))
    made.codec = PathCodec(maze("u"), KNOTS)
    return made


def test_start_goal_and_way_points_are_exact(prior):
    condition = {"start": [1.5, 1.5], "goal": [1.5, 3.5], 7: [3.5, 2.5]}
    reward = gk.objectives.Reward(lambda x: x.sum((1, 2)), differentiable=True)
    for guidance in (None, gk.guidance.DPS(reward, 0.1)):
        result = gk.sample(prior, guidance, num_samples=3, steps=6, sampler="ancestral", condition=condition)
        found = prior.codec.cells(result.samples)[:, [0, 7, -1]]
        wanted = torch.tensor([[1.5, 1.5], [3.5, 2.5], [1.5, 3.5]])
        torch.testing.assert_close(found, wanted.expand(3, 3, 2), atol=1e-5, rtol=0)


def test_every_path_may_have_its_own_ends(prior):
    conditions = [{"start": [1.5, 1.5]}, {"goal": [3.5, 2.5]}, {"start": [2.5, 1.5], "goal": [1.5, 3.5]}]
    result = gk.sample(prior, None, num_samples=3, steps=3, condition=conditions)
    cells = prior.codec.cells(result.samples)
    torch.testing.assert_close(cells[0, 0], torch.tensor([1.5, 1.5]))
    torch.testing.assert_close(cells[1, -1], torch.tensor([3.5, 2.5]))
    torch.testing.assert_close(cells[2, 0], torch.tensor([2.5, 1.5]))


@pytest.mark.parametrize(
    ("condition", "kind", "words"),
    [
        ({"start": [0.5, 0.5]}, MazeError, "start .* lies in a wall"),
        ({"goal": [1.5]}, ValueError, r"condition goal: \[1.5\]; a point \[x, y\]"),
        ({"goal": "there"}, ValueError, "condition goal: 'there'"),
        ({"gaol": [1.5, 1.5]}, UnknownNameError, "did you mean 'goal'"),
        ({KNOTS: [1.5, 1.5]}, ValueError, f"no knot {KNOTS}; a path has knots 0 to {KNOTS - 1}"),
        ({"goal": [float("nan"), 1.0]}, ValueError, "a point"),
        ("goal", ValueError, "expected {start"),
    ],
)
def test_bad_conditions_are_one_line(prior, condition, kind, words):
    with pytest.raises(kind, match=words):
        prior.condition(condition)


def test_the_network_learns_a_wall_only_if_it_sees_places():
    """The features of a known point do not depend on the noise, those of an unknown one fade with it."""
    net = TemporalUNet(length=KNOTS, width=8, multipliers=(1, 2))
    x, level = torch.randn(2, 2, KNOTS), torch.tensor([0.2, 0.9])
    known = torch.zeros(2, 3, KNOTS)
    known[:, 0, 0], known[:, 1:, 0] = 1, 0.3
    features = net.features(x, level, known[:, :1], known[:, 1:])
    torch.testing.assert_close(features[0, 6:, 0], features[1, 6:, 0])
    damped = features[:, 6 : 6 + 2 * 12, 1:]
    assert damped[1].abs().max() < 1e-3 < damped[0].abs().max()


def test_paths_round_trip_and_what_leaves_the_maze_is_none():
    codec = PathCodec(maze("u"), KNOTS)
    path = np.linspace([1.2, 1.2], [3.7, 1.9], KNOTS)
    decoded = codec.decode(codec.encode([path]))[0]
    np.testing.assert_allclose(decoded, path, atol=1e-6)
    assert codec.decode(torch.full((1, 2, KNOTS), 3.0)) == [None]
    with pytest.raises(ValueError, match=r"path 0 has shape \(1, 2\)"):
        codec.encode([np.zeros((1, 2))])


def test_a_maze_that_is_none_is_refused_at_once():
    with pytest.raises(UnknownNameError, match="maze"):
        Trajectories(maze="medum")
