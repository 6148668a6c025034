"""README.md of the model folder that a run writes: what was trained on what, how, with which result, and its use.

Every number comes from the run. The front matter is what ModelScope's hub reads.
"""

import json
import platform
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path, PurePath
from typing import Any

import torch

from modelscope_beit import names
from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.data.records import Records
from modelscope_beit.model_folder.card import USAGE, architecture_in_words, steps_in_words
from modelscope_beit.training.environment import versions
from modelscope_beit.training.estimate import duration_in_words
from modelscope_beit.training.job import TrainingJob
from modelscope_beit.training.markdown import code_block, escaped, table, two_columns
from modelscope_beit.training.metrics_table import METRICS_FILE, read_metrics
from modelscope_beit.training.recipe_words import recipe_in_words

# More classes than this are not listed one by one.
_MOST_CLASSES = 200
_LICENSE = re.compile(r"^license:[ \t]*(.+?)[ \t]*$", re.MULTILINE)


def run_card(
    job: TrainingJob,
    best: Mapping[str, Any],
    *,
    iterations: int,
    precision: str,
    num_processes: int,
    stopped_early: str = "",
) -> str:
    """Returns the text of the card.

    best: epoch, iterations and metrics of the weights in the folder, as run.json tells them; empty if they were not
    validated. iterations: how many the run has completed. precision, num_processes: of this run. stopped_early: a
    sentence on why the run ended before its length, if it did.
    """
    data_name = PurePath(job.data).name or job.data
    sections = [
        _front_matter(job, best),
        f"# {escaped(f'{PurePath(job.source).name}, fine-tuned on {data_name}')}",
        "## Result\n\n" + "\n\n".join(filter(None, [_result(job, best, iterations), escaped(stopped_early)])),
        "## Data\n\n" + _data(job),
        "## Recipe\n\n" + two_columns(recipe_in_words(job.recipe, precision=precision, num_processes=num_processes)),
        "The command:\n\n" + code_block(job.command),
        "## Model\n\n" + two_columns(_model(job)),
        "## Made with\n\n"
        + two_columns({"Processor": _processor(job), "Python": platform.python_version(), **versions()}),
        USAGE.strip(),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(job: TrainingJob, best: Mapping[str, Any]) -> str:
    metrics = dict.fromkeys(re.sub(r"_(top-\d+|thr_.*)$", "", name) for name in best.get("metrics", {}))
    # A JSON string is a YAML string, whatever is in it.
    lines = ["---", "frameworks:", "- pytorch", f"license: {json.dumps(_license(job), ensure_ascii=False)}"]
    lines += ["tasks:", f"- {names.TASK}"]
    lines += ["metrics:", *(f"- {json.dumps(name)}" for name in metrics)] if metrics else []
    return "\n".join([*lines, "---"])


def _license(job: TrainingJob) -> str:
    """Returns the license of the weights that training started from, as their card tells it, else "other"."""
    card = job.start_weights.parent / names.CARD_FILE
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    front_matter = text.split("\n---", 1)[0] if text.startswith("---\n") else ""
    found = _LICENSE.search(front_matter)
    return found.group(1).strip("\"'") if found else "other"


def _result(job: TrainingJob, best: Mapping[str, Any], iterations: int) -> str:
    rows = read_metrics(job.work_dir / METRICS_FILE, until=iterations)
    seconds = sum(value for row in rows if isinstance(value := row.get("seconds"), int | float))
    trained = f" Training took {duration_in_words(seconds)} until then." if seconds else ""
    if not best or job.validation is None:
        return f"The weights are those after iteration {iterations}; they were not validated.{trained}"
    numbers = [(name, f"{value:.3f}") for name, value in best["metrics"].items() if isinstance(value, int | float)]
    average = ", averaged over the iterations," if job.recipe.ema is not None else ""
    return (
        f"Measured on {len(job.validation):,} validation pictures after epoch {best['epoch']} (iteration "
        f"{best['iterations']}); the weights in this folder{average} are those.{trained}\n\n"
        + table(["Metric", "Value"], numbers)
    )


def _data(job: TrainingJob) -> str:
    validation = job.validation
    rows = {
        "From": job.data,
        "Training": _count(job.train),
        "Validation": "none" if validation is None else _count(validation),
        "Classes": str(job.settings.model.num_classes),
    }
    class_names = job.settings.class_names or ()
    if not class_names or len(class_names) > _MOST_CLASSES:
        return two_columns(rows | {"Class names": f"see {names.CLASS_NAMES_FILE}"})
    counted = {"Training": job.train, "Validation": validation}
    counts = {name: _class_counts(records, class_names) for name, records in counted.items()}
    known = {name: numbers for name, numbers in counts.items() if numbers is not None}
    per_class = zip(class_names, *known.values(), strict=True)
    return two_columns(rows) + "\n\n" + table(["Class", *known], ([name, *numbers] for name, *numbers in per_class))


def _count(records: object) -> str:
    return f"{len(records):,} pictures" if isinstance(records, Records) else "a stream of pictures"


def _class_counts(records: object, class_names: Sequence[str]) -> list[str] | None:
    """Returns how many pictures each class has; of multi-label data a picture counts for all of its classes."""
    if not isinstance(records, Records) or records.class_names != tuple(class_names):
        return None
    return [f"{count:,}" for count in records.class_counts().tolist()]


def _model(job: TrainingJob) -> dict[str, str]:
    weights = job.start_weights
    return {
        "Fine-tuned from": f"{job.source}, {weights.name}",
        "Digest of that file": _digest(weights, weights.stat().st_mtime_ns) if weights.is_file() else "no longer there",
        "Network": architecture_in_words(job.settings.model),
        "Input": "; ".join(steps_in_words(job.settings.preprocessing)),
    }


@lru_cache(maxsize=4)
def _digest(path: Path, changed: int) -> str:
    """Returns the digest of a file; that of a gigabyte takes seconds, and a card is written whenever best changes."""
    return file_digest(path)


def _processor(job: TrainingJob) -> str:
    if job.recipe.device == "cpu" or not torch.cuda.is_available():
        return f"CPU ({platform.machine()})"
    return torch.cuda.get_device_name()
