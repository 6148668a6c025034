"""An opened model and labelled pictures -> what it answers, how good that is, how long it took."""

import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from modelscope_beit.data.batches import Batch, evaluation_batches
from modelscope_beit.data.records import Records
from modelscope_beit.errors import ImageError, SettingsError
from modelscope_beit.evaluation.class_masks import class_columns, read_real_labels, real_accuracy, select_classes
from modelscope_beit.evaluation.hub_card import hub_card_numbers
from modelscope_beit.evaluation.measuring import measure
from modelscope_beit.evaluation.metrics import metrics_of
from modelscope_beit.evaluation.outcomes import Outcomes
from modelscope_beit.evaluation.readable import ForgivingTransform, forgiving, readable_rows, reasons
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.fast_decoding import fast_transform
from modelscope_beit.model_folder.label_files import imagenet_1k_labels
from modelscope_beit.model_folder.opening import OpenedModel
from modelscope_beit.network.classifier import Classifier
from modelscope_beit.network.precision import form_in
from modelscope_beit.settings.evaluation import chosen_metrics


@dataclass(frozen=True)
class EvaluationOptions:
    """How to evaluate.

    workers: threads that decode. metrics: mmcls's names; empty: its default.
    only_data_classes: scores are shared out among the classes of the data alone, as ImageNet-A and -R are scored.
    fast_decode: the pixels may be off a little; see images/fast_transform.py.
    real: the file real.json with the ReaL labels of ImageNet's validation pictures.
    """

    batch_size: int = 32
    workers: int = 2
    metrics: tuple[str, ...] = ()
    only_data_classes: bool = False
    fast_decode: bool = False
    real: Path | None = None


@dataclass(frozen=True)
class Evaluation:
    """What was found.

    metrics: mmcls's keys, in percent. unreadable: (picture, reason) of those that are in none of the numbers.
    num_parameters: of the network. seconds: from the first picture to the last.
    """

    outcomes: Outcomes
    metrics: dict[str, float]
    unreadable: list[tuple[str, str]]
    num_parameters: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Pictures read and classified per second."""
        return len(self.outcomes) / self.seconds

    def reference(self) -> dict[str, float] | None:
        """Returns what the hub's card says of this model on these data, or None; see hub_card_numbers."""
        return hub_card_numbers(
            num_parameters=self.num_parameters,
            class_names=self.outcomes.class_names,
            pictures=len(self.outcomes) + len(self.unreadable),
        )


def evaluate_records(
    model: OpenedModel,
    records: Records,
    options: EvaluationOptions,
    *,
    on_batch: Callable[[int], None] | None = None,
) -> Evaluation:
    """Returns how a model answers, with the same pixels (but for fast_decode) and numbers as `pipeline` has.

    records: their classes are matched with the model's by name, ImageNet's also by WordNet id. on_batch: called after
    each batch with the number of its pictures. Pictures that cannot be read are left out and told.
    Raises SettingsError before a picture is read if the model does not know a class of the data or if an option cannot
    be used, and ImageError if no picture can be read.
    """
    check_options(options, records)
    answers = None if options.real is None else read_real_labels(options.real)
    num_parameters = sum(parameter.numel() for parameter in model.network.parameters())
    network, records, class_names, columns = _matched(model, records, options)
    parameter = next(model.network.parameters())
    fast = fast_transform(model.settings.preprocessing) if options.fast_decode else None
    left_out: list[int] = []
    batches = evaluation_batches(
        forgiving(records, read=read_image if fast is None else fast.read),
        ForgivingTransform(fast or model.transform),
        batch_size=options.batch_size,
        workers=options.workers,
        rank=0,
        world_size=1,
    )
    start = time.perf_counter()
    with closing(_not_empty(readable_rows(batches, left_out), records, left_out)) as rows:
        outcomes = measure(
            network,
            rows,
            class_names=class_names,
            device=parameter.device,
            temperature=1.0 if model.confidence is None else model.confidence.temperature,
            on_batch=on_batch,
        )
    seconds = time.perf_counter() - start
    metrics = {key: float(value) for key, value in metrics_of(outcomes, options.metrics).items()}
    if answers is not None:
        file_names = records.files() or [records[row].name for row in range(len(records))]
        metrics |= real_accuracy(outcomes, file_names, answers, columns=columns)
    return Evaluation(outcomes, metrics, reasons(records, left_out, model.transform), num_parameters, seconds)


def check_options(options: EvaluationOptions, records: Records) -> None:
    """Raises SettingsError for metrics that do not fit the data and numbers that are too small."""
    chosen_metrics(options.metrics, is_multi_label=records.is_multi_label)
    lowest = {"batch_size": (options.batch_size, 1), "workers": (options.workers, 0)}
    problems = [f"{name} must be at least {low}, not {value}" for name, (value, low) in lowest.items() if value < low]
    if problems:
        raise SettingsError("; ".join(problems) + ".")


def _matched(
    model: OpenedModel, records: Records, options: EvaluationOptions
) -> tuple[nn.Module, Records, tuple[str, ...], tuple[int, ...] | None]:
    """Returns network and records that count the same classes, their names, and the model's numbers of a selection."""
    network = LikePipeline(model.network)
    if options.real is not None and len(model.class_names) != len(imagenet_1k_labels()):
        raise SettingsError(
            f"ReaL labels ({options.real}) are about the 1,000 classes of ImageNet, but the model in {model.folder} "
            f"has {len(model.class_names)} classes."
        )
    if not options.only_data_classes:
        return network, records.relabelled(model.class_names), model.class_names, None
    counted = zip(records.class_names, records.class_counts().tolist(), strict=True)
    there = tuple(name for name, count in counted if count)
    columns = class_columns(there, model.class_names)
    class_names = tuple(model.class_names[column] for column in columns)
    return select_classes(network, columns), records.relabelled(there), class_names, columns


def _not_empty(batches: Iterable[Batch], records: Records, left_out: Sequence[int]) -> Generator[Batch, None, None]:
    is_empty = True
    for batch in batches:
        is_empty = False
        yield batch
    if is_empty and left_out:
        raise ImageError(
            f"None of the {len(left_out):,} pictures of {records.description} can be read. The first is "
            f"{records[left_out[0]].name}."
        )


class LikePipeline(nn.Module):
    """A classifier in its fast form, for pictures of the size that it was built for; as it is, for others."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.fast = form_in(classifier, "fp32")

    def forward(self, images: Tensor) -> Tensor:
        """Returns logits (N, K) of images (N, 3, H, W)."""
        fits = images.shape[2:] == self.classifier.settings.image_size
        logits: Tensor = (self.fast if fits else self.classifier)(images)
        return logits
