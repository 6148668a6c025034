"""What a run of a stage is made of: pictures set aside, lengths, groups of the optimizer, the same start everywhere."""

from pathlib import Path
from typing import Any

import pytest
import torch

from modelscope_beit.data.unlabelled import PictureStream
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.pretraining.job import PretrainingJob
from modelscope_beit.pretraining.pretrain import pretrain
from modelscope_beit.pretraining.run import completed, epoch_batches, open_pretraining
from toy_run import draw_pictures, make_job


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    return draw_pictures(tmp_path / "pictures", 44)


def names_of(records: Any) -> set[str]:
    return {Path(file).name for file in records.files()}


def test_open_pretraining__sets_pictures_aside_that_are_not_trained_on(pictures: Path, tmp_path: Path) -> None:
    with open_pretraining(make_job(pictures, tmp_path / "run", gauge_pictures=4)) as run:
        assert run.aside is not None
        assert len(run.aside) == 4
        assert not names_of(run.aside) & names_of(run.pictures)
        assert len(names_of(run.aside) | names_of(run.pictures)) == 44
        again = names_of(run.aside)
    with open_pretraining(make_job(pictures, tmp_path / "more", gauge_pictures=400)) as run:
        assert len(run.aside or ()) == 4, "never more than a tenth"
        assert names_of(run.aside) == again, "the seed decides"
    with open_pretraining(make_job(pictures, tmp_path / "other", gauge_pictures=4, seed=1)) as run:
        assert names_of(run.aside) != again
    with open_pretraining(make_job(pictures, tmp_path / "none", gauge_pictures=0)) as run:
        assert run.aside is None


def test_open_pretraining__weights_of_one_dimension_and_named_ones_do_not_decay(pictures: Path, tmp_path: Path) -> None:
    with open_pretraining(make_job(pictures, tmp_path / "run", weight_decay=0.3)) as run:
        decays = {name: group["weight_decay"] for group in run.optimizer.param_groups for name in group["names"]}
    assert decays == {
        "hidden.weight": 0.3,
        "guess.weight": 0.3,
        "hidden.bias": 0.0,
        "guess.bias": 0.0,
        "token": 0.0,
    }


def test_open_pretraining__counts_whole_batches(pictures: Path, tmp_path: Path) -> None:
    with open_pretraining(make_job(pictures, tmp_path / "run", batch_size=12, epochs=5)) as run:
        assert (run.iterations_per_epoch, run.total_iterations) == (3, 15)
    length: dict[str, Any] = {"epochs": None, "iterations": 7, "warm_up_iterations": 2}
    with open_pretraining(make_job(pictures, tmp_path / "other", batch_size=12, **length)) as run:
        assert (run.iterations_per_epoch, run.total_iterations) == (3, 7)


def test_open_pretraining__runs_a_stream_by_iterations(pictures: Path, tmp_path: Path) -> None:
    rows = [{"image": str(file)} for file in sorted(pictures.iterdir())]
    stream = PictureStream(lambda seed: iter(rows), "image", description="a stream")

    def with_stream(**changes: Any) -> PretrainingJob:
        job = make_job(pictures, tmp_path / "run", **changes)
        return PretrainingJob(**{**vars(job), "pictures": stream})

    with (
        pytest.raises(SettingsError, match="unknown length.*run.iterations"),
        open_pretraining(with_stream(epochs=2)),
    ):
        pass
    length: dict[str, Any] = {"epochs": None, "iterations": 30, "warm_up_iterations": 2}
    with open_pretraining(with_stream(**length)) as run:
        assert (run.iterations_per_epoch, run.total_iterations) == (30, 30)
        batches = epoch_batches(run, 0, 0)
        first, second = next(batches), next(batches)
        (later,) = [next(epoch_batches(run, 0, 1))]
    assert torch.equal(later["image"], second["image"])
    assert not torch.equal(first["image"], second["image"])


def test_open_pretraining__a_run_that_goes_on_remembers_its_gauges_and_nothing_else(
    pictures: Path, tmp_path: Path
) -> None:
    found = pretrain(make_job(pictures, tmp_path / "run", epochs=2))
    with open_pretraining(make_job(pictures, tmp_path / "run", epochs=3, resume=True)) as run:
        assert [row["iteration"] for row in run.history] == [5, 10, 15, 20]
        assert run.history[-1] == pytest.approx(dict(found.gauges))


def test_completed__needs_no_gradient(pictures: Path, tmp_path: Path) -> None:
    job = make_job(pictures, tmp_path / "run")
    weight = torch.ones(1, requires_grad=True)
    job.stage.complete = lambda batch: {**batch, "target": weight * 2}  # type: ignore[method-assign]
    with open_pretraining(job) as run:
        batch = completed(run, next(epoch_batches(run, 0, 0)))
    assert not batch["target"].requires_grad
    assert batch["image"].shape == (4, 3, 8, 8)


def test_open_pretraining__takes_the_folder_of_a_run_that_is_to_go_on(pictures: Path, tmp_path: Path) -> None:
    with (
        pytest.raises(CheckpointError, match="no checkpoint"),
        open_pretraining(make_job(pictures, tmp_path / "none", resume=True)),
    ):
        pass
