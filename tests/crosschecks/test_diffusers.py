"""Our solvers against the schedulers of diffusers: same denoiser, same grid, same start, every step compared."""

import pytest
import torch

import guidekit as gk
from guidekit._compat import mended
from guidekit.core.loop import populate, prepare
from guidekit.core.random import Draw

diffusers = mended("test", "diffusers")
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

STEPS, ROWS = 10, 8
BETAS = dict(num_train_timesteps=1000, beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
PROCESS = gk.processes.DiscreteVP("scaled_linear", 1000, 0.00085, 0.012)


def prior_of(process):
    means = torch.tensor([[1.0, 0.5], [-1.0, 0.2]], dtype=torch.float64)
    return gk.priors.GaussianMixture(means, 0.4, torch.tensor([0.6, 0.4]), process=process)


def path(x, sampler, process, steps=STEPS):
    """Grid, states and draws of a sampler that starts from x."""
    setup = prepare(prior_of(process), sampler=sampler, steps=steps, groups=(0, len(x)))
    population, states, draws = populate(setup, x, setup.steps[0].start, 1), [x], []
    with torch.no_grad():
        for step in setup.steps:
            draws.append(Draw(setup.random, step.key, "move").normal(x))
            population = setup.move(population, step)
            states.append(population.state)
    return [setup.steps[0].t, *(step.u for step in setup.steps)], states, draws


def start(scale=1.0):
    return torch.randn(ROWS, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * scale


def theirs(scheduler, grid, x, process, draws=(), monkeypatch=None, module=None):
    """The states of a scheduler on its own time steps, with our denoiser and our draws."""
    prior, states, noise = prior_of(process), [x], iter(draws)
    if monkeypatch is not None:
        monkeypatch.setattr(module, "randn_tensor", lambda shape, **_: next(noise))
    for t, timestep in zip(grid[:-1], scheduler.timesteps, strict=True):
        x = scheduler.step(prior.predict(x, t).noise, timestep, x).prev_sample
        states.append(x)
    return states


def close(ours, others, tolerance=1e-4):
    print("largest deviation", max(float((a - b).abs().max()) for a, b in zip(ours, others, strict=True)))
    for a, b in zip(ours, others, strict=True):
        torch.testing.assert_close(a, b.double(), atol=tolerance, rtol=0)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
@pytest.mark.parametrize("steps", [10, 12, 50])
def test_grids_and_coefficients_are_those_of_diffusers(spacing, steps):
    scheduler = diffusers.DDIMScheduler(**BETAS, timestep_spacing=spacing)
    scheduler.set_timesteps(steps)
    times = gk.processes.Spaced(spacing)(PROCESS, steps)
    assert [round(PROCESS.schedule.index(t)) for t in times[:-1]] == scheduler.timesteps.tolist()
    for t, index in zip(times, scheduler.timesteps, strict=False):
        assert PROCESS.coefficients(t)[0] ** 2 == pytest.approx(float(scheduler.alphas_cumprod[index]), rel=1e-4)


@pytest.mark.parametrize("name", ["linear", "scaled_linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("zero", [False, True])
def test_tables_are_those_of_diffusers(name, zero):
    scheduler = diffusers.DDIMScheduler(beta_schedule=name, rescale_betas_zero_snr=zero)
    process = gk.processes.DiscreteVP(name, zero_terminal_snr=zero)
    ours = torch.tensor([process.coefficients(process.schedule.time(i))[0] ** 2 for i in range(1000)])
    torch.testing.assert_close(ours, scheduler.alphas_cumprod, atol=1e-5, rtol=0)


@pytest.mark.parametrize("eta", [0.0, 1.0])
@pytest.mark.parametrize("spacing", ["leading", "trailing"])
def test_ddim(eta, spacing, monkeypatch):
    from diffusers.schedulers import scheduling_ddim as module

    grid, ours, draws = path(start(), gk.samplers.DDIM(eta, times=spacing), PROCESS)
    scheduler = diffusers.DDIMScheduler(**BETAS, timestep_spacing=spacing, clip_sample=False)
    scheduler.set_timesteps(STEPS)
    step = scheduler.step
    scheduler.step = lambda eps, t, x: step(eps, t, x, eta=eta)
    close(ours, theirs(scheduler, grid, start(), PROCESS, draws, monkeypatch, module))


@pytest.mark.parametrize(
    ("sampler", "options"),
    [
        (gk.samplers.DPMSolver(times="trailing"), dict(solver_order=2)),
        (gk.samplers.DPMSolver(1.0, times="trailing"), dict(solver_order=2, algorithm_type="sde-dpmsolver++")),
    ],
    ids=["2M", "SDE-2M"],
)
def test_dpm_solver(sampler, options, monkeypatch):
    from diffusers.schedulers import scheduling_dpmsolver_multistep as module

    grid, ours, draws = path(start(), sampler, PROCESS)
    scheduler = diffusers.DPMSolverMultistepScheduler(**BETAS, **options, timestep_spacing="trailing")
    scheduler.set_timesteps(STEPS)
    close(ours, theirs(scheduler, grid, start(), PROCESS, draws, monkeypatch, module))


@pytest.mark.parametrize("karras", [False, True])
@pytest.mark.parametrize("order", [2, 3])
@pytest.mark.parametrize("variant", ["bh1", "bh2"])
def test_unipc(order, variant, karras):
    scheduler = diffusers.UniPCMultistepScheduler(
        **BETAS, solver_order=order, solver_type=variant, timestep_spacing="trailing", use_karras_sigmas=karras
    )
    scheduler.set_timesteps(STEPS)
    sampler = gk.samplers.UniPC(order, variant=variant, times="karras" if karras else "trailing")
    grid, ours, _ = path(start(), sampler, PROCESS)
    levels = torch.tensor([PROCESS.level(t) for t in grid])
    torch.testing.assert_close(levels, scheduler.sigmas, rtol=1e-3, atol=1e-4)
    others = theirs(scheduler, grid, start(), PROCESS)
    if variant == "bh1":  # their last step of this variant is not a number: infinity times zero
        ours, others = ours[:-1], others[:-1]
    close(ours, others)


def test_dpm_solver_single():
    """Their step over two grid times is ours over one, where the middle lies between them in log(a / s)."""
    process = gk.processes.EDM(0.02, 20.0)
    levels = torch.logspace(1.2, -1.5, 2 * 6 + 1, dtype=torch.float64).tolist()
    scheduler = diffusers.DPMSolverSinglestepScheduler(**BETAS, solver_order=2, algorithm_type="dpmsolver++")
    scheduler.set_timesteps(2 * 6 + 1)
    prior = prior_of(process)
    x = start(levels[0])
    times = [process.at_level(level) for level in levels]
    states = path(x, gk.samplers.DPMSolverSingle(times=[*times[::2], 0.0]), process)[1]
    from diffusers.schedulers.scheduling_dpmsolver_singlestep import DPMSolverSinglestepScheduler as Kind

    # Their formula takes sigmas and answers; a = 1 / sqrt(1 + sigma^2) there.
    for i in range(6):
        now, middle, then = (torch.tensor(level) for level in levels[2 * i : 2 * i + 3])
        scheduler.sigmas = torch.stack([now, middle, then])
        scheduler._step_index = 0
        size = 1 / (1 + now**2) ** 0.5
        first = prior.predict(states[i], times[2 * i]).mean
        half = Kind.dpm_solver_first_order_update(scheduler, first, sample=states[i] * size)
        second = prior.predict(half * (1 + middle**2) ** 0.5, times[2 * i + 1]).mean
        scheduler._step_index = 1
        there = (
            Kind.singlestep_dpm_solver_second_order_update(scheduler, [first, second], sample=states[i] * size)
            * (1 + then**2) ** 0.5
        )
        torch.testing.assert_close(states[i + 1], there, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("sampler", "name", "calls"),
    [
        (gk.samplers.Euler(times="karras"), "EulerDiscreteScheduler", 1),
        (gk.samplers.Heun(times="karras"), "HeunDiscreteScheduler", 2),
    ],
)
def test_euler_and_heun(sampler, name, calls):
    process = gk.processes.EDM(0.0292, 14.6146)
    x = start(14.6146)
    grid, ours, _ = path(x, sampler, process)
    scheduler = getattr(diffusers, name)(**BETAS, use_karras_sigmas=True)
    scheduler.set_timesteps(STEPS)
    levels = torch.tensor([process.level(t) for t in grid], dtype=torch.float64)
    if calls == 2:
        levels = torch.cat([levels[:1], levels[1:-1].repeat_interleave(2), levels[-1:]])
    torch.testing.assert_close(scheduler.sigmas.double(), levels, rtol=2e-3, atol=1e-6)
    scheduler.sigmas = levels  # theirs are float32
    prior, states = prior_of(process), [x]
    for i, timestep in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(x, timestep)
        x = scheduler.step(prior.predict(x, process.at_level(float(levels[i]))).noise, timestep, x).prev_sample
        if calls == 1 or i % 2 == 1 or i == len(scheduler.timesteps) - 1:
            states.append(x)
    close(ours, states)


def test_churn():
    """The published algorithm, written out: lift, Euler, mean of both slopes."""
    process = gk.processes.EDM(0.02, 20.0)
    sampler = gk.samplers.StochasticHeun(churn=4.0, low=0.05, high=10.0, noise=1.003)
    grid, ours, draws = path(start(20.0), sampler, process)
    plain = process.grid(STEPS)
    for i in range(1, STEPS):
        level, lifted = process.level(plain[i]), process.level(grid[i])
        gain = min(4.0 / STEPS, 2**0.5 - 1) if 0.05 <= level <= 10.0 else 0.0
        assert lifted == pytest.approx(level * (1 + gain), rel=1e-9)
    prior = prior_of(process)
    for i in range(STEPS - 1):
        hat, then, next_hat = process.level(grid[i]), process.level(plain[i + 1]), process.level(grid[i + 1])
        slope = (ours[i] - prior.predict(ours[i], grid[i]).mean) / hat
        euler = ours[i] + (then - hat) * slope
        ahead = (euler - prior.predict(euler, plain[i + 1]).mean) / then
        x = ours[i] + (then - hat) * (slope + ahead) / 2
        x = x + max(next_hat**2 - then**2, 0) ** 0.5 * 1.003 * draws[i]
        torch.testing.assert_close(ours[i + 1], x, atol=1e-9, rtol=0)


def test_adams_bashforth_is_the_linear_multistep_scheduler():
    process = gk.processes.EDM(0.0292, 14.6146)
    x = start(14.6146)
    grid, ours, _ = path(x, gk.samplers.AdamsBashforth(4, times="karras"), process)
    scheduler = diffusers.LMSDiscreteScheduler(**BETAS, use_karras_sigmas=True)
    scheduler.set_timesteps(STEPS)
    scheduler.sigmas = torch.tensor([process.level(t) for t in grid], dtype=torch.float64)
    prior, states = prior_of(process), [x]
    for t, timestep in zip(grid, scheduler.timesteps, strict=False):
        scheduler.scale_model_input(x, timestep)
        x = scheduler.step(prior.predict(x, t).noise, timestep, x, order=4).prev_sample
        states.append(x)
    close(ours, states)
