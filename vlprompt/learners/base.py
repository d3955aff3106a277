"""PromptLearner: what every method is to the trainer and the evaluator."""

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from vlprompt import checkpoint
from vlprompt.backbones import Clip
from vlprompt.backbones.products import fast_products
from vlprompt.data.batch import Batch
from vlprompt.data.loaders import Batches, mixed
from vlprompt.data.task import Files, Indexed, Task
from vlprompt.data.texts import Text
from vlprompt.data.transforms import Transform, test_transform
from vlprompt.data.views import Views, encode_views
from vlprompt.errors import UsageError, VlpromptError
from vlprompt.head import Head
from vlprompt.learners.backbone import Backbone, ImageBackbone, TextEncoder
from vlprompt.learners.checks import check_classes, check_kind
from vlprompt.recipe import TrainConfig

B = TypeVar("B", bound=Backbone)


class Reads(Enum):
    """What a batch must hold for a learner."""

    FEATURES = "features"
    IMAGES = "images"
    VIEWS = "views"
    TEXT = "text"
    TEXT_FEATURES = "features of texts"

    @property
    def of_texts(self) -> bool:
        """Whether the examples are texts."""
        return self in (Reads.TEXT, Reads.TEXT_FEATURES)


@dataclass(frozen=True)
class Variant:
    """A published setting of a method, by name.

    Attributes:
        config: The method's configuration.
        recipe: (shots, data set name) -> training settings.
        source: Where it was published.
    """

    config: Any
    recipe: Callable[[int, str], TrainConfig]
    source: str


@dataclass(frozen=True)
class Prediction:
    """What a learner says of one image or text."""

    label: str
    probability: float
    probabilities: Mapping[str, float]


