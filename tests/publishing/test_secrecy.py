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
    logger = logging.getLogger(name)
    before = list(logger.filters)
    with caplog.at_level(logging.DEBUG, name), kept_out_of_logs(TOKEN):
        caplog.handler.setLevel(logging.DEBUG)
        logger.addHandler(caplog.handler)
        logger.debug("body=%s of %d", {"sent": f"Bearer {TOKEN}"}, 7)
        logger.debug("body=%s", "harmless")
        logger.removeHandler(caplog.handler)
    assert TOKEN not in caplog.text
    assert "{'sent': 'Bearer ***'} of 7" in caplog.text
    assert "body=harmless" in caplog.text
    assert logger.filters == before
