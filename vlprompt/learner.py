"""PromptLearner: the contract between a method and everything that trains, evaluates, saves or serves it."""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vlprompt import checkpoint
from vlprompt.backbones import Clip
from vlprompt.backbones.frozen import check_kind
from vlprompt.backbones.matmul import fast_matmul
from vlprompt.data import feed
from vlprompt.data.batch import Batch
from vlprompt.data.batches import Batches
from vlprompt.data.classes import Prediction, check_classes
from vlprompt.data.needs import FrozenModel, Needs
from vlprompt.data.task import Task
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.randomness import check_seed

B = TypeVar("B", bound=FrozenModel)
C = TypeVar("C")
USER_FILES = "vlprompt_user_files"  # prefix of the module names of files that `methods` loads by path


class PromptLearner(nn.Module, abc.ABC, Generic[B, C]):
    """Learned prompts and the frozen model that they steer. Subclasses are abstract or final.

    Attributes:
        Config: The class of the settings; `Config()` is the default setting.
        backbones: Kinds of frozen models that the method works with, the usual one first.
        needs: What it reads. A constructor may replace it, since it can depend on the config.
        from_task: Fields of a task that fill empty fields of the config, such as "templates".
        why_classes_fixed: Why the class names cannot change after training; empty where they can.
        backbone: The frozen model.
        classes: Class names, in the order of the scores.
        config: The settings.
    """

    Config: ClassVar[type[Any]]
    backbones: ClassVar[tuple[type[Any], ...]] = (Clip,)
    needs: Needs = Needs()
    from_task: ClassVar[tuple[str, ...]] = ()
    why_classes_fixed: str = ""

    def __init__(self, backbone: B, classes: Sequence[str], config: C | None = None, *, seed: int = 0) -> None:
        """Store the model and the settings; a subclass then creates what is learned.

        Args:
            backbone: A frozen model.
            classes: C class names.
            config: Settings; the method's default ones if None.
            seed: Of everything that starts from noise.

        Raises:
            UsageError: No class, or an empty name; or the method does not work with this kind of model.
        """
        super().__init__()
        check_kind(self.method(), self.backbones, backbone)
        self.backbone = backbone
        self.classes = check_classes(classes)
        self.config: C = self.Config() if config is None else config
        self.seed = check_seed(seed)
        self._cache: dict[str, tuple[tuple[object, ...], Tensor]] = {}

    @abc.abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""

    def loss(self, batch: Batch) -> Tensor:
        """The training loss, a scalar; cross-entropy of the scores unless a method overrides it."""
        return F.cross_entropy(self(batch), batch.labels)

    def backward(self, batch: Batch) -> Tensor:
        """Compute a step's gradients and return the loss; methods with a rule of their own override it."""
        loss = self.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Class scores (B, C) at test time; a method that adapts to test images does it here, not in `forward`."""
        return self(batch)  # type: ignore[no-any-return]

    def prepare(self, train: Batches, val: Batches | None) -> None:
        """Called before the first step; methods that read the whole training set do it here."""

    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Called after every epoch, counted from 1."""

    def rebuild(self) -> None:
        """Called when the class names have changed: compute what depends on them, without touching what was learned."""

    def resize_for(self, tensors: Mapping[str, Tensor]) -> None:
        """Called before `tensors` are restored; methods whose tensors grow during training resize their own here."""

    @classmethod
    def for_task(cls, backbone: B, task: Task, config: C, *, seed: int = 0) -> Self:
        """Build the learner for a task, whose fields named in `from_task` fill empty fields of the config."""
        filled = {name: getattr(config, name) or getattr(task, name) for name in cls.from_task}
        return cls(backbone, task.classes, replace(config, **filled), seed=seed)  # type: ignore[type-var]

    @classmethod
    def method(cls) -> str:
        """The method's name: that of its file, or MODULE:CLASS outside this package."""
        package, _, file = cls.__module__.rpartition(".")
        if package in ("vlprompt.learners", "vlprompt.cloze", "vlprompt.cloze.parts"):
            return file
        return f"{file if package.startswith(USER_FILES) else cls.__module__}:{cls.__qualname__}"

    def set_classes(self, names: Sequence[str]) -> None:
        """Use other class names with the same prompt; UsageError with the reason where the method cannot."""
        if tuple(names) == self.classes:
            return
        if self.why_classes_fixed:
            raise UsageError(f"{self.method()} cannot change its classes: {self.why_classes_fixed}.")
        self.classes = check_classes(names)
        self.rebuild()

    def begin_task(self, task: Task) -> None:
        """Go on to a task: use its class names, and whatever else of it the method uses."""
        self.set_classes(task.classes)

    def trainable(self) -> dict[str, nn.Parameter]:
        """What is learned, by name: every parameter with `requires_grad`."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def saved_tensors(self) -> dict[str, Tensor]:
        """What a saved prompt holds, by name: parameters and persistent buffers that are not the frozen model's."""
        frozen = {id(each) for each in (*self.backbone.parameters(), *self.backbone.buffers())}  # type: ignore[attr-defined]
        return {name: each for name, each in self.state_dict(keep_vars=True).items() if id(each) not in frozen}

    def cached(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """A tensor that depends on the prompt and the class names only, computed again when they have changed.

        While gradients are recorded it is computed at every call.
        """
        if torch.is_grad_enabled():
            return make()
        state = (self.classes, *((id(p), p._version) for p in self.trainable().values()))
        known = self._cache.get(name)
        if known is None or known[0] != state:
            known = self._cache[name] = (state, make())
        return known[1]

    def description(self) -> dict[str, object]:
        """What a saved prompt states about this learner besides its tensors."""
        model = {"backbone": self.backbone.name, "fingerprint": self.backbone.fingerprint}
        config = asdict(self.config)  # type: ignore[call-overload]
        own = {"method": self.method(), "config": config, "classes": list(self.classes), "seed": self.seed}
        return {**own, **model}

    def save(self, folder: str | Path) -> None:
        """Write `prompt.safetensors` (what was learned, kilobytes) and `prompt.json` into a folder, atomically."""
        tensors = {name: tensor.detach().cpu() for name, tensor in self.saved_tensors().items()}
        checkpoint.save(folder, tensors, self.description())

    def restore(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Copy saved tensors into this learner; VlpromptError where names or shapes differ, or one is not finite."""
        self.resize_for(tensors)
        own = self.saved_tensors()
        if own.keys() != tensors.keys():
            raise VlpromptError(f"{source} holds {sorted(tensors)}, {self.method()} needs {sorted(own)}.")
        for name, tensor in own.items():
            if tensor.shape != tensors[name].shape:
                raise VlpromptError(
                    f"{source}: {name} has shape {tuple(tensors[name].shape)}, {self.method()} with this backbone and "
                    f"these classes needs {tuple(tensor.shape)}."
                )
            if not tensors[name].isfinite().all():
                raise VlpromptError(f"{source}: {name} holds NaN or infinity; train the prompt again.")
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])

    @fast_matmul()
    def classify(self, items: Any, *, batch_size: int = 32) -> list[Prediction]:
        """Classify images (paths, PIL images, arrays, ...) or texts; one item alone gives a list of one answer.

        `vlprompt.data.items` describes what is accepted.

        A method that learns from the stream of test images continues from earlier calls, until its `reset()`.

        Raises:
            VlpromptError: A file is missing or is not an image; or an item is of another type.
        """
        self.eval()
        data = feed.item_batches(self.needs, self.backbone, items, batch_size=batch_size)
        scores = (self.predict(batch.to(self.backbone.device)) for batch in data.epoch(0))
        return [Prediction.of(self.classes, row) for some in scores for row in some.float().softmax(dim=-1)]
