"""What the server says where it listens."""

import pytest

from modelscope_beit.commands.serve_view import tell_address


@pytest.mark.parametrize(("host", "address"), [("127.0.0.1", "http://127.0.0.1:80;"), ("::1", "http://[::1]:80;")])
def test_tell_address__is_an_address_that_can_be_clicked(
    host: str, address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tell_address(host, 80)
    captured = capsys.readouterr()
    assert address in captured.err and captured.out == ""
