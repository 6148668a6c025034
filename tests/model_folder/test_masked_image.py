import pytest
import torch

import helpers
from modelscope_beit.errors import CheckpointError, SettingsError
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder.masked_image import open_masked_image_model
from modelscope_beit.settings.preprocessing import Resize


@pytest.fixture
def their_folder(tmp_path):
    """A folder of transformers with a small model and its processor, and the model."""
    transformers = pytest.importorskip("transformers", minversion="5.0", reason="the oracle is transformers 5")
    config = transformers.BeitConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=32,
        patch_size=8,
        use_shared_relative_position_bias=True,
        use_mask_token=True,
    )
    model = helpers.with_random_weights(transformers.BeitForMaskedImageModeling(config)).eval()
    model.save_pretrained(tmp_path / "theirs")
    processor = transformers.BeitImageProcessor(size={"height": 32, "width": 32})
    processor.save_pretrained(tmp_path / "theirs")
    return tmp_path / "theirs", model, processor


def test_open_masked_image_model__from_a_picture_to_their_logits(their_folder, ten_images):
    folder, theirs, processor = their_folder
    opened = open_masked_image_model(str(folder))
    assert opened.preprocessing[1] == Resize((32, 32), interpolation="bicubic", backend="torchvision")
    assert not opened.network.training
    mask = torch.arange(16)[None] % 3 == 0
    picture = read_image(ten_images[0])
    with torch.no_grad():
        logits = opened.network(opened.transform(picture)[None], mask)
        expected = theirs(processor(picture, return_tensors="pt")["pixel_values"], bool_masked_pos=mask).logits
    assert logits.shape == (1, 16, 8192)
    assert (logits - expected).abs().max() <= 1e-5


def test_open_masked_image_model__problems_name_what_was_given(tmp_path, tiny_model_folder):
    with pytest.raises(CheckpointError, match="nothing"):
        open_masked_image_model(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="tiny_model"):
        open_masked_image_model(tiny_model_folder)
    with pytest.raises(SettingsError, match="gpuu"):
        open_masked_image_model(tiny_model_folder, device="gpuu")
