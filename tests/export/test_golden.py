import numpy as np
import pytest
import torch
from PIL import Image

from modelscope_beit.errors import ExportError, SettingsError
from modelscope_beit.export.golden import make_golden, packaged_pictures, read_golden, transformed, write_golden
from modelscope_beit.images.reading import read_image


def test_make_golden__is_what_the_network_answers(embedded) -> None:
    golden = make_golden(embedded.network, embedded.transform, dynamic_size=False)
    assert len(golden.pictures) == len(packaged_pictures()) == 20
    number = golden.pictures.index("bag_00018.png")
    images = embedded.transform(read_image(packaged_pictures()[number]))[None]
    np.testing.assert_array_equal(golden.images[number], images[0].numpy())
    with torch.inference_mode():
        logits = embedded.network(images)[0]
    np.testing.assert_allclose(golden.logits[number], logits.numpy(), atol=1e-5)
    assert embedded.class_names[int(golden.logits[number].argmax())] == "Bag"
    assert golden.spread() == pytest.approx(golden.logits.std())
    assert not len(golden.other_images)


def test_make_golden__another_size_for_a_network_that_takes_any(embedded) -> None:
    network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    golden = make_golden(network, embedded.transform, dynamic_size=True)
    assert golden.other_images.shape == (4, 3, 32, 64)
    np.testing.assert_array_equal(golden.other_images[:, :, :28, :28], golden.images[:4])
    np.testing.assert_allclose(golden.other_logits, golden.other_images.mean(axis=(2, 3)), atol=1e-5)


def test_transformed__refuses_pictures_of_different_sizes(tmp_path) -> None:
    for width in (10, 20):
        Image.new("RGB", (width, 10)).save(tmp_path / f"{width}.png")
    with pytest.raises(SettingsError, match="different sizes.*add a CenterCrop"):
        transformed(lambda picture: torch.zeros(3, picture.height, picture.width), sorted(tmp_path.iterdir()))


def test_read_golden__reads_what_was_written(embedded, tmp_path) -> None:
    golden = make_golden(embedded.network, embedded.transform, dynamic_size=False)
    write_golden(golden, tmp_path / "golden.npz", tmp_path / "pictures")
    again = read_golden(tmp_path / "golden.npz")
    assert again.pictures == golden.pictures
    np.testing.assert_array_equal(again.images, golden.images)
    np.testing.assert_array_equal(again.logits, golden.logits)
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {*golden.pictures, "LICENSE"}


@pytest.mark.parametrize("content", [b"", b"PK\3\4 broken", b"no archive"])
def test_read_golden__broken_file(content: bytes, tmp_path) -> None:
    (tmp_path / "golden.npz").write_bytes(content)
    with pytest.raises(ExportError, match=r"golden\.npz must hold golden inputs"):
        read_golden(tmp_path / "golden.npz")


def test_read_golden__does_not_run_code(tmp_path) -> None:
    arrays = dict.fromkeys(("pictures", "images", "logits", "other_images", "other_logits"), np.array([object()]))
    np.savez(tmp_path / "golden.npz", **arrays)
    with pytest.raises(ExportError, match="cannot be read"):
        read_golden(tmp_path / "golden.npz")
