"""Where a model goes, as a person writes it."""

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.publishing.destination import Destination, read_destination


def test_read_destination__of_each_hub() -> None:
    found = read_destination("modelscope:me/pets_2-b.c", revision="v1")
    assert found == Destination("modelscope", "me/pets_2-b.c", "v1")
    assert (found.name, str(found)) == ("pets_2-b.c", "modelscope:me/pets_2-b.c (v1)")
    assert str(read_destination("huggingface:me/pets")) == "huggingface:me/pets"


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("me/pets", "modelscope:me/pets or huggingface:me/pets"),
        ("github:me/pets", "expected modelscope or huggingface"),
        ("modelscope:pets", "namespace/name is expected"),
        ("modelscope:a/b/c", "namespace/name is expected"),
        ("modelscope:me/", "namespace/name is expected"),
        ("modelscope:me/-pets", "namespace/name is expected"),
        ("modelscope:../pets", "namespace/name is expected"),
        ("huggingface:me/pe--ts", "namespace/name is expected"),
        ("huggingface:me/pe ts", "namespace/name is expected"),
    ],
)
def test_read_destination__says_what_is_wrong(text: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=hint):
        read_destination(text)
