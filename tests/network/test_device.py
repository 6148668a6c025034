import pytest
import torch

from modelscope_beit.errors import SettingsError
from modelscope_beit.network.device import find_device


def test_find_device__cpu_is_always_there() -> None:
    assert find_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu:1", "cuda:1"])
def test_find_device__modelscopes_and_torchs_names_are_the_same(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert find_device(name) == torch.device("cuda", 1)


@pytest.mark.parametrize(("num_gpus", "said"), [(0, "sees no GPU"), (1, "sees 1 GPU, cuda:0"), (2, "cuda:0 to cuda:1")])
def test_find_device__says_which_gpus_there_are(monkeypatch: pytest.MonkeyPatch, num_gpus: int, said: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)
    with pytest.raises(SettingsError, match=said):
        find_device("gpu:7")


def test_find_device__auto_takes_the_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find_device("auto") == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert find_device("auto") == torch.device("cuda")


def test_find_device__refuses_a_name_that_is_none() -> None:
    with pytest.raises(SettingsError, match=r"'cpux'.*cpu, cuda, cuda:NUMBER"):
        find_device("cpux")
