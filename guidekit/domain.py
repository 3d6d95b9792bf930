"""Domains: adapters between a science's objects and the states that priors sample."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from guidekit import shelf
from guidekit.core.guidance import Guidance
from guidekit.core.objective import Objective
from guidekit.core.prior import Codec, Prior
from guidekit.core.state import leaves
from guidekit.examples import Example
from guidekit.io.files import write_npz
from guidekit.objectives.command import as_line
from guidekit.objectives.scoring import digest
from guidekit.objectives.tasks import Task
from guidekit.objectives.verifiers import Bounds, Verifier
from guidekit.priors.adapters.latents import decoded
from guidekit.priors.adapters.vocabulary import Vocabulary
from guidekit.priors.tokens import TokenPrior
from guidekit.reporting.summary import summarised
from guidekit.rewards import Rewards, of_function
from guidekit.samples import Dataset, Reading, Samples, joined


@dataclasses.dataclass(frozen=True)
class Domain:
    """Base of all domains; a subclass lives in its own package and registers under the entry point guidekit.domains.

    A domain is a frozen dataclass whose fields are its settings: nothing that is done with it changes it. What depends
    on a prior is a method that takes the prior, or `Samples` of it.

    A subclass has `name`, `objects`, and `codec` or a `load_prior` of its own. All else has a default that works.

    Attributes:
        name: of the domain.
        objects: what a decoded state is, for messages ("molecules").
        suffix: file suffix of `write` in the field's own format.
        assets: folder of the shipped checkpoints; None where none are.
        default: the shipped prior that "default" stands for.
        kinds: reward classes by name, for `rewards`.
        tasks: on given objects, by name: functions (shape of a state, options) to a `Task`. A domain with some has
            `reference()`, shipped objects, and `compared`, which draws groups of states side by side.
        job: module of guidekit.training that trains its priors: "token_job" or "array_job".
        jobs: others, by `trainer.kind`.
        tables: whether its objects are read from columns of tables.
        network: what a torch module becomes as a reward, for domains whose states are numbers; None treats it as any
            other function of an object.
    """

    name: ClassVar[str]
    objects: ClassVar[str]
    suffix: ClassVar[str] = ".npz"
    assets: ClassVar[Path | None] = None
    kinds: ClassVar[Mapping[str, Callable[..., Any]]] = {}
    tasks: ClassVar[Mapping[str, Callable[..., Task]]] = {}
    job: ClassVar[str] = "token_job"
    jobs: ClassVar[Mapping[str, str]] = {}
    tables: ClassVar[bool] = False
    network: ClassVar[type[Any] | None] = None

    @classmethod
    def settings(cls) -> tuple[str, ...]:
        """Keys of configs/domain/ that the constructor takes; the others go to `evaluate`."""
        return tuple(field.name for field in dataclasses.fields(cls) if field.init)

    @property
    def default(self) -> str:
        """The shipped prior that "default" stands for."""
        return "default"

    @property
    def codec(self) -> Codec:
        """Between objects and states where no prior says otherwise: in training, and for files."""
        raise NotImplementedError(f"{type(self).__name__} is abstract: implement codec")

    def load_prior(self, name: str = "default") -> Prior:
        """A prior shipped with the domain, one in a checkpoint file, or in a folder of another library, with its codec.

        Raises:
            CheckpointError: missing, truncated, or of another domain.
            UnknownNameError: neither a shipped prior nor a file.
            ValueError: of states that this domain cannot read.
        """
        return shelf.loaded(self, self.checkpoint(name))

    def language_prior(self, model: nn.Module, vocabulary: Vocabulary, name: str) -> Prior:
        """The prior of a masked language model whose tokens spell objects of this domain, with its codec.

        Args:
            model: see `guidekit.priors.adapters.masked_language`.
            vocabulary: of its tokenizer.
            name: for messages.

        Raises:
            ValueError: they spell none.
        """
        raise ValueError(f"{name} spells texts, and {self.objects} of domain {self.name} are none: no prior of these")

    def codec_for(self, prior: Prior, description: Mapping[str, Any]) -> Codec:
        """The codec of a prior that was just loaded.

        Args:
            prior: without its codec.
            description: in its checkpoint; empty for other files.

        Raises:
            ValueError: its states are none of this domain.
        """
        return self.codec

    def reference(self, *, split: str = "test", prior: Prior | None = None) -> Sequence[Any]:
        """Real objects shipped with the domain, of the kind that a prior was made from; may be none.

        Args:
            split: "test", or "train" for those that priors were trained on.
            prior: whose kind is meant; None is that of the default prior.
        """
        return []

    def shipped(self, prior: Prior | None = None) -> str:
        """What samples (of a prior) are compared with by `evaluate` where no other is given; empty for nothing."""
        return ""

    def read_samples(self, path: str | Path, column: str | None = None, prior: Prior | None = None) -> Dataset:
        """Generated objects of a file or folder, None for what is none.

        Args:
            path: in the field's own formats.
            column: of a table; None is the usual one.
            prior: that made them, where their size depends on it.

        Raises:
            ValueError: nothing in it can be read.
        """
        raise ValueError(f"domain {self.name} reads no files of {self.objects}")

    def read_reference(self, path: str | Path, on_error: str = "raise", prior: Prior | None = None) -> Dataset:
        """Real objects to compare with: a file, a folder, or the name of a shipped set.

        Args:
            path: or name.
            on_error: "raise", or "skip" to leave what cannot be read out, with a note.
            prior: that they are compared with, where their size depends on it.

        Raises:
            ValueError: something cannot be read.
        """
        return self.read_samples(path, prior=prior)

    def read_training(self, data: str, on_error: str = "raise", prior: Prior | None = None) -> Dataset:
        """Objects that a prior may have been trained on: files or shipped sets, by commas; see `read_reference`."""
        return joined([self.read_reference(name.strip(), on_error, prior) for name in data.split(",")])

    def prepare_training(self, path: Path, data: str | None, trainer: Mapping[str, Any]) -> Reading | None:
        """Write what a prior is trained from, see `guidekit.training`.

        Args:
            path: npz file to write.
            data: file, folder or shipped set; None is what the domain ships.
            trainer: settings of configs/trainer/, and `column`, where one of a table was named.

        Returns:
            What is to be said of the data; None for nothing.

        Raises:
            ValueError: unusable data or settings, or a domain whose priors are trained elsewhere.
        """
        raise ValueError(f"domain {self.name} prepares no data for guidekit train")

    @property
    def rewards(self) -> Rewards:
        """Objectives by name; `rewards.make(name, **options)` gives one its options."""
        return Rewards(self)

    def bind(
        self,
        function: Callable[[Any], float] | Objective,
        name: str | None = None,
        *,
        workers: int = 0,
        timeout: float | None = 60.0,
        memory: float | None = None,
    ) -> Objective:
        """An objective from a function of an object; it keeps the function's `temperature` and `floor`, if any.

        Args:
            function: object -> number; an objective is handed back as it is.
            name: for tables.
            workers: processes that run the function, so that a crash or a hang costs one object; 0 runs it in this one.
            timeout: seconds an object may take in a worker process; None is no limit.
            memory: megabytes a worker process may take; None is what is free.

        Raises:
            ValueError: workers, timeout or memory out of range, or a function that cannot be given to another process.
        """
        if isinstance(function, Objective):
            return function
        if self.network is not None and isinstance(function, nn.Module):
            return self.network(function)
        return of_function(function, name, workers=workers, timeout=timeout, memory=memory)

    def suited(self, objective: Objective, prior: Prior) -> Objective:
        """A reward of this domain for a prior whose states may be spelled otherwise: of what latents decode to."""
        return decoded(objective, prior.codec)

    def verifier(self, forbidden: Sequence[str] = (), prior: Prior | None = None) -> Verifier | Bounds:
        """What tells where a sequence of states first breaks a rule, see `guidekit.objectives.verifiers`.

        Args:
            forbidden: patterns that objects must not hold, written as the field writes them; without any, the rule is
                that a state decodes to a valid object, where the domain can locate what is wrong.
            prior: of the states; None is any with the domain's own codec.

        Raises:
            ValueError: the domain has no verifier, or none of this kind.
        """
        raise ValueError(f"domain {self.name} has no verifier: it cannot tell where in {self.objects} a rule is broken")

    def for_task(self, prior: Prior, task: Mapping[str, Any]) -> tuple[Prior, Mapping[str, Any]]:
        """A prior and the settings of a task as what the task is about needs them, such as its size or key.

        Args:
            prior: that is sampled.
            task: settings of configs/task/, with a name.

        Raises:
            ValueError: its files cannot be read.
        """
        return prior, task

    def train_judge(
        self, data: str, trainer: Mapping[str, Any], output: Path, made: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Train a classifier that judges objects, and write it; returns figures of it.

        Args:
            data: file, folder or shipped set, with classes.
            trainer: settings of configs/trainer/judge.yaml.
            output: file to write.
            made: what its card says of the training.

        Raises:
            ValueError: unusable data, or a domain whose metrics need no judge.
        """
        raise ValueError(f"domain {self.name} has no judge to train: {self.objects} are judged by formulas")

    def sized(self, prior: Prior, least: int | None = None, most: int | None = None) -> Prior:
        """The prior with samples of least .. most tokens; None is no limit.

        Raises:
            ValueError: its samples have no length, or not these.
        """
        if not isinstance(prior, TokenPrior):
            raise ValueError(f"{self.objects} of this prior ({prior.name}) have no length; leave length= out")
        return prior.of_lengths(least, most)

    def spellings(self, text: str) -> Sequence[str]:
        """How an object may be written from which samples begin (`lead=`), the usual way first.

        Raises:
            ValueError: it is none.
        """
        return [text]

    def keep(self, prior: Prior, **rules: Any) -> Guidance:
        """A guidance under which every sample of a prior keeps some rules, with certainty.

        Args:
            prior: that is sampled.
            rules: of the domain, by name.

        Raises:
            ValueError: the domain has no rules, or these cannot be kept.
        """
        raise ValueError(f"domain {self.name} has no rules that {self.objects} could keep; leave keep= out")

    def judges(self, prior: Prior | None = None) -> Sequence[Path]:
        """Files of the networks that judge samples (of a prior); none where formulas do."""
        return ()

    def checkpoint(self, name: str) -> Path:
        """The file of a prior: a shipped one by name, a path ending in .safetensors, or a folder of another library.

        Raises:
            UnknownNameError: neither of both.
        """
        return shelf.place_of(self, name)

    def priors(self) -> dict[str, str]:
        """Shipped priors of this domain, which may share its folder with another, and what they were made from."""
        return shelf.summaries(self)

    def evaluate(
        self,
        objects: Sequence[Any],
        reference: Sequence[Any] | None = None,
        *,
        training: Sequence[Any] | None = None,
        prior: Prior | None = None,
        condition: Any = None,
        labels: Sequence[int] | None = None,
        **options: Any,
    ) -> dict[str, Any]:
        """The field's standard metrics of objects; by default how many are valid.

        Args:
            objects: None = invalid; a `Dataset` may say more of them than the objects.
            reference: real objects; None are shipped ones of the kind that the prior was made from.
            training: what the prior was trained on; None is likewise, and an empty sequence is nothing.
            prior: that made the objects; None is the default one.
            condition: that they were made for, as users write it.
            labels: the number of the class wanted of each, among those of the prior, -1 for none.
            options: of the domain.
        """
        return {"valid": statistics.fmean(one is not None for one in objects) if len(objects) else math.nan}

    def write(self, folder: Path, samples: Samples, columns: Mapping[str, Sequence[float]]) -> list[str]:
        """Write samples in the field's own format; returns the file names.

        Args:
            folder: existing folder.
            samples: to write.
            columns: numbers per sample.
        """
        arrays = {f"states {i}": leaf.cpu().numpy() for i, leaf in enumerate(leaves(samples.states))}
        write_npz(folder / "samples.npz", {**arrays, **columns})
        return ["samples.npz"]

    def drive(
        self, folder: Path, prior: Prior, guidance: Guidance | None, condition: Any, **settings: Any
    ) -> dict[str, float]:
        """Plan, run a little, plan again: write what was run to a folder, and return figures of it.

        Args:
            folder: existing folder.
            prior: of plans.
            guidance: of the plans.
            condition: as `Prior.condition` gives it.
            settings: of configs/plan.yaml: num_samples, every, near, speed, steps, sampler, seed.

        Raises:
            ValueError: what a domain samples is no plan, or the settings cannot work.
        """
        raise ValueError(f"guidekit plan runs plans, and {self.objects} of domain {self.name} are none")

    def examples(self) -> Sequence[Example]:
        """Small files of the kinds that users have, for `guidekit examples`; by default none."""
        return ()

    def table(self, samples: Samples) -> list[dict[str, Any]]:
        """One row a sample for samples.csv, with `valid`."""
        return [{"valid": one is not None} for one in samples.objects]

    def summary(
        self, rows: Sequence[Mapping[str, Any]], values: Sequence[float], samples: Samples | None = None
    ) -> dict[str, float]:
        """Figures for the closing table, from the rows of `table` (one at least), rewards and samples."""
        figures, _ = summarised([{**row, "row": i} for i, row in enumerate(rows)], values, "row")
        return {name: value for name, value in figures.items() if name != "unique"}

    def remark(self, samples: Samples) -> str:
        """A sentence on samples that are not where real objects are; empty where there is nothing to say."""
        return ""

    def line(self, one: Any) -> str:
        """An object as a line of text, for programs that judge it; raises NoScoreError where it has none."""
        return as_line(one)

    def mark(self, one: Any) -> Hashable:
        """What equal objects share, by which samples are told apart."""
        return digest(one) or id(one)

    def figure(
        self,
        samples: Samples,
        values: Sequence[float],
        label: str,
        path: Path,
        *,
        unguided: tuple[Samples, Sequence[float]] | None = None,
        objective: Objective | None = None,
    ) -> str | None:
        """A picture of samples; returns the file name, None where nothing was drawn.

        Args:
            samples: to show, the best first.
            values: their rewards, NaN for none.
            label: what the rewards are.
            path: file to write.
            unguided: other samples and their rewards, to be shown beside them.
            objective: that guided them.
        """
        return None

    def read_values(self, path: str | Path, shape: tuple[int, ...]) -> Tensor:
        """Numbers (n, *shape) in the objects' own unit, of a file of something smaller or larger than a state.

        Measurements are read by it where they are no array files, see `guidekit.io.arrays`.

        Raises:
            ValueError: the domain reads none, or this one cannot be read.
        """
        raise ValueError(
            f"{Path(path).name}: a measurement {tuple(shape)} is read from npy, npz, MAT, NetCDF, HDF5 or NIfTI"
        )

    def compared(self, groups: Mapping[str, Samples], path: Path) -> str | None:
        """Draw groups of samples side by side, see `tasks`; returns the file name, None where nothing was drawn."""
        return None
