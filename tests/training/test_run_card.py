"""The card of a run: what the hub reads, and whether every number in it is that of the run."""

import copy
import hashlib
import os
from dataclasses import replace

import numpy as np
import pytest

import helpers
from modelscope_beit import __version__
from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.settings.recipe import read_recipe
from modelscope_beit.training import run_card as module
from modelscope_beit.training.job import TrainingJob
from modelscope_beit.training.run_card import run_card

NAMES = ("cat | dog", "<b>bold</b>", "*red* fox, _Vulpes_", "中文", "[n02119789](x)")
BEST = {
    "epoch": 3,
    "iterations": 36,
    "metrics": {"accuracy_top-1": 88.3561, "accuracy_top-5": 100.0, "f1_score": [1.0]},
}
COMMAND = "beit train damo/model data --set 'train.optimizer.lr=1e-4'"


def records(labels: list[int], class_names: tuple[str, ...] = NAMES) -> Records:
    paths = [f"{number}.jpg" for number in range(len(labels))]
    return Records(FilePictures(paths), np.array(labels, np.int64), class_names, description="made up")


@pytest.fixture
def job(tmp_path) -> TrainingJob:
    start = tmp_path / "model" / "pytorch_model.pt"
    start.parent.mkdir()
    start.write_bytes(b"weights")
    (tmp_path / "run").mkdir()
    configuration = copy.deepcopy(helpers.TINY_CONFIGURATION)
    settings, recipe = read_recipe(configuration, where="test")
    return TrainingJob(
        settings=replace(settings, class_names=NAMES),
        recipe=recipe,
        start_weights=start,
        configuration=configuration,
        train=records([0] * 1200 + [1] * 3 + [2, 3, 3, 4]),
        validation=records([0, 1, 2, 3, 4, 4]),
        work_dir=tmp_path / "run",
        timestamp="20261121_070000",
        source="damo/cv_beitv2-base_image-classification",
        data="pets_and_*stars*",
        command=COMMAND,
    )


def card_of(job: TrainingJob, best: dict, **changes) -> str:
    return run_card(job, best, **{"iterations": 36, "precision": "fp32", "num_processes": 1, **changes})


def front_matter(card: str) -> dict:
    yaml = pytest.importorskip("yaml", reason="PyYAML is the judge of the front matter")
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


def rendered(card: str) -> str:
    markdown_it = pytest.importorskip("markdown_it", reason="rich brings it")
    body = card.split("---\n", 2)[2]
    return markdown_it.MarkdownIt("commonmark").enable("table").render(body)


def test_run_card__front_matter_that_the_hub_reads(job):
    assert front_matter(card_of(job, BEST)) == {
        "frameworks": ["pytorch"],
        "license": "other",
        "tasks": ["image-classification"],
        "metrics": ["accuracy", "f1_score"],
    }
    assert "metrics" not in front_matter(card_of(job, {}))


@pytest.mark.parametrize("spelling", ["Apache License 2.0", '"Apache License 2.0"'])
def test_run_card__inherits_the_license(job, spelling):
    card = job.start_weights.parent / "README.md"
    card.write_text(f"---\nframeworks:\n- pytorch\nlicense: {spelling}\n---\n\nlicense: not this one\n")
    assert front_matter(card_of(job, BEST))["license"] == "Apache License 2.0"
    card.write_text("# A title\n\nlicense: not this one\n")
    assert front_matter(card_of(job, BEST))["license"] == "other"


def test_run_card__result_says_what_was_measured(job):
    (job.work_dir / "metrics.csv").write_text("epoch,iteration,seconds\n1,12,4000\n3,36,3200\n4,48,9999\n")
    card = card_of(job, BEST)
    assert "Measured on 6 validation pictures after epoch 3 (iteration 36)" in card
    assert "Training took 2 h until then." in card
    assert "| accuracy\\_top-1 | 88.356 |" in card and "| accuracy\\_top-5 | 100.000 |" in card
    assert "averaged" not in card.split("## Data")[0]


def test_run_card__not_validated(job):
    card = card_of(replace(job, validation=None), {}, iterations=40)
    assert "The weights are those after iteration 40; they were not validated." in card
    assert "| Validation | none |" in card


def test_run_card__says_that_the_run_stopped_early(job):
    reason = "Stopped early after iteration 36 of 90: accuracy_top-1 was not better than 88.3561."
    assert reason.replace("_", "\\_") in card_of(job, BEST, stopped_early=reason).split("## Data")[0]
    assert "Stopped early" not in card_of(job, BEST)


def test_run_card__class_names_are_shown_as_they_are(job):
    page = rendered(card_of(job, BEST))
    for name, row in zip(
        NAMES, ("1,200</td>\n<td>1", "3</td>\n<td>1", "1</td>\n<td>1", "2</td>\n<td>1", "1</td>\n<td>2"), strict=True
    ):
        escaped = name.replace("<", "&lt;").replace(">", "&gt;")
        assert f"<td>{escaped}</td>\n<td>{row}</td>" in page
    assert "<strong>" not in page and "<em>" not in page and "<a " not in page
    assert "<h1>cv_beitv2-base_image-classification, fine-tuned on pets_and_*stars*</h1>" in page
    assert "1,207 pictures" in page


def test_run_card__many_classes_are_not_listed(job):
    class_names = tuple(f"class {number}" for number in range(201))
    many = replace(job, settings=replace(job.settings, class_names=class_names), train=records([0], class_names))
    assert "classname.txt" in card_of(many, BEST) and "class 5" not in card_of(many, BEST)


def test_run_card__source_and_digest(job):
    card = card_of(job, BEST)
    assert f"sha256:{hashlib.sha256(b'weights').hexdigest()}" in card
    assert "damo/cv\\_beitv2-base\\_image-classification, pytorch\\_model.pt" in card
    job.start_weights.write_bytes(b"other weights")
    os.utime(job.start_weights, ns=(1, 1))
    assert hashlib.sha256(b"other weights").hexdigest() in card_of(job, BEST)
    job.start_weights.unlink()
    assert "no longer there" in card_of(job, BEST)


def test_run_card__digest_is_computed_once(job, monkeypatch):
    asked = []
    monkeypatch.setattr(module, "file_digest", lambda path: asked.append(path) or "sha256:0")
    module._digest.cache_clear()
    card_of(job, BEST), card_of(job, BEST)
    module._digest.cache_clear()
    assert len(asked) == 1


def test_run_card__recipe_command_versions_and_use(job):
    card = card_of(job, BEST, num_processes=4)
    assert "| Batch | 128 = 32 x 4 processes |" in card
    assert f"```\n{COMMAND}\n```" in card
    assert f"| modelscope-beit | {__version__} |" in card
    assert 'pipeline("image-classification", model="this/folder")' in card
    assert card.endswith("```\n")


def test_run_card__multi_label(job):
    labels = np.array([[True, True, False, False, False], [True, False, False, False, False]])
    data = Records(FilePictures(["a", "b"]), labels, NAMES, description="made up")
    assert "| cat \\| dog | 2 |" in card_of(replace(job, train=data, validation=None), {})


def test_run_card__says_that_weights_are_averaged(job):
    configuration = copy.deepcopy(helpers.TINY_CONFIGURATION)
    configuration["train"] = {"custom_hooks": [{"type": "EMAHook"}]}
    _, recipe = read_recipe(configuration, where="test")
    assert "the weights in this folder, averaged over the iterations, are those" in card_of(
        replace(job, recipe=recipe), BEST
    )


def test_run_card__does_not_name_the_run_folder(job):
    """A card may be published."""
    assert str(job.work_dir.parent) not in card_of(job, BEST)
