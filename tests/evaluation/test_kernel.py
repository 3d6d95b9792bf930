import math

import pytest
import torch

from guidekit.evaluation.kernel import kernel_distance

DRAW = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=DRAW, dtype=torch.float64)


def test_by_hand():
    # k(x, y) = (xy + 1)^3: within {0, 1}: k(0, 1) = 1; within {1, 2}: 27; across: 1, 1, 8, 27, of mean 37 / 4
    value, error = kernel_distance(torch.tensor([[0.0], [1.0]]), torch.tensor([[1.0], [2.0]]))
    assert value == pytest.approx(1 + 27 - 37 / 2) and math.isnan(error)
    # two features: k((1, 1), (2, 0)) = (2 / 2 + 1)^3 = 8, k of equal rows (1, 1) is 8, of (2, 0) it is 27
    value, _ = kernel_distance(torch.tensor([[1.0, 1.0]] * 2), torch.tensor([[2.0, 0.0]] * 3))
    assert value == pytest.approx(8 + 27 - 2 * 8)
    assert all(math.isnan(number) for number in kernel_distance(torch.ones(1, 2), torch.ones(5, 2)))


def test_error_is_that_of_leaving_rows_out():
    x, y = normal(7, 3), normal(40, 3) + 0.5
    without = [
        [kernel_distance(x[torch.arange(7) != i], y)[0] for i in range(7)],
        [kernel_distance(x, y[torch.arange(40) != i])[0] for i in range(40)],
    ]
    variance = sum((len(v) - 1) / len(v) * sum((one - sum(v) / len(v)) ** 2 for one in v) for v in without)
    assert kernel_distance(x, y)[1] == pytest.approx(math.sqrt(variance), rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 1.0])
def test_no_bias_at_small_numbers_and_an_honest_error(shift):
    # E k(x, y) of the normal law N(a, 1) and N(b, 1): E (xy + 1)^3 by the moments 1, a, a^2 + 1, a^3 + 3 a of each
    def mean(a, b):
        moments = [[1, c, c * c + 1, c**3 + 3 * c] for c in (a, b)]
        return sum(math.comb(3, k) * moments[0][k] * moments[1][k] for k in range(4))

    truth = mean(0, 0) + mean(shift, shift) - 2 * mean(0, shift)
    made = torch.tensor([kernel_distance(normal(6, 1), normal(30, 1) + shift) for _ in range(3000)])
    spread = float(made[:, 0].std())
    assert float(made[:, 0].mean()) == pytest.approx(truth, abs=4 * spread / math.sqrt(3000))
    made = torch.tensor([kernel_distance(normal(200, 3), normal(400, 3) + shift) for _ in range(300)])
    ratio = float(made[:, 1].square().mean().sqrt() / made[:, 0].std())
    assert ratio == pytest.approx(1.0 if shift else math.sqrt(2), rel=0.2)  # of 300 draws the deviation is known to 5 %
