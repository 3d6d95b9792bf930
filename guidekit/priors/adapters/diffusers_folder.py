"""Priors from model folders in the format of the diffusers library: a U-Net or DiT beside a scheduler's configuration.

Nothing is fetched: the folder is read, and only safetensors. Needs the extra `diffusers`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from guidekit.core.guidance import GuidanceError
from guidekit.core.prediction import GaussianPrediction
from guidekit.core.prior import Prior, Time
from guidekit.core.state import State
from guidekit.errors import UnknownNameError
from guidekit.io.archives import reason
from guidekit.priors.adapters.configuration import read_json
from guidekit.priors.described import refuse_odd_process
from guidekit.priors.labels import Label, label_rows
from guidekit.priors.neural import NUMBERS_A_CALL
from guidekit.priors.parametrization import to_mean
from guidekit.priors.weights import CheckpointError, made_for, read_weights
from guidekit.processes import DiscreteVP, GaussianProcess

PREDICTIONS = {"epsilon": "eps", "sample": "x0", "v_prediction": "v"}
"""Their names of what a network predicts, and ours."""
SCHEDULERS = ("DDPM", "DDIM", "PNDM", "DPMSolverMultistep", "DPMSolverSinglestep", "UniPCMultistep", "DEISMultistep")
"""Schedulers in discrete time that preserve the variance; which one a folder names changes nothing else."""

MOST_STEPS = 1 << 20


class DiffusersPrior(Prior):
    """A network of diffusers with the discrete-time process it was trained on.

    Args:
        network: a `UNet2DModel` or a transformer of DiT.
        process: made by `process_of`.
        parametrization: what the network predicts, see `guidekit.priors.parametrization`.
        labels: the class names, for networks with classes.
        null_class: number of the class that stands for "no class"; None where the network was trained without one.
        card: what is told of it.
    """

    name = "diffusers prior"
    process: GaussianProcess
    network: nn.Module

    def __init__(
        self,
        network: nn.Module,
        process: GaussianProcess,
        parametrization: str = "eps",
        labels: tuple[Label, ...] = (),
        null_class: int | None = None,
        card: dict | None = None,
    ) -> None:
        self.network, self.process = network.eval().requires_grad_(False), process
        self.parametrization, self.labels, self.null_class, self.card = parametrization, labels, null_class, card or {}
        config: Any = network.config
        size = config.sample_size
        height, width = size if isinstance(size, list | tuple) else (size, size)
        self.event_shape = (config.in_channels, height, width)
        self.network_batch = max(1, NUMBERS_A_CALL // (self.event_shape[0] * height * width))
        if labels:
            self.null_condition = torch.full((1,), -1)
            self.choices = tuple(torch.ones(len(label.values)) for label in self.labels)

    def condition(self, value: Any) -> State:
        """A class by name or number, see `label_rows`."""
        if value is None or isinstance(value, Tensor) and value.ndim == 2 or not self.labels:
            return super().condition(value)
        return label_rows(value, self.labels)

    def predict(self, x: Tensor, t: Time, condition: Tensor | None = None) -> GaussianPrediction:
        """See `Prior.predict`.

        Raises:
            GuidanceError: no class is given, and the network was trained without a null class.
        """
        a, s = self.process.coefficients(t)
        table: Any = self.process.schedule
        index = torch.as_tensor(table.index(t), dtype=torch.float32, device=x.device).expand(len(x))
        output = self.network(x, index, **self._classes(x, condition)).sample[:, : x.shape[1]]  # without the variance
        return GaussianPrediction(to_mean(self.parametrization, output, x, a, s), x, a, s)

    def _classes(self, x: Tensor, condition: Tensor | None) -> dict[str, Tensor]:
        if not self.labels:
            return {}
        given = torch.full((len(x),), -1, device=x.device) if condition is None else condition.view(len(x))
        if self.null_class is None and (given < 0).any():
            raise GuidanceError(
                f"{self.name} was trained without a null class: give condition=, and for guidance a contrast that "
                "needs no null, such as guidance=icg"
            )
        return {"class_labels": given if self.null_class is None else torch.where(given < 0, self.null_class, given)}

    def to(self, device: torch.device | str) -> DiffusersPrior:
        """The prior with its network on another device."""
        new = copy.copy(self)
        here = next(self.network.parameters()).device
        new.network = copy.deepcopy(self.network).to(device) if str(device) != str(here) else self.network
        if self.null_condition is not None:
            new.null_condition = self.null_condition.to(device)
        return new


def load_diffusers(folder: str | Path) -> DiffusersPrior:
    """A prior from a folder written by `save_pretrained` of a DDPM or DiT pipeline.

    The folder holds model_index.json, unet/ or transformer/ and scheduler/. States are what the network sees: images in
    [-1, 1], or latents where the pipeline has an autoencoder, which is not applied.

    Raises:
        CheckpointError: no such folder, files missing or damaged, or weights that do not fit.
        MissingExtraError: diffusers is not installed.
        UnknownNameError: a kind of network, scheduler or prediction that cannot be read.
    """
    folder = Path(folder)
    index = read_json(folder / "model_index.json")
    part = next((name for name in ("unet", "transformer") if name in index), None)
    if part is None:
        raise CheckpointError(f"{folder / 'model_index.json'} names neither a unet nor a transformer")
    config = read_json(folder / part / "config.json")
    scheduler = read_json(folder / "scheduler" / "scheduler_config.json")
    for name, told in ((part, config), ("scheduler", scheduler)):
        if not isinstance(told.get("_class_name"), str):
            raise CheckpointError(f"{folder / name}: its configuration names no '_class_name'")
    network = _network(folder / part, config)
    classes, null = _classes_of(config, index)
    card = {"data": folder.name, "summary": f"{config['_class_name']} with {scheduler['_class_name']}"}
    if "vae" in index:
        card["states"] = "latents of an autoencoder that is not applied"
    process = process_of(scheduler)
    prior = DiffusersPrior(network, process, prediction_of(scheduler), classes, null, card)
    prior.name = f"diffusers prior {folder.name}"
    return prior


def process_of(scheduler: Mapping[str, Any]) -> GaussianProcess:
    """The process that a scheduler's configuration describes.

    Raises:
        UnknownNameError: no scheduler in discrete time that preserves the variance.
        CheckpointError: numbers that make no process.
    """
    name = scheduler["_class_name"]
    if name.removesuffix("Scheduler") not in SCHEDULERS:
        raise UnknownNameError("scheduler", name, [f"{kind}Scheduler" for kind in SCHEDULERS])
    betas, steps = scheduler.get("trained_betas"), scheduler.get("num_train_timesteps", 1000)
    if betas is None:
        betas = scheduler.get("beta_schedule", "linear")
    if not isinstance(steps, int) or not 1 <= steps <= MOST_STEPS:
        raise CheckpointError(f"num_train_timesteps={steps!r}; a whole number from 1 to {MOST_STEPS:,} is expected")
    ends, rescale = (scheduler.get("beta_start", 1e-4), scheduler.get("beta_end", 0.02)), "rescale_betas_zero_snr"
    try:
        process = DiscreteVP(betas, steps, *ends, scheduler.get(rescale, False))
        refuse_odd_process(process)
    except UnknownNameError:
        raise
    except (ValueError, TypeError, OverflowError, RuntimeError, IndexError) as error:
        raise CheckpointError(f"no process can be made of the configuration of {name} ({reason(error)})") from error
    return process


def prediction_of(scheduler: Mapping[str, Any]) -> str:
    """Our name of what the network predicts; older files do not say and mean the noise."""
    name = str(scheduler.get("prediction_type", "epsilon"))
    if name not in PREDICTIONS:
        raise UnknownNameError("prediction_type", name, PREDICTIONS)
    return PREDICTIONS[name]


def _network(folder: Path, config: Mapping[str, Any]) -> nn.Module:
    from guidekit.extras import require

    require("diffusers", "diffusers")
    import diffusers

    kinds = {
        "UNet2DModel": diffusers.UNet2DModel,
        "DiTTransformer2DModel": diffusers.DiTTransformer2DModel,
        "Transformer2DModel": diffusers.DiTTransformer2DModel,  # the name it had before it was split off
    }
    name = config.get("_class_name")
    if name not in kinds:
        raise UnknownNameError("network", str(name), kinds)
    weights = folder / "diffusion_pytorch_model.safetensors"
    if not weights.is_file():
        raise CheckpointError(f"there is no {weights}; other formats can run code and are not read: save it again")

    def make(**options: Any) -> nn.Module:
        return kinds[name].from_config(options)

    return made_for(weights, make, dict(config), read_weights(weights))


def _classes_of(config: Mapping[str, Any], index: Mapping[str, Any]) -> tuple[tuple[Label, ...], int | None]:
    """The label "class" where the network has classes, and the number of its null class, if any."""
    names, null = index.get("id2label"), None
    if names is not None and not isinstance(names, dict):
        raise CheckpointError(f"id2label in model_index.json is a {type(names).__name__}; names by number are expected")
    count = config.get("num_class_embeds")
    if config["_class_name"] != "UNet2DModel":
        count = null = config.get("num_embeds_ada_norm")
    if not count:
        return (), None
    values = [str((names or {}).get(str(i), i)) for i in range(count)]
    return (Label("class", values),), null
