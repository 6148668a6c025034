"""The rate follows the batch in this stage and in no other (trap 28)."""

import pytest

from modelscope_beit.settings.tokenizer_recipe import scaled_rate, with_tokenizer_rules


def test_scaled_rate__of_the_published_512_pictures() -> None:
    assert scaled_rate(512) == pytest.approx(2e-4)


def test_with_tokenizer_rules__min_lr_never_exceeds_the_peak() -> None:
    found = with_tokenizer_rules({"batch_size": 8}, 1)
    assert found["lr"] == pytest.approx(3.125e-6) and found["min_lr"] == found["lr"]


@pytest.mark.parametrize(
    ("run", "name", "expected"),
    [
        ({"epochs": 5}, "warm_up_epochs", 0),
        ({"epochs": 100}, "warm_up_epochs", 10),
        ({"iterations": 450}, "warm_up_iterations", 45),
        ({"iterations": 450, "warm_up_iterations": 3}, "warm_up_iterations", 3),
    ],
)
def test_with_tokenizer_rules__warms_up_for_a_tenth(run: dict, name: str, expected: int) -> None:
    assert with_tokenizer_rules(run, 1)[name] == expected


def test_with_tokenizer_rules__leaves_what_is_of_a_wrong_kind() -> None:
    assert with_tokenizer_rules({"batch_size": "many", "epochs": "few"}, 1) == {"batch_size": "many", "epochs": "few"}
