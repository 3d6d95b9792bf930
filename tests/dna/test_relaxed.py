import math

import pytest
import torch
from torch import nn

import guidekit as gk
from guidekit.core.requirements import GuidanceError
from guidekit.domains.dna import DNA, Dna, Proteins, strings, windows
from guidekit.domains.dna.onehot import OneHotModel
from guidekit.domains.dna.relaxed import GC, CpG, MotifCount, SoftMotif
from guidekit.errors import UnknownNameError
from guidekit.objectives import ObjectReward, score, weighted

SEQUENCES = strings(windows("human", "test")[:30])
TOKENS = DNA.encode(SEQUENCES)
ONE_HOT = nn.functional.one_hot(TOKENS, 4).double()


def coded(text):
    return DNA.encode([text])


SMOOTH = [SoftMotif("SP1"), SoftMotif("CTCF", relative=True), GC(0.2, 0.3), CpG(2.0, 3.0)]


@pytest.mark.parametrize("reward", [*SMOOTH, MotifCount("SP1", 1e-3)])
def test_tokens_score_whatever_is_beside_them(reward):
    values = reward(TOKENS)
    assert values.dtype == torch.float64 and values.shape == (30,)
    assert [float(reward(row[None])) for row in TOKENS] == values.tolist()
    masked = TOKENS.clone()
    masked[2, 100] = 4
    assert reward(masked)[2] == -math.inf and torch.equal(reward(masked)[3:], values[3:])


@pytest.mark.parametrize("sharpness", [0.5, 2.0, 20.0])
def test_smooth_maximum_is_within_its_bound(sharpness):
    reward = SoftMotif("CTCF", sharpness=sharpness)
    gap = reward.relaxed(ONE_HOT) - reward(TOKENS)
    sites = 2 * (256 - 15 + 1)
    assert (gap >= -1e-9).all() and (gap <= math.log(sites) / sharpness + 1e-9).all()
    assert gap.max() > 1e-6  # it is no hard maximum


def test_relative_motif_is_a_share_of_the_best():
    best = "".join("ACGT"[i] for i in SoftMotif("CTCF")._table.argmax(1).tolist())
    assert SoftMotif("CTCF", relative=True)(coded("A" * 50 + best + "A" * 50)) == pytest.approx(1.0)
    assert SoftMotif("CTCF", relative=True)(coded("A" * 50 + DNA.reverse_complement(best))) == pytest.approx(1.0)


