"""The recipe of a stage: its defaults are the published ones, and what cannot be run is refused at once."""

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.pretraining_run import PretrainingRun


def test_pretraining_run__is_the_published_one_of_masked_image_modelling() -> None:
    """unilm/beit2 PRETRAINING.md: 300 epochs, 128 pictures on each of 16 GPUs."""
    run = PretrainingRun()
    assert (run.epochs, 16 * run.batch_size, run.lr, run.min_lr, run.warm_up_epochs) == (300, 2048, 1.5e-3, 1e-5, 10)
    assert (run.betas, run.eps, run.weight_decay, run.clip) == ((0.9, 0.98), 1e-8, 0.05, 3.0)


def test_pretraining_run__lists_everything_that_is_wrong() -> None:
    with pytest.raises(SettingsError) as caught:
        PretrainingRun(
            iterations=3, batch_size=0, workers=-1, lr=1e-6, betas=(0.9, 1.0), clip=0.0, precision="int8"  # type: ignore[arg-type]
        )  # fmt: skip
    assert str(caught.value).splitlines()[1:] == [
        "- one of epochs (300) and iterations (3) must be null",
        "- batch_size must be at least 1, not 0",
        "- workers must not be negative, but is -1",
        "- min_lr (1e-05) must lie between 0 and lr (1e-06)",
        "- betas must be two numbers from 0 to below 1, not (0.9, 1.0)",
        "- clip must be above 0, or null for none, not 0",
        "- precision must be one of auto, fp32, bf16, fp16, not 'int8'",
    ]
