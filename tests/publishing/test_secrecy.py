"""A token does not reach a log by way of the packages that talk to hubs."""

import logging

import pytest

from modelscope_beit.publishing.secrecy import kept_out_of_logs, masked

TOKEN = "ms-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0"


def test_masked__takes_every_place_out() -> None:
    assert masked(f"a {TOKEN} b {TOKEN}", TOKEN) == "a *** b ***"
    assert masked("nothing", TOKEN) == "nothing"
    assert masked("nothing", None) == "nothing"


@pytest.mark.parametrize("name", ["modelscope_hub.legacy_api", "urllib3.connectionpool", "httpx", "modelscope_beit.x"])
def test_kept_out_of_logs__at_every_level_and_only_within(name: str, caplog: pytest.LogCaptureFixture) -> None:
    factory, logger = logging.getLogRecordFactory(), logging.getLogger(name)
    with caplog.at_level(logging.DEBUG, name), kept_out_of_logs(TOKEN):
        logger.addHandler(caplog.handler)
        logger.debug("body=%s of %d", {"sent": f"Bearer {TOKEN}"}, 7)
        logger.debug("body=%s", "harmless")
        logger.removeHandler(caplog.handler)
    assert TOKEN not in caplog.text
    assert "{'sent': 'Bearer ***'} of 7" in caplog.text
    assert "body=harmless" in caplog.text
    assert logging.getLogRecordFactory() is factory


def test_kept_out_of_logs__by_a_logger_that_is_made_within(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), kept_out_of_logs(TOKEN):
        logging.getLogger("hf_xet.made_while_it_sends").warning("sent %s", TOKEN)
    assert "sent ***" in caplog.text and TOKEN not in caplog.text


def test_kept_out_of_logs__in_a_traceback(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), kept_out_of_logs(TOKEN):
        try:
            raise ValueError(f"nobody is known by {TOKEN}")
        except ValueError:
            logging.getLogger("httpx").exception("no")
    assert "ValueError: nobody is known by ***" in caplog.text and TOKEN not in caplog.text


def test_kept_out_of_logs__where_words_and_arguments_do_not_fit(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "raiseExceptions", False)
    with caplog.at_level(logging.DEBUG), kept_out_of_logs(TOKEN):
        logging.getLogger("httpx").warning("%d pieces", TOKEN)
    assert "%d pieces ('***',)" in caplog.text and TOKEN not in caplog.text + capsys.readouterr().err
