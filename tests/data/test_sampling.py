import numpy as np
import pytest
import torch

from modelscope_beit.data.pictures import FilePictures
from modelscope_beit.data.records import Records
from modelscope_beit.data.sampling import epoch_order
from modelscope_beit.errors import SettingsError


def made_of(labels: np.ndarray, num_classes: int) -> Records:
    return Records(FilePictures([""] * len(labels)), labels, [str(k) for k in range(num_classes)], description="pets")


def test_epoch_order__shuffles_each_epoch_differently() -> None:
    records = made_of(np.zeros(100, np.int64), 1)
    orders = [
        epoch_order(records, seed=seed, epoch=epoch, order="shuffled")[0].tolist()
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    ]
    assert all(sorted(order) == list(range(100)) for order in orders)
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3


def test_epoch_order__draws_each_class_equally_often() -> None:
    labels = np.repeat([0, 1, 3], [900, 90, 10])
    records = made_of(np.random.default_rng(0).permutation(labels), 4)
    rows, occurrences = epoch_order(records, seed=0, epoch=0, order="class_balanced")
    drawn = np.bincount(records.labels()[rows], minlength=4)
    assert len(rows) == 1000 and drawn.sum() == 1000
    assert drawn[2] == 0 and drawn[[0, 1, 3]].min() == 333 and drawn[[0, 1, 3]].max() == 334
    # Within a class as evenly as can be: 333 draws from 10 rows are 33 or 34 each; from 900 rows, none twice.
    times = np.bincount(rows, minlength=1000)
    assert set(times[records.labels() == 3]) <= {33, 34}
    assert times[records.labels() == 0].max() == 1
    # A repeated row counts its draws, so that it can be augmented differently.
    assert len({*zip(rows.tolist(), occurrences.tolist(), strict=True)}) == 1000
    assert occurrences[np.isin(rows, np.flatnonzero(records.labels() == 0))].max() == 0


def test_epoch_order__of_fewer_rows_than_classes_draws_as_many_rows() -> None:
    rows, _ = epoch_order(made_of(np.array([0, 5, 2]), 6), seed=0, epoch=0, order="class_balanced")
    assert sorted(rows.tolist()) == [0, 1, 2]


def test_epoch_order__cannot_balance_pictures_with_several_classes() -> None:
    with pytest.raises(SettingsError, match=r"train\.sampler"):
        epoch_order(made_of(np.ones((4, 2), bool), 2), seed=0, epoch=0, order="class_balanced")


@pytest.mark.openmmlab
def test_epoch_order__repeats_as_mmcls_does(monkeypatch: pytest.MonkeyPatch) -> None:
    samplers = pytest.importorskip("mmcls.datasets.samplers", reason="mmcls is the oracle")
    records = made_of(np.zeros(100, np.int64), 1)
    rows, occurrences = epoch_order(records, seed=3, epoch=1, order="repeated")
    permutation = torch.from_numpy(np.concatenate([rows[::3], np.setdiff1d(np.arange(100), rows)]))
    monkeypatch.setattr(torch, "randperm", lambda count: permutation)
    assert rows.tolist() == list(samplers.RepeatAugSampler(records, selected_round=0))
    # Each draw of a row is another one, so that it can be augmented differently.
    assert len({*zip(rows.tolist(), occurrences.tolist(), strict=True)}) == 100
    assert occurrences.max() == 2
