"""Reading a configuration key by key."""

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.problems import Problems, Section, plain, shown


def section(**mapping):
    return Section(mapping, "train.optimizer", Problems())


def test_raise_if_any__nothing_found():
    Problems().raise_if_any("x.json")


def test_raise_if_any__lists_both_kinds_and_the_extra():
    with pytest.raises(SettingsError) as raised:
        Problems(wrong=["a is 1: b"], foreign=["c is 2: d"]).raise_if_any("x.json")
    lines = str(raised.value).splitlines()
    assert lines[:3] == ["x.json cannot be used as it is:", "- a is 1: b", "- c is 2: d"]
    assert "modelscope-beit[openmmlab]" in lines[3]


@pytest.mark.parametrize(
    ("method", "value", "default"),
    [
        ("integer", True, 3),
        ("integer", 1.0, 3),
        ("number", "1", 0.5),
        ("number", False, 0.5),
        ("flag", 1, True),
        ("sides", [1, 2, 3], 3),
        ("sides", [1.0, 2], 3),
        ("sides", "224", 3),
    ],
)
def test_section__wrong_kind_of_value(method, value, default):
    read = section(lr=value)
    expected = (default, default) if method == "sides" else default
    assert getattr(read, method)("lr", default) == expected
    assert read.problems.wrong[0].startswith(f"train.optimizer.lr is {value!r}: ")


def test_section__absent_keys_have_defaults():
    read = section()
    assert (read.integer("a", 1), read.number("b", 2), read.flag("c", True)) == (1, 2.0, True)
    assert read.sides("d", 4) == (4, 4)
    assert not read.problems.wrong


def test_section__path_of_the_root_has_no_dot():
    root = Section({}, "", Problems())
    assert root.section("train") is None
    assert root.problems.wrong == ["train is missing: a mapping is expected"]


def test_refuse_unknown_keys__nearest_name_else_all_names():
    read = section(optimzer=1, zzz=2, _note=3, kept=4)
    read.get("optimizer")
    read.refuse_unknown_keys(harmless=("kept",))
    assert read.problems.wrong == [
        "train.optimizer.optimzer is 1: nobody knows this key; did you mean optimizer?",
        "train.optimizer.zzz is 2: nobody knows this key; known keys: kept, optimizer",
    ]


@pytest.mark.parametrize("token", ["ms-0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0", "hf_AbCdEfGhIjKlMnOpQrStUvWxYz012345"])
def test_shown__quotes_no_token(token: str) -> None:
    assert shown({"hub_tokn": token}) == "{'hub_tokn': '***'}"
    assert shown("ms-swift and hf_hub") == "'ms-swift and hf_hub'"


def test_shown__cuts_long_values():
    assert shown("a") == "'a'"
    assert len(shown(list(range(1000)))) == 60


def test_plain__copies_every_depth():
    addict = pytest.importorskip("addict", reason="ModelScope's configurations are addict mappings")
    original = addict.Dict(a={"b": ({"c": 1}, 2)})
    copied = plain(original)
    assert copied == {"a": {"b": [{"c": 1}, 2]}}
    assert type(copied["a"]) is dict
    copied["a"]["b"].append(3)
    assert original == {"a": {"b": ({"c": 1}, 2)}}
