import os
import signal
import threading

import pytest

from modelscope_beit.training.interruption import Interruption


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption__notes_the_signal_and_lives_on(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interruption() as interruption:
        assert interruption.name is None
        os.kill(os.getpid(), number)
        assert interruption.name == number.name
    assert signal.getsignal(number) is before


def test_interruption__second_signal_acts_as_usual() -> None:
    # A shell lets its background jobs ignore the signal.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with Interruption() as interruption:
            os.kill(os.getpid(), signal.SIGINT)
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), signal.SIGINT)
            assert interruption.name == "SIGINT"
    finally:
        signal.signal(signal.SIGINT, before)


def test_interruption__handlers_come_back_after_an_error() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), Interruption():
        raise ZeroDivisionError
    assert signal.getsignal(signal.SIGTERM) is before


def test_interruption__another_thread_may_train_too() -> None:
    names: list[str | None] = ["not run"]

    def work() -> None:
        with Interruption() as interruption:
            names[0] = interruption.name

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert names == [None]
