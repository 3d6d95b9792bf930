import dataclasses
import math
import pickle

import numpy as np
import pytest
import torch

import guidekit as gk
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.requirements import GuidanceError
from guidekit.domains.audio import Audio, Chorales, Sound, mel, metrics, rewards, roll_metrics, rolls
from guidekit.domains.audio.roll_rewards import InScale, Key, Polyphony
from guidekit.evaluation.frechet import frechet
from guidekit.objectives import score

TIME = np.arange(mel.SAMPLES) / mel.RATE
SOUNDS, PIECES = Audio().reference()[:5], Chorales().reference()[:5]
SMOOTH = [rewards.Centroid(7000, 7500), rewards.Loudness(-3, 0), Key("G major"), InScale(), Polyphony(6.0, 7.0)]


def tone(hertz, amplitude=0.5):
    return Sound((amplitude * np.sin(2 * np.pi * hertz * TIME)).astype(np.float32))


def bursts(*starts):
    """Decaying noise at each time, seconds."""
    rng, wave = np.random.default_rng(0), np.zeros(mel.SAMPLES)
    for start in starts:
        at = int(start * mel.RATE)
        wave[at:] += rng.normal(size=mel.SAMPLES - at) * np.exp(-np.arange(mel.SAMPLES - at) / 400)
    return Sound((0.9 * wave / np.abs(wave).max()).astype(np.float32))


@pytest.mark.parametrize("hertz", [300.0, 1000.0, 4000.0])
def test_centroid_of_a_tone_is_its_frequency(hertz):
    state = Audio().codec.encode([tone(hertz)])
    found = rewards.centroids(mel.to_powers(state))
    assert found.item() == pytest.approx(hertz, rel=0.05)
    assert rewards.Centroid(hertz / 2, 2 * hertz)(state) == 0
    assert float(rewards.Centroid(2 * hertz, min(3 * hertz, 8000.0))(state)) == pytest.approx(-1, abs=0.08)  # an octave


@pytest.mark.parametrize("amplitude", [1.0, 0.1, 0.01])
def test_level_of_a_tone_is_its_amplitude(amplitude):
    expected = 20 * math.log10(amplitude)
    for state in ("mel", "waveform"):
        assert rewards.levels(Audio(state).codec.encode([tone(1000, amplitude)])).item() == pytest.approx(
            expected, abs=0.5
        )


def test_level_of_real_sounds_is_nearly_the_same_in_both_states():
    both = [rewards.levels(Audio(state).codec.encode(SOUNDS)) for state in ("mel", "waveform")]
    gaps = (both[0] - both[1]).abs()
    assert gaps.median() < 0.5 and gaps.max() < 6  # dB; the deepest drums lie below the lowest band


def test_onsets_and_duration():
    assert rewards.onset_times(bursts(0.0, 0.3, 0.6)).tolist() == pytest.approx([0.0, 0.3, 0.6], abs=0.02)
    assert rewards.Onsets(3, 3)(bursts(0.1, 0.5)) == -1 and len(rewards.onset_times(tone(500))) == 1
    short = bursts(0.0)  # 40 dB are lost after 400 / 16000 * ln(100) = 0.115 s
    assert rewards.sounding(short) == pytest.approx(0.115, abs=0.02)
    assert rewards.Duration(0.5, 0.6)(short) == pytest.approx(-0.385, abs=0.02)


@pytest.mark.parametrize("reward", SMOOTH, ids=lambda r: r.name)
def test_gradients_agree_with_finite_differences(reward):
    domain, things = (Audio(), SOUNDS) if (1, 64, 64) in reward.shapes else (Chorales(), PIECES)
    x = (0.7 * domain.codec.encode(things[:2])).double().requires_grad_()
    values = reward(x)
    (gradient,) = torch.autograd.grad(values.sum(), x)
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = 1e-6
    slope = (reward(x + step * direction) - reward(x - step * direction)) / (2 * step)
    assert torch.allclose((gradient * direction).flatten(1).sum(1), slope, rtol=1e-4, atol=1e-7)
    assert gradient.flatten(1).abs().amax(1).min() > 0 and (reward(x[:1])[0] - values[0]).abs() < 1e-9