class PromptLearner(nn.Module, abc.ABC, Generic[B]):
    """Learned prompts and the frozen model they steer. Subclasses are final.

    Attributes:
        reads: What a batch must hold.
        backbone: The frozen model.
        classes: The names it tells apart, in the order of its scores.
        config: The method's frozen configuration.
    """

    reads: Reads
    takes: ClassVar[tuple[type[Any], ...]] = (Clip,)  # kinds of backbones, the usual one first
    learns: ClassVar[bool] = True  # whether training images make a difference
    adapts: bool = False  # whether it also learns from a task's unlabelled examples
    in_order: ClassVar[bool] = False  # whether `prepare` wants the training set in order, and validation data
    features_too: ClassVar[bool] = False  # whether batches of images hold the frozen model's features of them too
    keeps_whole_batches: ClassVar[str] = ""  # why a batch's gradient is no mean of its parts'; empty where it is
    online: ClassVar[bool] = False  # whether an answer depends on the images judged before it, see `forget`

    def __init__(self, backbone: B, classes: Sequence[str], config: Any, *, seed: int = 0) -> None:
        """Hold the model, check the names.

        Args:
            backbone: A frozen model.
            classes: C class names, all different.
            config: The method's configuration.
            seed: Of whatever starts from noise.

        Raises:
            UsageError: No class, or an empty or repeated name; or a backbone of a kind that the method does not take.
        """
        super().__init__()
        check_kind(self.method(), self.takes, backbone)
        self.backbone = backbone
        self.classes = check_classes(classes)
        self.config = config
        self.seed = seed
        self._kept: dict[str, tuple[tuple[object, ...], Tensor]] = {}

    @classmethod
    def for_task(cls, backbone: B, task: Task, config: Any, *, seed: int = 0) -> Self:
        """Build the learner for a task; methods that use more of it than class names override this."""
        return cls(backbone, task.classes, config, seed=seed)

    @classmethod
    def over(cls, learner: "PromptLearner[Any]", config: Any) -> Self:  # noqa: ARG003
        """Adapt a trained learner to each test image; test-time methods that can wrap one override this.

        Raises:
            UsageError: The method cannot.
        """
        raise UsageError(f"{cls.method()} cannot adapt {learner.method()}; use it alone or a method that wraps others.")

    @classmethod
    def method(cls) -> str:
        """The method's name: that of its file."""
        return cls.__module__.rpartition(".")[2]

    @abc.abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """Class scores (B, C)."""

    def loss(self, batch: Batch) -> Tensor:
        """Cross-entropy of the scores, a scalar."""
        return F.cross_entropy(self(batch), batch.labels)

    def backward(self, batch: Batch) -> Tensor:
        """Leave a step's gradients on the learned tensors, return the loss; methods with their own rule override."""
        loss = self.loss(batch)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    @torch.no_grad()
    def predict(self, batch: Batch) -> Tensor:
        """Class scores (B, C) at test time; what adapts to test images does it here, `forward` is before that."""
        return self(batch)  # type: ignore[no-any-return]

    def forget(self) -> None:
        """Called before the first of a stream of test images; online methods drop what earlier ones left behind."""

    @property
    def test_views(self) -> Views:
        """Which views of a test image it reads (`Reads.VIEWS`), by the settings `views` and `augmix` of its config."""
        return Views(self.config.views, getattr(self.config, "augmix", False), self.seed)

    @property
    def test_transform(self) -> Transform:
        """What makes of a test image what it reads: (3, H, W), or (V, 3, H, W) for views.

        Raises:
            UsageError: Its views do not fit in memory.
        """
        preprocess = cast(ImageBackbone, self.backbone).preprocess
        return self.test_views.transform(preprocess) if self.reads is Reads.VIEWS else test_transform(preprocess)

    @property
    def text_encoder(self) -> TextEncoder:
        """What makes of texts the features it reads (`Reads.TEXT_FEATURES`).

        Raises:
            UsageError: It reads something else.
        """
        raise UsageError(f"{self.method()} reads {self.reads.value}, not features of texts; give it what it reads.")

    def soft_tokens(self) -> Mapping[str, Tensor]:
        """Learned tokens (..., D) that stand among the words of a text, by name; by default none."""
        return {}

    def found_words(self) -> Mapping[str, Sequence[str]]:
        """Words that training has found, by what they stand for; by default none."""
        return {}

    def prepare(self, train: Batches, val: Batches | None) -> None:
        """Look at the training set once before the first step; methods that are solved do their work here."""

    @property
    def views(self) -> int:
        """Random views of each training image that `prepare` wants in order, epoch k being view k; 1: the plain image.

        Settings that cache views (augment "cached:K") or forbid them ("none") go before it.
        """
        return 1

    def end_epoch(self, epoch: int, epochs: int) -> None:
        """Called after every epoch, counted from 1; methods that average prompts over training do it here."""

    def memory(self) -> dict[str, Tensor]:
        """Tensors besides the learned ones that an interrupted training needs, by name; written back in place."""
        return {}

    @property
    def keeps_classes(self) -> str:
        """Why the class names cannot be changed after training; empty where they can."""
        return "it was trained for these classes only"

    def set_classes(self, names: Sequence[str]) -> None:
        """Tell other classes apart with the same prompt.

        Raises:
            UsageError: The method cannot, with its reason; or the names are empty or repeated.
        """
        if tuple(names) == self.classes:
            return
        if self.keeps_classes:
            raise UsageError(f"{self.method()} cannot change its classes: {self.keeps_classes}.")
        self.classes = check_classes(names)
        self.rebuild()

    def begin_stream(self, *, masked: bool = False) -> None:
        """Called before the first of several tasks; a linear head starts at zero and may compare each task's only.

        Raises:
            UsageError: There is no head to mask.
        """
        if isinstance(head := getattr(self, "head", None), Head):
            head.begin_stream(masked=masked)
        elif masked:
            raise UsageError(f"{self.method()} has no linear head here, so its classes cannot be masked.")

    def begin_task(self, task: Task) -> None:
        """Get ready for a task: take its class names; a linear head goes on to them if they begin with those it has.

        Raises:
            UsageError: See `set_classes`.
        """
        head = getattr(self, "head", None)
        if not isinstance(head, Head) or task.classes[: len(self.classes)] != self.classes:
            self.set_classes(task.classes)
            return
        self.classes = check_classes(task.classes)
        head.grow(len(self.classes), {example.label for example in task.train if example.label >= 0})

    def rebuild(self) -> None:
        """Make whatever depends on the class names anew, keeping what was learned."""

    def trainable(self) -> dict[str, nn.Parameter]:
        """What is learned, by name: everything with `requires_grad`."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def found(self) -> dict[str, Tensor]:
        """Tensors that were found, not trained (a cache's labels), and belong in a checkpoint; restored in place."""
        return {}

    def make_room(self, tensors: Mapping[str, Tensor]) -> None:
        """Called before a checkpoint is taken up; methods whose tensors grow with the training set resize here."""

    def once(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """A tensor that depends on the prompt only, made anew when the prompt or the class names have changed.

        While gradients are recorded it is made every time.
        """
        if torch.is_grad_enabled():
            return make()
        state = (self.classes, *((id(p), p._version) for p in self.trainable().values()))
        kept = self._kept.get(name)
        if kept is None or kept[0] != state:
            kept = self._kept[name] = (state, make())
        return kept[1]

    def about(self) -> dict[str, object]:
        """What a checkpoint says of this learner besides its tensors."""
        return {
            "method": self.method(),
            "config": asdict(self.config),
            "classes": list(self.classes),
            "seed": self.seed,
            "backbone": self.backbone.name,
            "fingerprint": self.backbone.fingerprint,
        }

    def save(self, folder: str | Path) -> None:
        """Write `prompt.safetensors` (what was learned, kilobytes) and `prompt.json` into a folder, atomically."""
        kept = {**self.trainable(), **self.found()}
        checkpoint.save(folder, {name: tensor.detach().cpu() for name, tensor in kept.items()}, self.about())

    def restore(self, tensors: Mapping[str, Tensor], source: str) -> None:
        """Take learned (and found) tensors from a checkpoint.

        Raises:
            VlpromptError: Names or shapes differ; the message says which.
        """
        self.make_room(tensors)
        own: dict[str, Tensor] = {**self.trainable(), **self.found()}
        if own.keys() != tensors.keys():
            raise VlpromptError(f"{source} holds {sorted(tensors)}, {self.method()} needs {sorted(own)}.")
        for name, tensor in own.items():
            if tensor.shape != tensors[name].shape:
                raise VlpromptError(
                    f"{source}: {name} has shape {tuple(tensors[name].shape)}, {self.method()} with this backbone and "
                    f"these classes needs {tuple(tensor.shape)}."
                )
        with torch.no_grad():
            for name, tensor in own.items():
                tensor.copy_(tensors[name])

    @fast_products()
    def classify(self, items: Sequence[Any], *, batch_size: int = 32) -> list[Prediction]:
        """Name what is in some images, or what some texts are.

        Args:
            items: What `opened` takes: paths or PIL images, for most learners.
            batch_size: How many at once.

        Raises:
            VlpromptError: A file is missing or is no image.
        """
        self.eval()
        self.forget()
        predictions = []
        for first in range(0, len(items), batch_size):
            batch = self.opened(items[first : first + batch_size])
            predictions += [self._named(row) for row in self.predict(batch).float().softmax(dim=-1)]
        return predictions

    def opened(self, items: Sequence[str | Path | Image.Image]) -> Batch:
        """An unlabelled batch of some images, given as paths or PIL images; learners that read texts override this.

        Raises:
            VlpromptError: A file is missing or is no image.
        """
        transform = self.test_transform
        opened = (_opened(item) for item in items)
        return self.batch_of(transform(image, mixed(self.seed, digest)) for image, digest in opened)

    def _named(self, probabilities: Tensor) -> Prediction:
        """(C,) probabilities with their names."""
        best = int(probabilities.argmax())
        named = dict(zip(self.classes, probabilities.tolist(), strict=True))
        return Prediction(self.classes[best], float(probabilities[best]), named)

    @torch.no_grad()
    def batch_of(self, images: Iterable[Tensor]) -> Batch:
        """An unlabelled batch with what this learner reads, of B images as `test_transform` makes them.

        Views are encoded image by image as they come, so that pixels of one image only are in memory.
        """
        backbone = cast(ImageBackbone, self.backbone)
        if self.reads is Reads.VIEWS:
            held = torch.cat([encode_views(backbone.encode_image, image[None]) for image in images])  # (B, V, E)
        else:
            held = torch.stack(list(images)).to(backbone.device)
        if self.reads is Reads.FEATURES:
            held = backbone.encode_image(held)
        count = torch.arange(len(held), device=held.device)
        more = {"features": backbone.encode_image(held)} if self.features_too else {}
        return replace(Batch(torch.full_like(count, -1), count), **{self.reads.value: held}, **more)  # type: ignore[arg-type]


def _opened(image: str | Path | Image.Image) -> tuple[Image.Image, str]:
    """An image and the digest of its content."""
    if isinstance(image, Image.Image):
        held = Indexed([(image,)])
        return held.open(0), held.digest(0)
    return Files().open(Path(image)), Files().digest(Path(image))


def features_of(batch: Batch) -> Tensor:
    """The (B, E) features of a batch; UsageError if it holds none."""
    return _held("features", batch.features)


def texts_of(batch: Batch) -> tuple[Text, ...]:
    """The B texts of a batch.

    Raises:
        UsageError: It holds none.
    """
    if batch.texts is None:
        raise UsageError("this learner reads texts, the batch holds none; make batches with vlprompt.feed.")
    return batch.texts


def images_of(batch: Batch) -> Tensor:
    """The (B, 3, H, W) images of a batch; UsageError if it holds none."""
    return _held("images", batch.images)


def views_of(batch: Batch) -> Tensor:
    """The (B, V, E) features of the views of a batch's images; UsageError if it holds none."""
    return _held("views", batch.views)


def _held(what: str, tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise UsageError(f"this learner reads {what}, the batch holds none; make batches with vlprompt.feed.")
    return tensor