@pytest.mark.parametrize("reward", SMOOTH)
def test_gradient_equals_finite_differences(reward):
    p = torch.rand(2, 40, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).softmax(-1)
    assert torch.autograd.gradcheck(reward.relaxed, p.requires_grad_(), eps=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(reward.relaxed(p).sum(), p)
    assert gradient.abs().sum() > 0


def test_relaxed_equals_hard_where_it_is_exact():
    for reward in (GC(0.45, 0.5), CpG()):
        assert torch.allclose(reward.relaxed(ONE_HOT), reward(TOKENS))
    assert GC(0.75, 0.8)(coded("ACGT")) == pytest.approx(-0.25) and GC(0.4, 0.5)(coded("ACGT")) == 0.0 == GC(0.5, 0.5)(
        coded("CAGT")
    )
    assert GC(0, 0)(coded("GGCA")) == GC(0, 0)(coded("CCCA")) == -0.75 and GC(1, 1)(coded("ATAT")) == -1.0
    assert CpG(0.9, 1.1)(coded("CGCGAATT")) == pytest.approx(1.1 - 2 * 8 / (2 * 2))
    assert CpG(0.5, 1)(coded("AAAA")) == -0.5
    with pytest.raises(ValueError, match="low must not exceed high"):
        GC(0.6, 0.5)


def test_unknown_motif_and_impossible_p():
    with pytest.raises(UnknownNameError, match="CTCF"):
        SoftMotif("CTCQ")
    with pytest.raises(ValueError, match="give a larger p or a longer motif"):
        MotifCount("MAX")
    with pytest.raises(ValueError, match="sharpness=0"):
        SoftMotif("CTCF", sharpness=0)


class Toy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Conv1d(4, 3, 9)

    def forward(self, x):
        return self.layer(x).relu().amax(-1)


@pytest.mark.filterwarnings("ignore:.torch.jit.:DeprecationWarning")
def test_a_network_of_ones_own(tmp_path):
    torch.manual_seed(0)
    toy = Toy()
    reward = OneHotModel(toy, channels_first=True, output=2, batch=7)
    expected = toy(ONE_HOT.float().transpose(1, 2))[:, 2]
    assert torch.allclose(reward(TOKENS), expected.double(), atol=1e-6)
    p = ONE_HOT.float().requires_grad_()
    assert torch.autograd.grad(reward.relaxed(p).sum(), p)[0].abs().sum() > 0
    torch.jit.trace(toy, torch.zeros(2, 4, 256)).save(str(tmp_path / "toy.pt"))
    size = {0: torch.export.Dim("batch")}
    torch.export.save(torch.export.export(toy, (torch.zeros(2, 4, 256),), dynamic_shapes=(size,)), tmp_path / "toy.pt2")
    for name in ("toy.pt", "toy.pt2"):
        loaded = Dna().rewards.make(
            "onehot_model", model=str(tmp_path / name), trust=True, channels_first=True, output=2
        )
        assert torch.allclose(loaded(TOKENS), expected.double(), atol=1e-6)
    with pytest.raises(ValueError, match="K above output=5"):
        OneHotModel(toy, channels_first=True, output=5)(TOKENS)
    with pytest.raises(ValueError, match="there is no file"):
        OneHotModel(str(tmp_path / "none.pt"))
    (tmp_path / "bad.pt").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="neither TorchScript nor"):
        OneHotModel(str(tmp_path / "bad.pt"), trust=True)


def test_domain_hands_tokens_to_rewards_that_take_them():
    domain = Dna()
    motif = domain.rewards.make("motif", motif="CTCF")
    assert isinstance(motif, SoftMotif) and motif.differentiable and motif.name == "motif"
    assert isinstance(domain.rewards["homopolymer"], ObjectReward)
    assert domain.bind(motif) is motif
    both = motif + 10 * GC()
    assert both.differentiable and both.name == "motif + 10 gc"
    assert torch.allclose(both(TOKENS), SoftMotif("CTCF")(TOKENS) + 10 * GC()(TOKENS))
    relaxed = SoftMotif("CTCF").relaxed(ONE_HOT) + 10 * GC().relaxed(ONE_HOT)
    assert torch.allclose(both.relaxed(ONE_HOT), relaxed)
    assert torch.equal((-motif)(TOKENS), -SoftMotif("CTCF")(TOKENS))
    assert torch.equal((-motif).relaxed(ONE_HOT), -SoftMotif("CTCF").relaxed(ONE_HOT))
    counted = MotifCount("SP1") * MotifCount("CTCF")
    assert not counted.differentiable and not hasattr(counted, "relaxed")
    assert torch.equal(counted(TOKENS), MotifCount("SP1")(TOKENS) * MotifCount("CTCF")(TOKENS))
    mixed = weighted([motif, domain.bind(lambda s: float(len(s)))], [1.0, 1.0])
    assert not mixed.differentiable and not hasattr(mixed, "relaxed")
    assert torch.allclose(score(prior_of(domain), mixed, TOKENS), motif(TOKENS) + 256)
    assert [motif.name for motif in domain.shown_motifs(mixed + 2 * counted + mixed)] == ["CTCF", "SP1"]
    assert domain.shown_motifs(None) == [] and domain.shown_motifs(domain.rewards["gc"]) == []


def prior_of(domain):
    prior = gk.priors.Prior()
    prior.codec = domain.codec
    return prior


def test_other_tokens_are_refused():
    protein = prior_of(Proteins())
    with pytest.raises(GuidanceError, match="reward motif is of DNA"):
        SoftMotif("CTCF").check(protein)
    with pytest.raises(GuidanceError, match="reward gc is of DNA"):
        (GC() + SoftMotif("CTCF")).check(protein)
    SoftMotif("CTCF").check(prior_of(Dna(12)))
