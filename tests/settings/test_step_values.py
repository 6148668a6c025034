from dataclasses import dataclass

import pytest

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings import step_values
from modelscope_beit.settings.step_values import StepSettings, read_step


@dataclass(frozen=True)
class Blur(StepSettings):
    radius: int
    edge: str | tuple = "mirror"

    def __post_init__(self) -> None:
        self.refuse([] if isinstance(self.radius, int) else [f"radius is {self.radius}", "try a number"])


@dataclass(frozen=True)
class Keep(StepSettings):
    changes_pixels = False
    keys: tuple[str, ...] = ()


KINDS = {"Blur": Blur, "Keep": Keep}


def problem_of(mapping: object) -> str:
    with pytest.raises(SettingsError) as caught:
        read_step(mapping, KINDS, "testing")
    return str(caught.value)


def test_read_step__lists_become_tuples_at_any_depth():
    assert read_step({"type": "Blur", "radius": 2, "edge": [[1], 2]}, KINDS, "testing") == Blur(2, ((1,), 2))


def test_read_step__comments_and_keys_that_change_no_pixel_stay():
    read = read_step({"type": "Keep", "meta_keys": ("name",), "_why": "so"}, KINDS, "testing")
    assert read.extra == {"meta_keys": ["name"], "_why": "so"}
    assert read_step({"type": "Blur", "radius": 1, "_why": "so"}, KINDS, "testing").extra == {"_why": "so"}


@pytest.mark.parametrize(
    ("mapping", "expected"),
    [
        ("Blur", "is 'Blur', but a mapping with the name of a step under 'type' is expected."),
        ({"radius": 1}, "a mapping with the name of a step under 'type' is expected"),
        ({"type": 3}, "a mapping with the name of a step under 'type' is expected"),
        ({"type": "Blurr"}, "is of type 'Blurr', which is no step of testing; did you mean Blur?."),
        ({"type": "Zoom"}, "known are Blur, Keep"),
        ({"type": "Blur"}, "Blur: radius is missing."),
        ({"type": "Blur", "radius": 1, "radios": 2}, "Blur: nobody knows the key 'radios'; did you mean radius?."),
        ({"type": "Blur", "radios": 2}, "nobody knows the key 'radios'; did you mean radius?; radius is missing."),
        ({"type": "Blur", "radius": "a"}, "Blur: radius is a; try a number."),
    ],
    ids=str,
)
def test_read_step__problems(mapping, expected):
    assert expected in problem_of(mapping)


def test_step_settings__what_may_follow_normalize():
    assert Keep().may_follow_normalize()
    assert not Blur(1).may_follow_normalize()


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (lambda value: step_values.flag_problems("x", value), [True, False], [1, None, "yes"]),
        (lambda value: step_values.share_problems(x=value), [0, 1, 0.5], [-0.1, 1.1, True, "1", float("nan")]),
        (lambda value: step_values.number_problems(x=value), [0, -7.5], [True, None, float("inf")]),
        (
            lambda value: step_values.range_problems("x", value, above=0),
            [(1, 2), (0.5, 0.5)],
            [(2, 1), (0, 1), 1, (1, 2, 3), ("a", "b")],
        ),
        (lambda value: step_values.byte_problems("x", value), [0, 255, (1, 2, 3.5)], [-1, 256, (1, 2), (0, 0, 300)]),
        (
            lambda value: step_values.resampling_problems("cv2", value),
            ["area", "lanczos"],
            ["box", "hamming", 3],
        ),
        (
            lambda value: step_values.resampling_problems("torchvision", value),
            ["nearest", "lanczos"],
            ["area", "box", "hamming"],
        ),
        (
            lambda value: step_values.resampling_problems(value, "bicubic"),
            ["cv2", "pillow", "torchvision"],
            ["PIL", None],
        ),
    ],
)
def test_checks__name_value_and_expectation(check, good, bad):
    assert all(check(value) == [] for value in good)
    for value in bad:
        (problem,) = check(value)
        assert repr(value) in problem
        assert "expected" in problem


def test_is_size__sides_and_pairs():
    assert all(map(step_values.is_size, [1, (3, 4)]))
    assert not any(map(step_values.is_size, [0, True, (0, 1), (1, 2, 3), 2.0, None]))
