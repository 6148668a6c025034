"""Conversions there and back; timm, transformers and mmcls write the sources and judge the targets."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

import helpers
from modelscope_beit.errors import CheckpointError, ModelFolderError, UntrustedCodeError
from modelscope_beit.features.extracting import extract_features
from modelscope_beit.features.unlabelled import unlabelled_records
from modelscope_beit.images.reading import read_image
from modelscope_beit.model_folder import conversion
from modelscope_beit.model_folder.conversion import ConversionRequest, convert
from modelscope_beit.model_folder.label_files import imagenet_1k_labels
from modelscope_beit.model_folder.opening import open_model

ROUNDING = 1e-5


@pytest.fixture
def timm_beit():
    timm = pytest.importorskip("timm", reason="timm is the oracle")
    model = timm.create_model(
        "beitv2_base_patch16_224", img_size=32, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=1000
    )
    return helpers.with_random_weights(model).eval()


@pytest.fixture
def timm_file(tmp_path, timm_beit):
    save_file(timm_beit.state_dict(), tmp_path / "beitv2_tiny.safetensors")
    return tmp_path / "beitv2_tiny.safetensors"


def run(source, target, **options):
    return convert(source, target, ConversionRequest(**options))


def logits_of(model, side=32):
    images = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        output = model(images)
    return output if isinstance(output, torch.Tensor) else output.logits


def test_convert__timm_file_to_model_folder(tmp_path, timm_file, timm_beit):
    done = run(timm_file, tmp_path / "model")
    opened = open_model(tmp_path / "model")
    assert (logits_of(opened.network) - logits_of(timm_beit)).abs().max() <= ROUNDING
    assert opened.class_names == imagenet_1k_labels()
    assert opened.settings.preprocessing[1].size == (35, -1)  # floor(32 / 0.9), timm's crop of base.
    assert done.proof.library == "timm"
    assert done.proof.largest_difference <= ROUNDING
    assert "assumed" in done.names_origin
    card = (tmp_path / "model" / "README.md").read_text()
    assert done.source.digest in card
    assert "beitv2_tiny.safetensors" in card


@pytest.mark.parametrize("to", ["unilm", "timm", "transformers"])
def test_convert__there_and_back_is_bit_equal(tmp_path, timm_file, to):
    run(timm_file, tmp_path / "model")
    done = run(tmp_path / "model", tmp_path / "foreign.pth", to=to)
    run(tmp_path / "foreign.pth", tmp_path / "again", labels=tmp_path / "model" / "classname.txt")
    before, after = open_model(tmp_path / "model"), open_model(tmp_path / "again")
    expected = before.network.state_dict()
    assert after.network.state_dict().keys() == expected.keys()
    assert all(torch.equal(tensor, expected[key]) for key, tensor in after.network.state_dict().items())
    assert after.class_names == before.class_names
    assert done.proof.largest_difference <= ROUNDING
    assert done.proof.library == ("transformers" if to == "transformers" else "timm")


def test_convert__back_to_timm_has_timms_own_keys(tmp_path, timm_file, timm_beit):
    timm = pytest.importorskip("timm", reason="timm is the oracle")
    run(timm_file, tmp_path / "model")
    run(tmp_path / "model", tmp_path / "timm_folder", to="timm")
    written = load_file(tmp_path / "timm_folder" / "model.safetensors")
    assert written.keys() == timm_beit.state_dict().keys()
    opened = timm.create_model(f"local-dir:{tmp_path / 'timm_folder'}", pretrained=True).eval()
    assert torch.equal(logits_of(opened), logits_of(timm_beit))


def test_convert__transformers_folder_keeps_its_names(tmp_path):
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle")
    config = transformers.BeitConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=32, patch_size=8
    )
    config.use_relative_position_bias = True
    config.id2label = {0: "cat", 1: "dog", 2: "owl"}
    model = helpers.with_random_weights(transformers.BeitForImageClassification(config)).eval()
    model.save_pretrained(tmp_path / "theirs")
    done = run(tmp_path / "theirs", tmp_path / "model")
    opened = open_model(tmp_path / "model")
    assert opened.class_names == ("cat", "dog", "owl")
    assert done.names_origin == "the source"
    assert (logits_of(opened.network) - logits_of(model)).abs().max() <= ROUNDING


def test_convert__another_size(tmp_path, timm_file):
    run(timm_file, tmp_path / "model")
    configuration = json.loads((tmp_path / "model" / "configuration.json").read_text())
    assert configuration["preprocessor"]["train"][1]["size"] == 32
    done = run(tmp_path / "model", tmp_path / "larger", image_size=(64, 64))
    opened = open_model(tmp_path / "larger")
    assert opened.network(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
    assert opened.settings.model.backbone.image_size == (64, 64)
    assert done.proof.largest_difference <= ROUNDING  # At the source's own size.
    configuration = json.loads((tmp_path / "larger" / "configuration.json").read_text())
    assert configuration["preprocessor"]["train"][1]["size"] == 64
    assert configuration["preprocessor"]["val"][2]["crop_size"] == 64


def test_convert__onto_itself(tmp_path, timm_file):
    run(timm_file, tmp_path / "model")
    done = run(tmp_path / "model", tmp_path / "model", image_size=(64, 64), overwrite=True)
    assert done.proof.largest_difference <= ROUNDING
    assert open_model(tmp_path / "model").settings.model.backbone.image_size == (64, 64)


def test_convert__keeps_the_recipe_of_a_model_folder(tmp_path, tiny_model_folder):
    file = tiny_model_folder / "configuration.json"
    file.write_text(json.dumps(helpers.TINY_CONFIGURATION | {"train": {"optimizer": {"type": "SGD", "lr": 1.0}}}))
    run(tiny_model_folder, tmp_path / "copy")
    written = json.loads((tmp_path / "copy" / "configuration.json").read_text())
    assert written["train"]["optimizer"] == {"type": "SGD", "lr": 1.0}
    assert open_model(tmp_path / "copy").class_names == helpers.TINY_CLASSES


def test_convert__labels(tmp_path, tiny_model_folder, tiny_classifier):
    weights = tiny_model_folder / "pytorch_model.pt"
    torch.save(tiny_classifier.state_dict(), weights)
    with pytest.raises(ModelFolderError, match="what its 5 classes are called; give --labels FILE"):
        run(weights, tmp_path / "model")
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\nc\n")
    with pytest.raises(ModelFolderError, match="gives 3 class names, but the network's head has 5"):
        run(weights, tmp_path / "model", labels=labels)
    assert not (tmp_path / "model").exists()
    labels.write_text("a\nb\nc\nd\ne\n")
    assert run(weights, tmp_path / "model", labels=labels).class_names == tuple("abcde")
    # The other formats can do without.
    assert run(weights, tmp_path / "unnamed.pth", to="unilm").class_names is None


@pytest.fixture
def headless_file(tmp_path, timm_beit):
    state = {key: tensor for key, tensor in timm_beit.state_dict().items() if not key.startswith("head.")}
    torch.save({"model": state}, tmp_path / "beitv2_headless.pth")
    return tmp_path / "beitv2_headless.pth"


def test_convert__a_fresh_head_does_not_pass_for_imagenets(tmp_path, headless_file):
    with pytest.raises(ModelFolderError, match=r"has no classifier(.|\n)*--labels FILE(.|\n)*--num-classes N"):
        run(headless_file, tmp_path / "model")
    done = run(headless_file, tmp_path / "model", num_classes=3)
    assert done.class_names == ("class 0", "class 1", "class 2")
    assert done.proof.largest_difference is None
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\n")
    assert run(headless_file, tmp_path / "other", labels=labels).class_names == ("a", "b")


@pytest.fixture
def their_beit(tmp_path):
    """A function that writes a small BEiT of transformers and its processor, and gives the folder and the model."""
    transformers = pytest.importorskip("transformers", minversion="5.0", reason="the oracle is transformers 5")

    def write(name, **configuration):
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        config = transformers.BeitConfig(image_size=32, patch_size=8, vocab_size=11, **sizes, **configuration)
        model = helpers.with_random_weights(getattr(transformers, name)(config)).eval()
        model.save_pretrained(tmp_path / "theirs")
        transformers.BeitImageProcessor(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "theirs")
        return tmp_path / "theirs", model

    return write


@pytest.mark.parametrize("mean", [True, False])
def test_convert__features_of_a_transformers_folder_without_a_head(tmp_path, their_beit, ten_images, mean):
    transformers = pytest.importorskip("transformers", reason="the oracle is transformers")
    folder, theirs = their_beit("BeitModel", use_relative_position_bias=True, use_mean_pooling=mean)
    done = run(folder, tmp_path / "model", num_classes=3)
    assert (done.proof.compared, done.proof.library) == ("features", "transformers")
    assert done.proof.largest_difference <= ROUNDING
    opened = open_model(tmp_path / "model")
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    records = unlabelled_records([str(path) for path in ten_images], "pictures")
    pixels = [processor(read_image(path), return_tensors="pt")["pixel_values"] for path in ten_images]
    with torch.no_grad():
        expected = theirs(torch.cat(pixels))
    tokens = expected.last_hidden_state
    for feature, values in {
        "pooled": expected.pooler_output,
        "class_token": tokens[:, 0],
        "mean": tokens[:, 1:].mean(dim=1),
    }.items():
        found = extract_features(opened, records, feature=feature, workers=0)
        assert not found.errors
        assert abs(found.features - values.numpy()).max() <= ROUNDING


def test_convert__masked_image_model_is_the_start_of_a_classifier(tmp_path, their_beit):
    folder, theirs = their_beit(
        "BeitForMaskedImageModeling", use_shared_relative_position_bias=True, use_mask_token=True
    )
    run(folder, tmp_path / "model", num_classes=3)
    features = open_model(tmp_path / "model").network.backbone.features(torch.ones(1, 3, 32, 32))
    with torch.no_grad():
        tokens = theirs.beit(torch.ones(1, 3, 32, 32)).last_hidden_state
    assert (features.patch_tokens - tokens[:, 1:]).abs().max() <= ROUNDING


def test_convert__to_transformers_says_what_its_processor_does_otherwise(tmp_path, their_beit, timm_file):
    run(timm_file, tmp_path / "model")
    done = run(tmp_path / "model", tmp_path / "for_transformers", to="transformers")
    assert ["Pillow" in told or "crop lies one pixel" in told for told in done.differences] == [True, True]
    folder, _ = their_beit("BeitForImageClassification", use_relative_position_bias=True, id2label={0: "cat", 1: "dog"})
    assert run(folder, tmp_path / "from_them").differences == ()
    assert run(tmp_path / "from_them", tmp_path / "back", to="transformers").differences == ()


@pytest.mark.parametrize("to", ["modelscope", "timm", "transformers", "unilm"])
def test_convert__does_not_write_over_what_is_there(tmp_path, timm_file, to):
    target = tmp_path / "target"
    if to == "unilm":
        target.write_text("precious")
    else:
        target.mkdir()
        (target / "precious.txt").write_text("precious")
    with pytest.raises(ModelFolderError):
        run(timm_file, target, to=to)
    if to != "unilm":
        with pytest.raises(ModelFolderError):
            run(timm_file, target, to=to, overwrite=True)
    precious = target if to == "unilm" else target / "precious.txt"
    assert precious.read_text() == "precious"


def test_convert__code_in_the_source_folder_is_not_passed_over(tmp_path, tiny_model_folder):
    (tiny_model_folder / "config.py").write_text("model = {}")
    with pytest.raises(UntrustedCodeError, match="trust_remote_code"):
        run(tiny_model_folder, tmp_path / "copy")


def test_convert__trusted_code_tells_the_steps(tmp_path, tiny_model_folder):
    content = copy.deepcopy(helpers.TINY_CONFIGURATION)
    steps = [step | ({"size": (40, -1)} if step["type"] == "Resize" else {}) for step in content["preprocessor"]["val"]]
    code = f"model = {content['model']['mm_model']}\ndata = dict(test=dict(pipeline={steps}))\n"
    (tiny_model_folder / "config.py").write_text(code)
    run(tiny_model_folder, tmp_path / "copy", trust_remote_code=True)
    plain, converted = open_model(tiny_model_folder, trust_remote_code=True), open_model(tmp_path / "copy")
    assert not (tmp_path / "copy" / "config.py").exists()
    assert (40, -1) in [getattr(step, "size", None) for step in converted.settings.preprocessing]
    assert converted.settings.preprocessing == plain.settings.preprocessing
    assert torch.equal(logits_of(converted.network), logits_of(plain.network))


def test_convert__a_disk_that_lies(tmp_path, timm_file, monkeypatch):
    write = conversion.write_model_folder

    def write_other_numbers(folder, settings, tensors, **options):
        return write(folder, settings, tensors | {"head.fc.bias": tensors["head.fc.bias"] + 1e-6}, **options)

    monkeypatch.setattr(conversion, "write_model_folder", write_other_numbers)
    with pytest.raises(CheckpointError, match="other numbers for head.fc.bias"):
        run(timm_file, tmp_path / "model")


def test_convert__a_calibrated_folder_stays_calibrated(tmp_path, tiny_model_folder):
    helpers.calibrate_by_hand(tiny_model_folder, 1.5, -2.0)
    run(tiny_model_folder, tmp_path / "model")
    written = open_model(tmp_path / "model").confidence
    assert (written.temperature, written.unknown_below) == (1.5, -2.0)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"to": "unilm"}, "no place for it in what unilm reads"),
        ({"image_size": (48, 48)}, "pictures of another size give other scores"),
    ],
)
def test_convert__drops_the_calibration_with_a_word(tmp_path, tiny_model_folder, caplog, options, why):
    helpers.calibrate_by_hand(tiny_model_folder, 1.5, -2.0)
    run(tiny_model_folder, tmp_path / "model", **options)
    assert why in caplog.text
    if "to" not in options:
        assert open_model(tmp_path / "model").confidence is None


def test_convert__drops_a_calibration_for_other_weights(tmp_path, tiny_model_folder, caplog):
    helpers.calibrate_by_hand(tiny_model_folder, 1.5, -2.0, weights="configuration.json")
    run(tiny_model_folder, tmp_path / "model")
    assert "for other weights than the folder's" in caplog.text
    assert open_model(tmp_path / "model").confidence is None
