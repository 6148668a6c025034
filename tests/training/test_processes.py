"""One process alone; tests/whole/test_two_processes.py has two of them."""

import pytest

from modelscope_beit.errors import TrainingError
from modelscope_beit.training.processes import Processes, _portable, is_main_process


def test_is_main_process__is_the_first_of_torchruns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RANK", raising=False)
    assert is_main_process()
    for rank, is_main in (("0", True), ("1", False), ("10", False)):
        monkeypatch.setenv("RANK", rank)
        assert is_main_process() == is_main


def test_processes__alone_nobody_is_asked() -> None:
    alone = Processes(1)
    assert alone.any(True) and not alone.any(False)
    assert alone.gathered("value") == ["value"]
    assert list(alone.each(iter("abc"))) == ["a", "b", "c"]


def test_together__alone_an_error_passes_as_it_is() -> None:
    error = MemoryError("all of it")
    with pytest.raises(MemoryError) as caught, Processes(1).together():
        raise error
    assert caught.value is error


def test_each__items_before_an_error_are_there() -> None:
    met = []
    with pytest.raises(ZeroDivisionError):
        for item in Processes(1).each(1 // (2 - number) for number in range(4)):
            met.append(item)
    assert met == [0, 1]


def test_portable__keeps_our_errors_and_names_others() -> None:
    ours = TrainingError("said so")
    assert _portable(ours) is ours and _portable(None) is None
    other = _portable(OSError("disk"))
    assert isinstance(other, TrainingError) and str(other) == "OSError: disk"