def test_gradient_of_a_waveform():
    x = Audio("waveform").codec.encode(SOUNDS[:1]).double().requires_grad_()
    reward = rewards.Centroid(3000, 4000)
    (gradient,) = torch.autograd.grad(reward(x).sum(), x)
    direction = torch.randn(x.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slope = (reward(x + 1e-7 * direction) - reward(x - 1e-7 * direction)) / 2e-7
    assert (gradient * direction).sum().item() == pytest.approx(slope.item(), rel=1e-3)


def test_rewards_of_known_pieces():
    c_major = Chorales().codec.encode([np.array([[0, 64, 60], [0, 64, 64], [0, 64, 67]])])
    assert InScale("C major")(c_major) == 0 and InScale("F# major")(c_major) == -1
    assert Polyphony(1, 1)(c_major) == -2 and Polyphony(3, 3)(c_major) == 0
    assert Key("C major")(c_major) == max(
        Key(f"{name} {mode}")(c_major) for name in rolls.NAMES for mode in rolls.SCALES
    )
    with pytest.raises(ValueError, match="'C major' or 'F# minor'"):
        Key("H dur")


@pytest.mark.parametrize("domain", [Audio(), Chorales()])
def test_rewards_can_be_sent_to_another_process(domain):
    for name in domain.rewards:
        if name == "timbre":  # of a sound that is given
            continue
        reward = domain.rewards.function(name)
        assert dataclasses.asdict(pickle.loads(pickle.dumps(reward))) == dataclasses.asdict(reward)


def test_rewards_are_bound():
    audio, states = Audio(), Audio().codec.encode(SOUNDS)
    prior, sounds = Flat(), audio.codec.decode(states)
    mine = audio.bind(lambda sound: sound.seconds)
    assert mine(sounds).tolist() == [1.024] * 5 == score(prior, mine, states).tolist()
    both = rewards.Centroid() - 0.5 * rewards.Loudness()
    assert both.differentiable and torch.allclose(
        both(states), rewards.Centroid()(states) - 0.5 * rewards.Loudness()(states)
    )
    assert audio.bind(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4096, 1)))(states).shape == (5,)
    onsets = audio.rewards["onsets"]
    assert torch.allclose(score(prior, both + onsets, states), both(states).double() + onsets(sounds))
    with pytest.raises(GuidanceError, match=r"reward key is of states \(2, 64, 56\)"):
        Key().check(prior)


class Flat(gk.priors.Prior):
    """Independent cells of mean -0.5 and variance 0.1."""

    process, event_shape, codec = gk.processes.VP("cosine"), (1, 64, 64), Audio().codec

    def predict(self, x, t, condition=None):
        a, s = self.process.coefficients(t)
        return GaussianPrediction(-0.5 + 0.1 * a / (0.1 * a**2 + s**2) * (x + 0.5 * a), x, a, s)


def test_guidance_reaches_rewards_on_an_exact_prior():
    reward = rewards.Loudness(0.0, 1.0)
    plain = gk.sample(Flat(), num_samples=2, steps=10).samples
    guided = gk.sample(Flat(), gk.guidance.GradientGuidance(reward, 5.0), 2, steps=10).samples
    assert (reward(guided) > reward(plain) + 1).all()


