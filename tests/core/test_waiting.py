"""Nothing waits for a device inside the loop: reads of tensors are counted, and do not grow with the steps."""

import collections
import traceback

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

import guidekit as gk
from guidekit.core.ledger import Ledger
from guidekit.core.objective import usable

ASKED = {"tolist", "numpy", "cpu", "__array__"}  # of Python, which no dispatcher sees
aten = torch.ops.aten
READ = {aten._local_scalar_dense.default, aten.nonzero.default, aten.is_nonzero.default, aten.masked_select.default}
READ |= {aten.equal.default, aten.unique_dim.default, aten._unique2.default}


def place():
    """The file of guidekit that asks, below its folder."""
    files = [frame.filename for frame in traceback.extract_stack() if "/guidekit/" in frame.filename]
    return files[-1].rpartition("/guidekit/")[2] if files else ""


class Dispatched(TorchDispatchMode):
    """Counts what makes a host wait for a device, by who asks."""

    def __init__(self):
        super().__init__()
        self.reads = collections.Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        masks = [index for index in (args[1] if function is aten.index.Tensor else ()) if index is not None]
        if function in READ or any(mask.dtype in (torch.bool, torch.uint8) for mask in masks):
            self.reads[place()] += 1
        return function(*args, **(kwargs or {}))


class Called(TorchFunctionMode):
    """Counts the rest."""

    def __init__(self):
        super().__init__()
        self.reads = collections.Counter()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if getattr(function, "__name__", "") in ASKED:
            self.reads[place()] += 1
        return function(*args, **(kwargs or {}))


def reads(prior, guidance, steps, **options):
    with Dispatched() as below, Called() as above:
        gk.sample(prior, guidance, 6, steps, **options)
    return below.reads + above.reads


def a_step(prior, guidance, **options):
    """Reads that a step adds, by file."""
    more, few = (reads(prior, guidance, steps, **options) for steps in (24, 16))
    return {name: (more[name] - few[name]) / 8 for name in more if more[name] != few[name]}


@pytest.mark.parametrize(
    "read", [float, bool, torch.nonzero, lambda x: x[x > 0], lambda x: x.tolist(), lambda x: x.item()]
)
def test_the_counter_counts(read):
    with Dispatched() as below, Called() as above:
        read(torch.ones(1))
    assert (below.reads + above.reads).total() == 1


REAL = gk.priors.GaussianMixture(torch.tensor([[2.0, 0.0], [-2.0, 1.0]]), 0.5)
NEAR = gk.objectives.QuadraticReward(torch.ones(2))
TABLE = gk.objectives.TableReward(torch.arange(9.0).view(3, 3))
MAKES = {
    "svdd": lambda reward: gk.guidance.SVDD(reward, 3, alpha=0.5),
    "greedy": lambda reward: gk.guidance.SVDD(reward, 3, alpha=0),
    "votes": lambda reward: gk.guidance.PathIntegralGuidance(reward - reward, 3, "consensus"),
    "tree": lambda reward: gk.guidance.TreeSearch(reward, 2, 3),
    "filter": lambda reward: gk.guidance.FKSteering(reward, 0.5, particles=4),
    "never resampled": lambda reward: gk.guidance.FKSteering(reward, 0.5, particles=4, ess_threshold=0),
    "nested": lambda reward: gk.chain(MAKES["svdd"](reward), MAKES["filter"](reward)),
}


@pytest.mark.parametrize("name", MAKES)
def test_searches_and_filters_of_real_states_never_wait(name):
    assert a_step(REAL, MAKES[name](NEAR)) == {}


@pytest.mark.parametrize("process", [gk.processes.Masked(), gk.processes.Uniform()])
@pytest.mark.parametrize("name", MAKES)
def test_of_tokens_they_wait_for_what_the_sampler_waits_for(name, process):
    """Of masked tokens it is read once a question which rows have changed, and no others are asked about."""
    prior = gk.priors.CategoricalChain(torch.full((3, 3), 1 / 9), process)
    alone, found = (a_step(prior, one, sampler="ancestral") for one in (None, MAKES[name](TABLE)))
    assert set(found) <= set(alone) and not any(file.startswith("guidance") for file in found)
    assert found.get("core/state.py", 0) <= 1


def test_what_is_counted_later_is_counted():
    ledger = Ledger(degenerate_groups=1)
    ledger.count_later("degenerate_groups", torch.tensor(2))
    ledger.count_later("degenerate_groups", torch.tensor(3))
    scores = usable(torch.tensor([1.0, torch.nan, torch.inf, torch.nan, -torch.inf]), ledger)
    assert scores.tolist() == [1.0, -torch.inf, -torch.inf, -torch.inf, -torch.inf]
    total = ledger + Ledger()
    assert (total.degenerate_groups, total.reward_failures) == (6, 3)
    assert total.reward_reasons == {"returned NaN": 2, "returned plus infinity": 1}
    assert (ledger + Ledger()).degenerate_groups == 6  # not twice
