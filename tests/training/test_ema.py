import pytest
import torch
from torch import nn

from modelscope_beit.settings.run_settings import EmaSettings
from modelscope_beit.training.ema import WeightAverage


class _Runner:
    """As much of mmcv's runner as its hook looks at."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.iter = 0


@pytest.mark.parametrize(("momentum", "interval", "warm_up"), [(0.0002, 1, 100), (0.1, 1, 5), (0.3, 3, 2)])
def test_update__equals_the_hook_of_mmcv(momentum: float, interval: int, warm_up: int) -> None:
    hooks = pytest.importorskip("mmcv.runner.hooks", reason="mmcv 1.x does not build here")
    torch.manual_seed(0)
    network = nn.Linear(3, 2)
    runner = _Runner(network)
    theirs = hooks.EMAHook(momentum=momentum, interval=interval, warm_up=warm_up)
    ours = WeightAverage(network, EmaSettings(momentum, interval, warm_up))
    theirs.before_run(runner)
    for iteration in range(40):
        with torch.no_grad():
            for weight in (network.weight, network.bias):
                weight.add_(torch.randn_like(weight))
        runner.iter = iteration
        theirs.after_train_iter(runner)
        ours.update(iteration)
    torch.testing.assert_close(ours.state()["weight"], network.ema_weight)
    torch.testing.assert_close(ours.state()["bias"], network.ema_bias)


def test_in_place_of_weights__lends_the_average_and_gives_the_weights_back() -> None:
    network = nn.Linear(2, 2)
    average = WeightAverage(network, EmaSettings(0.5, 1, 0))
    start = network.weight.detach().clone()
    with torch.no_grad():
        network.weight.add_(1)
    with pytest.raises(ZeroDivisionError), average.in_place_of_weights():
        assert torch.equal(network.weight, start)
        raise ZeroDivisionError
    assert torch.equal(network.weight, start + 1)
    assert torch.equal(average.state()["weight"], start)


def test_load__goes_on_from_a_saved_average() -> None:
    network = nn.Linear(2, 2)
    average = WeightAverage(network, EmaSettings(0.5, 1, 0))
    saved = {name: torch.full_like(tensor, 7) for name, tensor in average.state().items()}
    average.load(saved)
    assert all((tensor == 7).all() for tensor in average.state().values())