def test_frechet_distance_in_closed_form():
    a = torch.randn(40_000, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    a = (a - a.mean(0)) @ torch.linalg.cholesky(torch.linalg.inv(torch.cov(a.T)))  # covariance exactly 1
    b = 2 * a + torch.tensor([3.0, 0.0, 0.0])
    assert frechet(a, b) == pytest.approx(9 + 3 * (2 - 1) ** 2, rel=1e-6) and frechet(a, a) < 1e-8
    assert math.isnan(frechet(a[:1], b))


def test_metrics_of_sounds():
    real, train = Audio().reference(), Audio().reference(split="train")
    assert metrics.log_spectral_distance(torch.zeros(4, 5), torch.full((4, 5), 3.0)).item() == 3
    same = metrics.evaluate(real[:20], real[:20], train[:30])
    assert same["frechet_logmel"] < 1e-2 < same["frechet_logmel_floor"] and same["copied"] < 0.1
    late = [Sound(np.concatenate([np.zeros(256, np.float32), sound.wave[:-256]])) for sound in train[:5]]
    copies = metrics.evaluate([*late, None], real[:20], train[:30], labels=[0] * 6, training_labels=[0] * 30)
    assert copies["copied"] == 1 and copies["nearest_mean"] < 0.8 and copies["nearest_class"] == 1
    assert copies["validity"] == pytest.approx(5 / 6) and copies["uniqueness"] == 1
    noise = [Sound(np.random.default_rng(i).uniform(-1, 1, 16384).astype(np.float32)) for i in range(5)]
    assert metrics.evaluate(noise, real[:20])["frechet_logmel"] > 10 * same["frechet_logmel_floor"]
    assert metrics.evaluate([None])["validity"] == 0
    for bad, message in (([], "no sounds"), ((real[:1], []), "reference is empty")):
        with pytest.raises(ValueError, match=message):
            metrics.evaluate(*(bad if isinstance(bad, tuple) else (bad,)))


def test_metrics_of_pieces():
    real, train = Chorales().reference()[:40], Chorales().reference(split="train")[:60]
    same = roll_metrics.evaluate(real, real, train)
    assert same["pitch_class_kl"] == 0 and same["length_overlap"] == same["gap_overlap"] == 1
    assert same["polyphony"] == same["polyphony_reference"] and 3.5 < same["polyphony"] < 4.05
    assert roll_metrics.evaluate(train[:5], real, train)["copied"] == 1
    moved = roll_metrics.evaluate([piece + np.array([0, 0, 1]) for piece in real], real, train)
    assert moved["pitch_class_kl"] > 0.3 and moved["in_c"] < 0.6
    assert moved["scale_consistency"] == pytest.approx(same["scale_consistency"])
    chord = np.array([[0, 32, 60], [0, 32, 64]])
    found = roll_metrics.measured(chord)
    assert (found["polyphony"], found["rests"], found["length"], found["in_c"]) == (1.0, 0.5, 32.0, 1.0)
    assert roll_metrics.divergence(np.array([1.0, 1]), np.array([1.0, 3])) == pytest.approx(0.1438, abs=1e-3)
    assert roll_metrics.overlap(np.array([1, 1, 2, 2]), np.array([2, 2, 30, 17])) == 0.5
    label = roll_metrics.evaluate([chord, None], labels=[0, 1])
    assert label["n_labelled"] == 1 and label["validity"] == 0.5


def test_a_class_that_only_the_prior_knows_is_not_taken_for_another(shown):
    for domain in (Audio(), Chorales()):
        prior = shown(domain, torch.zeros(1, *domain.shape), classes=("mine", *reversed(domain.known))).prior
        assert domain.label_wanted(None, prior, "mine") is None
        assert domain.label_wanted(None, prior, 1) == len(domain.known) - 1
        assert domain.label_wanted(domain.known[0], prior, 1) == 0
        assert domain.label_wanted(None, prior, None) is None is domain.label_wanted()
        assert domain.label_wanted(None, None, 1) == 1
        with pytest.raises(ValueError, match="class of .*: 7 is out of range"):
            domain.label_wanted(7)


def test_evaluation_by_condition():
    domain = Chorales()
    found = domain.evaluate(domain.reference(1)[:20], training=(), condition="minor")
    assert (
        found["mode_agreement"] == 0.55
        and 0.6 < found["mode_agreement_reference"] < 0.9
        and found["n_reference"] == len(domain.reference(1))
    )
    again = domain.evaluate(domain.reference(1)[:20], training=(), condition="minor", label="major")
    assert again["mode_agreement"] == 0.45
