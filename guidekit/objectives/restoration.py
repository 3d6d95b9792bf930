"""Tasks on any real-valued states (C, *space): what was measured of an object, in the object's own unit.

Every function takes the shape of a state and its settings, and makes a `Task`; a domain has all of them with
`tasks = RESTORATION`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from guidekit.core.objective import ScoreError
from guidekit.errors import UnknownNameError
from guidekit.objectives.gaussian import check_rows
from guidekit.objectives.operators import blur, fourier, masks, mri, resampling, saturation
from guidekit.objectives.operators.base import Operator
from guidekit.objectives.operators.interferometry import ClosureQuantities
from guidekit.objectives.operators.scattering import LinearScattering
from guidekit.objectives.operators.shapes import space
from guidekit.objectives.operators.simulator import Simulator
from guidekit.objectives.operators.tomography import Tomography
from guidekit.objectives.operators.waves import AcousticWaves
from guidekit.objectives.tasks import Task
from guidekit.objectives.worker import kind_of

Shape = tuple[int, ...]


def inpaint(
    shape: Shape, missing: float = 0.7, hole: float | None = None, mask: Tensor | None = None, seed: int = 0
) -> Task:
    """Some places are missing: single ones at random, a box in the middle (`hole`), or those of a mask."""
    if mask is not None and hole is not None:
        raise ValueError("task inpaint takes a mask or a hole, not both: leave task.mask= or task.hole= out")
    if mask is not None:
        known = fitted(mask, shape)
    elif hole is not None:
        known = masks.outside_box(shape, hole)
    else:
        known = masks.random_pixels(shape, missing, seed)
    return Task("inpaint", masks.Keep(known), gap=~known)


def interpolate(shape: Shape, missing: float = 0.5, every: int | None = None, axis: int = -1, seed: int = 0) -> Task:
    """Slices along an axis are missing: traces of a survey, columns of a picture, samples of a series."""
    known = masks.traces(shape, missing, every, axis, seed)
    return Task("interpolate", masks.Keep(known), gap=~known)


def superresolution(shape: Shape, factor: int = 4, method: Literal["mean", "bicubic"] = "mean") -> Task:
    """Only a smaller version is known: means of blocks, or bicubic with antialiasing."""
    _choice("method", method, ("mean", "bicubic"))
    operator: Operator = resampling.BlockMean(shape, factor) if method == "mean" else resampling.bicubic(shape, factor)
    return Task("superresolution", operator)


KERNELS = Literal["gaussian", "motion", "nonlinear"]
BORDERS = Literal["reflected", "circular"]


def deblur(
    shape: Shape,
    kernel: KERNELS = "gaussian",
    std: float = 3.0,
    size: int | None = None,
    intensity: float = 0.5,
    borders: BORDERS = "reflected",
    seed: int = 0,
) -> Task:
    """A blurred version is known: by a Gaussian, a shaking hand (motion), or light before a camera bends it."""
    _choice("kernel", kernel, get_args(KERNELS))
    _choice("borders", borders, get_args(BORDERS))
    sizes = space(shape, (1, 2, 3), "deblur")
    if kernel == "gaussian" and borders == "reflected":
        return Task("deblur", blur.gaussian_blur(shape, std))
    if kernel == "motion":
        space(shape, (2,), "motion blur")
        made = blur.motion_kernel(size or min(61, min(sizes) - 1 + min(sizes) % 2), intensity, seed)
    else:
        made = blur.gaussian_kernel(std, len(sizes))
        for axis, n in enumerate(sizes):  # a kernel longer than the state wraps around, or cannot be mirrored
            spare = max(0, (made.shape[axis] - (n - 1 + n % 2)) // 2)
            made = made.narrow(axis, spare, made.shape[axis] - 2 * spare)
        made = made / made.sum()
    if kernel == "nonlinear":
        return Task("deblur", blur.NonlinearBlur(shape, made))
    kind = blur.CircularBlur if borders == "circular" else blur.ReflectedBlur
    return Task("deblur", kind(shape, made))


def denoise(shape: Shape) -> Task:
    """All is known with noise of deviation `noise_std`, which is added unless the input is the noisy object."""
    return Task("denoise", masks.Keep(torch.ones(1, *[1] * (len(shape) - 1), dtype=torch.bool)), noisy=True)


def declip(shape: Shape, threshold: float = 0.3) -> Task:
    """Numbers beyond +-threshold were cut."""
    return Task("declip", saturation.Clip(threshold))


def hdr(shape: Shape, gain: float = 2.0, center: float = 0.5, low: float = 0.0, high: float = 1.0) -> Task:
    """Contrast was raised by `gain` around `center`, and what is beyond the ends of the sensor was cut."""
    return Task("hdr", saturation.HighDynamicRange(gain, center, low, high))


def quantize(shape: Shape, levels: int = 8, low: float = 0.0, high: float = 1.0) -> Task:
    """Numbers were rounded to a few levels: a black box without a gradient."""
    return Task("quantize", saturation.Quantized(levels, low, high))


def lowpass(shape: Shape, cutoff: float = 0.125) -> Task:
    """Frequencies above a cutoff (cycles a sample, below 0.5) were lost, in all directions of space."""
    return Task("lowpass", fourier.LowPass(shape, cutoff))


def phase(shape: Shape, oversampling: float = 2.0) -> Task:
    """Only the magnitude of the Fourier transform is known."""
    return Task("phase", fourier.PhaseRetrieval(shape, oversampling))


def scanner(
    shape: Shape, acceleration: float = 4.0, coils: int = 1, center: float | None = None, seed: int = 0
) -> Task:
    """Some columns of k-space are known (magnetic resonance), of one coil or of several on a circle."""
    height, width = space(shape, (2,), "task mri")
    columns = mri.sampled_columns(width, acceleration, center, seed)
    if coils == 1:
        return Task("mri", mri.SingleCoil(shape, columns))
    if not isinstance(coils, int) or coils < 1:
        raise ValueError(f"coils={coils}; a whole number of at least 1 is expected")
    return Task("mri", mri.MultiCoil(shape, columns, mri.birdcage(coils, (height, width))))


def tomography(shape: Shape, angles: int = 30, detectors: int | None = None, spacing: float = 1.0) -> Task:
    """Line integrals along parallel rays from a few directions are known."""
    return Task("tomography", Tomography(shape, angles, detectors, spacing))


def scattering(
    shape: Shape,
    transmitters: int = 20,
    receivers: int = 60,
    wavelength: float = 6.0,
    side: float = 0.18,
    radius: float = 1.6,
) -> Task:
    """Waves that a weak object scatters are known at receivers on a circle."""
    return Task("scattering", LinearScattering(shape, side, wavelength, transmitters, receivers, radius))


def interferometry(
    shape: Shape, stations: int = 8, times: int = 8, reach: float = 0.8, flux_weight: float = 1.0, seed: int = 0
) -> Task:
    """Closure phases and amplitudes of an array of telescopes are known."""
    return Task("interferometry", ClosureQuantities(shape, stations, times, reach, flux_weight, seed))


def fwi(
    shape: Shape,
    spacing: float = 20.0,
    shots: int = 4,
    receivers: int = 32,
    seconds: float = 1.0,
    step: float = 0.002,
    frequency: float = 5.0,
) -> Task:
    """Seismograms of a velocity model (km/s) are known; needs deepwave (extra fwi)."""
    return Task("fwi", AcousticWaves(shape, spacing, shots, receivers, 1, seconds, step, frequency))


def custom(
    shape: Shape,
    operator: Any = None,
    options: Mapping[str, Any] | None = None,
    workers: int = 0,
    timeout: float | None = 60.0,
    memory: float | None = None,
) -> Task:
    """What an operator of your own measures: task.operator=my_module:MyOperator, or a function of states.

    With workers it is a simulator: a function of one numpy array, in so many processes; see `Simulator`.
    """
    if operator is None:
        raise ValueError("task custom needs task.operator=my_module:MyOperator")
    made = given(operator, shape, options or {})
    if workers:
        if isinstance(made, Operator):
            name = type(made).__name__
            raise ValueError(f"task.workers={workers} runs a function of one array; {name} is an operator of states")
        return Task("custom", Simulator(made, None, workers, timeout, memory))
    return Task("custom", made if isinstance(made, Operator) else Plain(made))


OF_ARRAYS = "a function of one NumPy array needs task.workers=1"
"""What may be wrong with a function that is no operator."""


class Plain(Operator):
    """An operator that is a function of states, which offers a gradient and nothing else.

    One number a state, (B,), is a measurement of one number, (B, 1).

    Raises:
        ScoreError: the function gave anything but a tensor with a row for each state.
    """

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)

    def forward(self, x: Tensor) -> Tensor:
        """See `Operator.forward`."""
        seen = self.function(x)
        if not isinstance(seen, Tensor):
            raise ScoreError(
                f"task.operator {self.__name__} takes a tensor of all states, here {tuple(x.shape)}, and returns one, "
                f"with a row for each; it returned {kind_of(seen)}; {OF_ARRAYS}"
            )
        check_rows(seen, len(x))
        return seen[:, None] if seen.ndim == 1 else seen


def given(operator: Any, shape: Shape, options: Mapping[str, Any]) -> Any:
    """A user's operator: a class is made with the options, and with the shape of states where it has that field.

    Raises:
        ValueError: a class that does not take the options, or options for what is no class.
    """
    name = getattr(operator, "__name__", type(operator).__name__)
    if not isinstance(operator, type):
        if options:
            raise ValueError(f"task.options= are settings of a class; {name} is none")
        return operator
    fields = getattr(operator, "__dataclass_fields__", {})
    settings = {"shape": shape, **options} if "shape" in fields else dict(options)
    try:
        return operator(**settings)
    except TypeError as error:
        raise ValueError(f"task.operator={name}: {error}; settings are given by task.options=") from error


def fitted(mask: Tensor, shape: Sequence[int]) -> Tensor:
    """A mask as bool that broadcasts against states (B, *shape), from one of states, of space, or of any 1-axes.

    Raises:
        ValueError: another size, or other numbers than 0 and one other.
    """
    numbers = mask.unique()
    if len(numbers) > 2 or not bool((numbers == 0).any() or len(numbers) == 1) or bool(mask.isnan().any()):
        raise ValueError(
            f"the mask has {len(numbers)} different numbers; two are expected, 0 (black) where something is missing"
        )
    one = mask[None] if mask.ndim == len(shape) - 1 else mask
    if one.ndim != len(shape) or any(m not in (1, n) for m, n in zip(one.shape, shape, strict=True)):
        raise ValueError(f"the mask is {tuple(mask.shape)}; {tuple(shape)} or {tuple(shape[1:])} is expected")
    return one != 0


def _choice(name: str, value: str, choices: Sequence[str]) -> None:
    if value not in choices:
        raise UnknownNameError(name, str(value), choices)


RESTORATION: dict[str, Callable[..., Task]] = {
    "inpaint": inpaint,
    "interpolate": interpolate,
    "superresolution": superresolution,
    "deblur": deblur,
    "denoise": denoise,
    "declip": declip,
    "hdr": hdr,
    "quantize": quantize,
    "lowpass": lowpass,
    "phase": phase,
    "mri": scanner,
    "tomography": tomography,
    "scattering": scattering,
    "interferometry": interferometry,
    "fwi": fwi,
    "custom": custom,
}
