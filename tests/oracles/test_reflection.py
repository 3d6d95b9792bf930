"""Reflection: rules hold afterwards, nothing else moves, and verifiers agree with plain loops."""

import itertools
import math

import pytest
import torch

import guidekit as gk
from guidekit.core.prior import Prior
from guidekit.domain import Domain
from guidekit.guidance import Reflection
from guidekit.guidance.transition.reflection import Judged, substitutions
from guidekit.networks.dilated_convolution import DilatedConvolution
from guidekit.objectives.verifiers import ForbiddenWords, ObjectVerifier, OccupiedCells
from guidekit.priors.tokens import TokenPrior
from guidekit.testing import check_guidance

SIZE, WAYPOINTS = 4, 3
SAMPLERS = {
    "first_hitting": gk.samplers.FirstHitting(),
    "ancestral": gk.samplers.Ancestral(),
    "remdm": gk.samplers.ReMDM("rescale", eta=0.9),
    "maskgit": gk.samplers.MaskGIT(),
    "planning": gk.samplers.PathPlanning(keep=2.0),
    "euler_ctmc": gk.samplers.EulerCTMC(stochasticity=5.0),
}


def walks():
    """Exact prior of paths of three waypoints on a 4 x 4 grid that run along the row y = 1; x0 y0 x1 y1 x2 y2."""
    paths = torch.tensor(list(itertools.product(range(SIZE), repeat=2 * WAYPOINTS))).double().view(-1, WAYPOINTS, 2)
    line = torch.stack([torch.linspace(0, SIZE - 1, WAYPOINTS), torch.ones(WAYPOINTS)], -1).double()
    cost = (paths - line).square().sum((1, 2)) + (paths - line).diff(dim=1).square().sum((1, 2)) / 2
    return gk.priors.CategoricalChain((-2 * cost).exp().view(*[SIZE] * 2 * WAYPOINTS))


