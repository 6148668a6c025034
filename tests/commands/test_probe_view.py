"""The rows of a probe."""

from dataclasses import replace
from pathlib import Path

from modelscope_beit.commands.probe_view import probe_rows
from modelscope_beit.evaluation.confidence import Interval
from modelscope_beit.features.few_shots import FewShots
from modelscope_beit.features.probing import Probe, Trial

FOUND = Probe(
    num_train=1000,
    num_validation=200,
    num_classes=10,
    neighbours={1: Interval(0.5, 0.4, 0.6), 5: Interval(0.75, 0.7, 0.8)},
    linear=Interval(0.9, 0.85, 0.95),
    strength=0.01,
    trials=[Trial(0.01, 0.9, 0.3, True)],
    shots=[FewShots(1, (0.4, 0.6), (0.3, 0.3)), FewShots(5, (0.8, 0.8), (0.7, 0.7))],
)


def test_probe_rows__in_the_order_of_reading() -> None:
    assert probe_rows(FOUND, unreadable=0, folder=Path("out")) == {
        "1-NN": "50.00%  95% between 40.00% and 60.00%",
        "5-NN": "75.00%  95% between 70.00% and 80.00%",
        "linear probe": "90.00%  95% between 85.00% and 95.00%  (L2 0.01)",
        "1 picture a class": "linear 50.0% ± 10.0%, nearest class mean 30.0% ± 0.0%",
        "5 pictures a class": "linear 80.0% ± 0.0%, nearest class mean 70.0% ± 0.0%",
        "pictures": "1,000 to learn from, 200 to measure, 10 classes",
        "files": "out",
    }


def test_probe_rows__tell_what_went_wrong() -> None:
    found = replace(FOUND, trials=[Trial(1e-4, 0.9, 0.3, False), Trial(0.01, 0.9, 0.3, True)])
    rows = probe_rows(found, unreadable=3, folder=Path("out"))
    assert rows["not readable"] == "3 more, left out of the numbers; probe.json names them"
    assert rows["not converged"] == "L2 0.0001"
