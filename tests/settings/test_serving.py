"""What can be asked of a server."""

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.serving import ServingSettings


def test_settings__tell_everything_that_is_wrong_at_once() -> None:
    with pytest.raises(SettingsError) as caught:
        ServingSettings(port=70000, workers=0, max_batch=-1, timeout=0, queue=1, max_pictures=2, token="two\nlines")
    for part in ("port", "70000", "workers", "max_batch", "timeout", "max_pictures (2)", "token"):
        assert part in str(caught.value)
    assert "two" not in str(caught.value)


@pytest.mark.parametrize("timeout", [float("inf"), float("nan"), -1.0])
def test_settings__refuse_a_time_that_never_ends(timeout: float) -> None:
    with pytest.raises(SettingsError, match="timeout must be a number of seconds above 0"):
        ServingSettings(timeout=timeout)


def test_settings__keep_the_token_to_themselves() -> None:
    assert "secret" not in repr(ServingSettings(token="secret"))


@pytest.mark.parametrize("delay", [-0.1, 30.0])
def test_settings__refuse_a_delay_that_no_answer_survives(delay: float) -> None:
    with pytest.raises(SettingsError, match="batch_delay"):
        ServingSettings(batch_delay=delay, timeout=30.0)


def test_settings__listen_to_this_machine_only_unless_told() -> None:
    settings = ServingSettings()
    assert (settings.host, settings.allow_urls, settings.token) == ("127.0.0.1", False, None)
