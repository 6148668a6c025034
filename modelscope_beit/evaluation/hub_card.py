"""What the card of a hub model says of it, to be told beside a result of our own."""

from collections.abc import Mapping, Sequence

from modelscope_beit.model_folder.label_files import imagenet_1k_labels

# names.HUB_LARGE on the 50,000 validation pictures of ImageNet-1k, in percent.
LARGE_ON_IMAGENET = {"accuracy_top-1": 88.356, "accuracy_top-5": 98.578}

_LARGE_PARAMETERS = 304_430_568
_VALIDATION_PICTURES = 50_000


def hub_card_numbers(*, num_parameters: int, class_names: Sequence[str], pictures: int) -> dict[str, float] | None:
    """Returns the card's numbers if this was the hub's large model on ImageNet's validation pictures, else None.

    Only sizes and class names are compared: other weights of the same network get the same numbers to compare with.
    """
    is_large = num_parameters == _LARGE_PARAMETERS and pictures == _VALIDATION_PICTURES
    return LARGE_ON_IMAGENET if is_large and tuple(class_names) == imagenet_1k_labels() else None


def hub_card_in_words(numbers: Mapping[str, float]) -> str:
    """Returns e.g. "accuracy_top-1 88.356%, accuracy_top-5 98.578% (the hub's card of the large model; not ours)"."""
    told = ", ".join(f"{key} {value:.3f}%" for key, value in numbers.items())
    return f"{told} (the hub's card of the large model, not measured here)"