class RandomWalk(Prior):
    """Exact prior of walks of N waypoints over a grid, from the middle of the left side to that of the right one."""

    name, timeless = "random walk", True

    def __init__(self, size, waypoints):
        self.process, self.event_shape = gk.processes.Masked(size), (2 * waypoints,)
        ids = torch.arange(size).double()
        self.step = (-(ids[:, None] - ids).square() / 8).exp()
        self.ends = torch.ones(2, waypoints, size, dtype=torch.float64)
        for place, goal in ((0, (0, size // 2)), (-1, (size - 1, size // 2))):
            self.ends[:, place] = (-(ids - torch.tensor(goal)[:, None]).square()).exp()

    def predict(self, x, t, condition=None):
        """Marginals by messages from both sides, for each axis alone."""
        z, size = x.view(len(x), -1, 2).transpose(1, 2), self.process.vocab_size
        seen = torch.nn.functional.one_hot(z, size + 1)[..., :size].double()
        law = (self.ends * torch.where((z == size)[..., None], 1.0, seen)).unbind(2)
        left, right = [torch.ones_like(law[0])], [torch.ones_like(law[0])]
        for before, after in zip(law[:-1], law[:0:-1], strict=True):
            left.append((left[-1] * before) @ self.step)
            right.append((right[-1] * after) @ self.step)
        law = torch.stack(left, 2) * torch.stack(law, 2) * torch.stack(right[::-1], 2)
        law = law / law.sum(-1, keepdim=True)
        return self.process.prediction(law.transpose(1, 2).flatten(1, 2).log(), x)


def walls():
    """Three 16 x 16 grids without a straight way through: a block, a wall with a gap, two with gaps at either end."""
    block, wall, two = torch.zeros(3, 16, 16, dtype=torch.bool)
    block[5:11, 5:11] = True
    wall[:, 7:9], wall[1:3] = True, False
    two[:, [4, 11]], two[1:3, 4], two[13:15, 11] = True, False, False
    return {"block": block, "wall": wall, "two walls": two}


def obstacle():
    """The middle of that row is occupied."""
    grid = torch.zeros(SIZE, SIZE, dtype=torch.bool)
    grid[1, 1:3] = True
    return OccupiedCells(grid)


def dna(length=32, seed=0):
    torch.manual_seed(seed)
    network = DilatedConvolution(4, length, width=16, kernel=3, dilations=(1, 2, 4))
    torch.nn.init.normal_(network.head.weight, std=0.3)
    return TokenPrior(network, 4, [0] * length + [1], pad_id=None)


def words(*texts):
    """Both strands of DNA words."""
    other = str.maketrans("ACGT", "TGCA")
    return ForbiddenWords([["ACGT".index(c) for c in w] for t in texts for w in (t, t.translate(other)[::-1])])


COMMON = words("AC", "GGT", "TTT")  # almost every random sequence of 32 holds one of these
NEVER = ForbiddenWords([[99]])


def broken(verifier, tokens):
    return float((verifier(tokens)[0] >= 0).double().mean())


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_no_collision_is_left_where_the_mode_is_blocked(sampler, window):
    prior, verifier = walks(), obstacle()
    options = dict(num_samples=60, sampler=SAMPLERS[sampler], steps=8)
    assert broken(verifier, gk.sample(prior, **options).samples) > 0.9
    result = gk.sample(prior, Reflection(verifier, window=window), **options)
    assert broken(verifier, result.samples) == 0
    assert result.info["violations before"].sum() > 54 and result.info["violations after"].sum() == 0
    assert result.info["rounds"].max() >= 1


@pytest.mark.parametrize("name", walls())
def test_collisions_of_long_walks_fall_below_one_percent(name):
    prior, verifier = RandomWalk(16, 8), OccupiedCells(walls()[name], reach=6.0)
    result = gk.sample(prior, Reflection(verifier), 120, steps=16)
    assert result.info["violations before"].double().mean() > 0.9
    assert broken(verifier, result.samples) < 0.01


@pytest.mark.parametrize("name", ["block", "wall"])
def test_a_score_leads_walks_to_their_goal(name):
    """Rules alone are met in front of a wall as well; with a goal among them a score has to tell the way."""
    grid = walls()[name]
    cells = OccupiedCells(grid, reach=6.0)
    steps = torch.full((18, 18), 99.0).double()
    steps[9, 16] = 0  # from the goal, over the 8 neighbours of every free cell
    for _ in range(40):
        nearest = steps.unfold(0, 3, 1).unfold(1, 3, 1).amin((2, 3)) + 1
        steps[1:-1, 1:-1] = torch.where(grid, 99.0, torch.minimum(steps[1:-1, 1:-1], nearest))

    def verifier(tokens):
        first, stop = cells(tokens)
        missed = (first < 0) & (tokens[:, -2] < 12)
        return torch.where(missed, 14, first), torch.where(missed, 16, stop)

    def score(tokens):
        return -3 * steps[1:-1, 1:-1][tokens[:, 1::2], tokens[:, ::2]].sum(1)

    result = gk.sample(RandomWalk(16, 8), Reflection(verifier, score=score), 60, steps=16)
    assert broken(cells, result.samples) < 0.01 and (result.samples[:, -2] >= 12).double().mean() > 0.99


def test_feasible_rules_of_all_kinds_are_met():
    prior = walks()
    paths, generator = prior.sequences, torch.Generator().manual_seed(1)
    violations = checked = 0
    for share, reach in itertools.product((0.3, 0.5, 0.7), (None, 2.0, 1.5)):
        for _ in range(2):
            verifier = OccupiedCells(torch.rand(SIZE, SIZE, generator=generator) < share, reach)
            if broken(verifier, paths) < 1:
                violations += gk.sample(prior, Reflection(verifier), 20, steps=6).info["violations after"].sum()
                checked += 20
    assert checked > 200 and violations < 0.01 * checked


def test_forbidden_words_leave_an_enumerable_chain():
    law = torch.rand(3, 3, 3, 3, 3, generator=torch.Generator().manual_seed(0))
    prior, verifier = gk.priors.CategoricalChain(law), ForbiddenWords([[0, 1], [2, {0, 2}], [1, 2, 1]])
    plain, guided = gk.sample(prior, None, 400).samples, gk.sample(prior, Reflection(verifier), 400).samples
    fine = verifier(plain)[0] < 0
    expected = float(prior.probabilities.flatten()[verifier(prior.sequences)[0] < 0].sum())
    assert float(fine.double().mean()) == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 400))
    assert torch.equal(guided[fine], plain[fine]) and broken(verifier, guided) == 0


def test_infeasible_rule_returns_the_best_sequence_seen():
    # Free cells are those of a diagonal, and steps along it are too long: only standing still would be right, which
    # the window of a token allows too rarely to be found in four rounds.
    prior, verifier = walks(), OccupiedCells(~torch.eye(SIZE).bool(), reach=1.0)
    result = gk.sample(prior, Reflection(verifier, rounds=4), 50)
    plain = gk.sample(prior, num_samples=50)
    assert (result.info["violations after"] <= result.info["violations before"]).all()
    before, after = verifier.count(plain.samples), verifier.count(result.samples)
    assert (after <= before).all() and after.sum() < before.sum()
    blocked = OccupiedCells(torch.ones(SIZE, SIZE, dtype=torch.bool))
    result = gk.sample(prior, Reflection(blocked, rounds=3), 20)
    assert (result.info["violations after"] == 1).all() and (result.info["rounds"] == 3).all()
    assert torch.equal(result.samples, gk.sample(prior, num_samples=20).samples)  # nothing was better than the start


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_rows_without_a_violation_are_the_unguided_ones(sampler):
    options = dict(num_samples=40, sampler=SAMPLERS[sampler], steps=8)
    prior, rare = dna(), words("GGTA")
    plain = gk.sample(prior, **options)
    untouched = gk.sample(prior, Reflection(NEVER), **options)
    assert torch.equal(untouched.samples, plain.samples)
    assert untouched.ledger.network_rows == plain.ledger.network_rows
    guided = gk.sample(prior, Reflection(rare), **options).samples
    fine = rare(plain.samples)[0] < 0
    assert 0 < fine.sum() < 40
    assert torch.equal(guided[fine], plain.samples[fine]) and not torch.equal(guided[~fine], plain.samples[~fine])


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_pinned_tokens_never_change(sampler, window, monkeypatch):
    rounds = []
    sample_on = Reflection._sample_on

    def spied(self, population, tokens, rows, pinned, visit):
        after = sample_on(self, population, tokens, rows, pinned, visit)
        rounds.append((tokens, rows, pinned, after.state))
        return after

    monkeypatch.setattr(Reflection, "_sample_on", spied)
    gk.sample(dna(), Reflection(COMMON, window=window), 40, sampler=SAMPLERS[sampler], steps=8)
    assert len(rounds) > 1
    for tokens, rows, pinned, after in rounds:
        assert torch.equal(after[rows][pinned], tokens[rows][pinned])
        others = torch.ones(40, dtype=torch.bool).index_fill(0, rows, False)
        assert torch.equal(after[others], tokens[others]) and (after < 4).all()
    tokens, rows, pinned, after = rounds[0]
    assert (tokens != after).any()  # what is not pinned is drawn anew
    first, _ = COMMON(tokens[rows])
    assert ((first < 0) | (first >= pinned.int().argmin(1))).all()  # and what is pinned before it is right


def test_no_gradient_is_taken(monkeypatch):
    def refuse(*arguments, **options):
        raise AssertionError("a gradient was taken")

    monkeypatch.setattr(torch.autograd, "grad", refuse)
    monkeypatch.setattr(torch.Tensor, "backward", refuse)
    verifier = obstacle()

    def blind(tokens):
        assert not torch.is_grad_enabled() and not tokens.is_floating_point()
        return verifier(tokens)

    result = gk.sample(walks(), Reflection(blind), 50)
    assert broken(verifier, result.samples) == 0


@pytest.mark.parametrize("length", [24, 64])
def test_forbidden_words_are_gone(length):
    prior, verifier = dna(length), words("GAT", "GGTC")
    plain = gk.sample(prior, num_samples=100, steps=length)
    result = gk.sample(prior, Reflection(verifier, rounds=16), 100, steps=length)
    assert broken(verifier, plain.samples) > 0.5 and broken(verifier, result.samples) == 0
    local = gk.sample(prior, Reflection(verifier, rounds=16, window=0), 100, steps=length)
    assert broken(verifier, local.samples) == 0
    # One network row a round and row in local repair; in all at most the tokens sampled again besides.
    extra = local.ledger.network_rows - plain.ledger.network_rows
    assert extra == local.info["rounds"].sum()
    assert (
        plain.ledger.network_rows
        < result.ledger.network_rows
        < 100 * length + int(result.info["rounds"].sum()) * (length + 1)
    )


def test_local_repair_takes_the_most_probable_substitution():
    prior, verifier = walks(), obstacle()
    plain = gk.sample(prior, num_samples=30).samples
    result = gk.sample(prior, Reflection(verifier, rounds=1, window=0, tries=10**4), 30)
    checked = 0
    for before, after in zip(plain, result.samples, strict=True):
        first, stop = (int(v) for v in verifier(before[None]))
        if first < 0:
            continue
        asked = before.clone()
        asked[first:stop] = SIZE
        law = prior.predict(asked[None], 0.5).log_probs[0]
        best = -math.inf
        for new in itertools.product(range(SIZE), repeat=2):
            trial = before.clone()
            trial[first:stop] = torch.tensor(new)
            next_first = int(verifier(trial[None])[0])
            if next_first < 0 or next_first >= stop:
                best = max(best, float(law[first, new[0]] + law[first + 1, new[1]]))
        assert float(law[first, after[first]] + law[first + 1, after[first + 1]]) == pytest.approx(best, abs=1e-9)
        checked += 1
    assert checked > 20


def test_neighbours_bound_the_move_and_a_score_overrules_the_prior():
    prior, verifier = walks(), obstacle()
    options = dict(rounds=1, window=0)
    plain = gk.sample(prior, num_samples=50, seed=1).samples
    near = gk.sample(prior, Reflection(verifier, neighbours=1, **options), 50, seed=1).samples
    assert (near - plain).abs().max() == 1
    asked = []

    def score(tokens):
        asked.append(len(tokens))
        return 100.0 * tokens[:, 1::2].sum(1)

    far = gk.sample(prior, Reflection(verifier, score=score, **options), 50, seed=1)
    moved = (far.samples != plain).any(1)
    assert moved.sum() > 40 and sum(asked) > 50
    assert (far.samples[moved][:, 1::2].amax(1) == SIZE - 1).all()  # waypoints went to the topmost row


def test_substitutions_match_enumeration():
    generator = torch.Generator().manual_seed(0)
    log_probs = torch.randn(4, 6, 5, generator=generator).double().log_softmax(-1)
    tokens = torch.randint(0, 5, (4, 6), generator=generator)
    log_probs[1, 1, tokens[1, 1]] = -math.inf  # a token that the model thinks impossible can be replaced all the same
    first, stop = torch.tensor([0, 1, 4, 2]), torch.tensor([1, 3, 6, 6])  # both tokens only where there are two
    part = Judged(tokens, first, stop, torch.ones(4), torch.zeros(4))
    position = torch.arange(6)
    span = (position >= first[:, None]) & (position < stop[:, None])
    for neighbours, tries in itertools.product((None, 1), (3, 20, 10**3)):
        places, ids, value = substitutions(part, log_probs, span, neighbours, tries)
        for row in range(4):
            allowed = {
                (p, v): float(log_probs[row, p, v] - log_probs[row, p, tokens[row, p]].clamp_min(-50))
                for p in range(int(first[row]), int(stop[row]))
                for v in range(5)
                if v != tokens[row, p] and (neighbours is None or abs(v - int(tokens[row, p])) <= neighbours)
            }
            expected = {frozenset([edit]): gain for edit, gain in allowed.items()}
            if stop[row] - first[row] == 2:
                for a, b in itertools.combinations(allowed, 2):
                    if a[0] != b[0]:
                        expected[frozenset([a, b])] = allowed[a] + allowed[b]
            got = {
                frozenset(zip(p, v, strict=True)): g
                for p, v, g in zip(places[row].tolist(), ids[row].tolist(), value[row].tolist(), strict=True)
                if g > -math.inf
            }
            best = sorted(expected.values(), reverse=True)[:tries]
            assert list(got.values()) == pytest.approx(best, abs=1e-6)
            assert all(g == pytest.approx(expected[edit], abs=1e-6) for edit, g in got.items())


def test_padding_and_unreachable_spans():
    torch.manual_seed(0)
    network = gk.networks.SequenceTransformer(9, 12, width=16, depth=1, heads=2, pad_id=0)
    prior = TokenPrior(network, 9, [0, 0, 1, 2, 3, 2, 1, 1, 1, 1, 1, 1, 1])
    whole = ObjectVerifier(lambda states: [None if 3 in row else row for row in states.tolist()], lambda row: None)
    plain = gk.sample(prior, num_samples=60).samples
    result = gk.sample(prior, Reflection(whole), 60)
    assert broken(whole, plain) > 0.3 and broken(whole, result.samples) == 0
    assert torch.equal(result.samples == 0, plain == 0)  # lengths stay
    assert all(3 not in row for row in result.samples.tolist())


@pytest.mark.parametrize("never", ["row", "end"])
def test_a_rule_that_nothing_satisfies_ends_after_the_rounds(never):
    span = (0, 3) if never == "row" else (21, 24)
    verifier = ObjectVerifier(lambda states: states.tolist(), lambda row: span)
    for rounds in (0, 2, 5):
        result = gk.sample(dna(24), Reflection(verifier, rounds=rounds), 3, steps=24)
        assert (result.info["rounds"] == rounds).all() and (result.info["violations after"] == 1).all()


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("sampler", ["first_hitting", "ancestral", "remdm", "planning"])
def test_contract(sampler, window):
    guidance = Reflection(COMMON, window=window, rounds=5)
    result = check_guidance(dna(16), guidance, 5, sampler=SAMPLERS[sampler], steps=5, particles=2)
    rounds = result.info["rounds"]
    assert rounds.shape == (5, 1) and rounds.min() < rounds.max()  # batch mates did need different numbers of rounds


def test_contract_of_paths():
    check_guidance(walks(), Reflection(obstacle()), 4, steps=5)


def test_rounds_draw_independently():
    """Three uniform bits drawn anew each round: what is left after some rounds is a power of what one round leaves."""
    prior = gk.priors.CategoricalChain(torch.ones(2, 2, 2))
    verifier = ObjectVerifier(lambda states: states.tolist(), lambda row: (0, 3) if any(row) else None)
    n = 4000
    result = gk.sample(prior, Reflection(verifier, rounds=3), n)
    # Rows with a single 1 are repaired; those with more, one half, are drawn again; of the last draws 7/8 are wrong.
    left = (1 / 2) ** 3 * 7 / 8
    share = float(result.info["violations after"].double().mean())
    assert share == pytest.approx(left, abs=4 * math.sqrt(left / n))


def test_it_chains_with_searches_and_filters():
    prior, reward, g = dna(16), lambda tokens: (tokens == 2).double().sum(1), gk.guidance
    options = dict(num_samples=3, steps=8)
    inside = check_guidance(prior, g.chain(g.SVDD(reward, 3), Reflection(COMMON)), **options)
    assert broken(COMMON, inside.samples) == 0 and inside.info["violations before"].sum() > 0
    best = check_guidance(prior, g.chain(Reflection(COMMON), g.BestOfN(reward, 4)), **options)
    assert best.samples.shape == (3, 16) and broken(COMMON, best.samples) == 0
    steered = g.FKSteering(reward, 1.0, particles=4, output="all")
    for order in ((steered, Reflection), (Reflection, steered)):
        alone, guidances = (
            g.chain(*(guidance(verifier) if guidance is Reflection else guidance for guidance in order))
            for verifier in (NEVER, COMMON)
        )
        alone, both = gk.sample(prior, alone, **options), check_guidance(prior, guidances, **options)
        assert broken(COMMON, both.samples) == 0 and torch.equal(both.log_weights, alone.log_weights)
        fine = COMMON(alone.samples)[0] < 0
        assert torch.equal(both.samples[fine], alone.samples[fine])  # particles keep their rows
        assert both.info["ess"].shape == alone.info["ess"].shape
    # What is drawn after the rounds does not depend on their number, which differs between batches.
    check_guidance(prior, g.chain(Reflection(COMMON), g.FKSteering(reward, 3.0, particles=4)), **options)
    twice = g.chain(Reflection(words("AC")), Reflection(COMMON))
    assert broken(COMMON, check_guidance(prior, twice, **options).samples) == 0


def test_filters_rest_and_records_stop_while_tokens_are_sampled_again():
    class Recorder(gk.Guidance):
        def denoise(self, inner, question):
            question.record("calls", torch.ones(len(question.x)))
            return inner(question)

    class Filter(gk.Guidance):
        provides = frozenset({gk.core.requirements.Fact.WEIGHTS})

        def move(self, inner, population, step):
            assert len(step.key) == 1  # no visit of a reflection
            return inner(population, step)

    result = check_guidance(dna(16), gk.guidance.chain(Recorder(), Filter(), Reflection(COMMON)), 4, steps=8)
    assert result.info["rounds"].sum() > 0 and result.info["calls"].shape == (4, 8)


def test_conditions_and_contrast_act_in_a_repair():
    law = torch.rand(3, 3, 3, generator=torch.Generator().manual_seed(0))
    prior = gk.priors.CategoricalChain(law, conditionals=torch.stack([law.flip(0), law**4]))
    verifier = ForbiddenWords([[0, 0], [1, 1], [2, 2]])
    result = check_guidance(prior, gk.guidance.chain(gk.guidance.CFG(2.0), Reflection(verifier)), 8, condition=1)
    assert broken(verifier, result.samples) == 0


def test_time_matches_the_number_of_masked_tokens(monkeypatch):
    starts = []
    take_step = gk.samplers.FirstHitting.step

    def spied(self, here, memory):
        starts.append((here.step.key, here.time, (here.prediction.z == 4).sum(1)))
        return take_step(self, here, memory)

    monkeypatch.setattr(gk.samplers.FirstHitting, "step", spied)
    gk.sample(dna(24), Reflection(COMMON, rounds=1), 10, steps=24)
    _, time, masked = next(entry for entry in starts if len(entry[0]) > 1)
    assert masked.max() > 0
    torch.testing.assert_close(time[masked > 0], masked[masked > 0].double() / 24)


def test_refusals():
    uniform = gk.priors.CategoricalChain(torch.ones(2, 2), gk.processes.Uniform())
    for prior in (uniform, gk.priors.Gaussian(torch.zeros(2), 1.0)):
        with pytest.raises(gk.GuidanceError, match=prior.name):
            gk.sample(prior, Reflection(NEVER))
    for wrong in (dict(rounds=-1), dict(neighbours=0), dict(tries=0), dict(window=-1)):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Reflection(NEVER, **wrong)
    with pytest.raises(ValueError, match="at least one token"):
        ForbiddenWords([])
    for answer in ((torch.zeros(2), torch.ones(2)), (torch.tensor([0]), torch.tensor([9])), (torch.tensor([1]),) * 2):
        with pytest.raises(ValueError, match="verifier function returned"):
            gk.sample(dna(8), Reflection(lambda tokens, answer=answer: answer), steps=8)


def test_a_domain_gives_the_verifier():
    from guidekit.running.build import build_guidance

    class Words(Domain):
        name, objects = "words", "words"

        def verifier(self, forbidden=()):
            return words(*forbidden)

    config = {"name": "reflection", "rounds": 3, "forbidden": ["GAT"]}
    guidance = build_guidance(config, None, Words().verifier)
    assert isinstance(guidance, Reflection) and guidance.rounds == 3 and guidance.verifier.words == words("GAT").words
    with pytest.raises(gk.GuidanceError, match="needs a verifier"):
        build_guidance(config, None)
    Words.verifier = Domain.verifier
    with pytest.raises(ValueError, match="domain words has no verifier"):
        build_guidance(config, None, Words().verifier)


def test_forbidden_words_against_loops():
    tokens = torch.randint(0, 3, (300, 9), generator=torch.Generator().manual_seed(0))
    wild = [[0, {1, 2}, 0], [1, [0, 2], [0, 1, 2], 1]]
    plain = ([[0, 1, 2], [0, 1], [2, 2, 2, 2]], [[1]], [[0] * 10], [[2, 0, 0], [0, 0, 1], [2, 0, 0, 0], [2, 0, 0]])
    for forbidden in (*plain, wild):
        verifier = ForbiddenWords(forbidden)
        first, stop = verifier(tokens)
        assert first.dtype == stop.dtype == torch.int64
        choices = [[[ids] if isinstance(ids, int) else ids for ids in word] for word in forbidden]
        spelled = sorted({word for choice in choices for word in itertools.product(*choice)})
        for i, row in enumerate(tokens.tolist()):
            hits = [(b, b + len(w)) for w in spelled for b in range(10 - len(w)) if tuple(row[b : b + len(w)]) == w]
            assert (int(first[i]), int(stop[i])) == min(hits, default=(-1, -1))
            assert int(verifier.count(tokens)[i]) == len(hits)


@pytest.mark.parametrize("reach", [None, 3.0])
def test_occupied_cells_against_loops(reach):
    generator = torch.Generator().manual_seed(0)
    grid = torch.rand(5, 7, generator=generator) < 0.15
    tokens = torch.randint(0, 8, (300, 8), generator=generator)  # ids up to 7: off the grid in both axes
    verifier = OccupiedCells(grid, reach, resolution=4)
    first, stop = verifier(tokens)

    def hit(x, y):
        column, row = math.floor(x + 0.5), math.floor(y + 0.5)
        return not (0 <= column < 7 and 0 <= row < 5) or bool(grid[row, column])

    counts = verifier.count(tokens)
    assert 0 < (first < 0).sum() < 300
    for i, row in enumerate(tokens.tolist()):
        points = list(zip(row[::2], row[1::2], strict=True))
        bad = []
        for n, (x, y) in enumerate(points):
            wrong = hit(x, y)
            if n:
                (a, b) = points[n - 1]
                wrong |= any(hit(a + s / 28 * (x - a), b + s / 28 * (y - b)) for s in range(1, 28))
                wrong |= reach is not None and math.dist((a, b), (x, y)) > reach
            bad += [n] * wrong
        expected = (2 * bad[0], 2 * bad[0] + 2) if bad else (-1, -1)
        assert (int(first[i]), int(stop[i])) == expected and int(counts[i]) == len(bad)


def test_a_wall_stops_a_segment_and_not_only_waypoints():
    grid = torch.zeros(5, 5, dtype=torch.bool)
    grid[:, 2] = True
    grid[4, 2] = False
    paths = torch.tensor([[0, 0, 4, 0], [1, 4, 3, 4], [0, 0, 1, 3]])
    assert OccupiedCells(grid)(paths)[0].tolist() == [2, -1, -1]


def test_object_verifier_checks_distinct_rows_once():
    seen = []
    verifier = ObjectVerifier(
        lambda states: [None if row[0] == 2 else row for row in states.tolist()],
        lambda row: seen.append(row) or ((1, 2) if row[1] == 1 else None),
    )
    tokens = torch.tensor([[0, 1, 0], [2, 0, 0], [0, 0, 0], [0, 1, 0]])
    first, stop = verifier(tokens)
    assert first.tolist() == [1, 0, -1, 1] and stop.tolist() == [2, 3, -1, 2] and len(seen) == 2
