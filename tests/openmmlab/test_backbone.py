"""Our backbone in mmcls's registry: an mmcls user's script trains it, and the checkpoint opens here."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("mmcls.apis", reason="mmcls trains the network")

import mmcls
from mmcls.apis import train_model
from mmcls.datasets import build_dataset
from mmcls.models import build_classifier
from mmcv import Config

import fresh_interpreters
import helpers
import training_jobs
from modelscope_beit.commands.model_argument import local_path
from modelscope_beit.errors import SettingsError
from modelscope_beit.model_folder.conversion import ConversionRequest, convert
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.network.classifier import build_classifier as build_native
from modelscope_beit.openmmlab.backbone import MmclsBeitBackbone
from modelscope_beit.settings.mm_model import read_mm_model

pytestmark = pytest.mark.openmmlab
MM_MODEL = copy.deepcopy(helpers.TINY_CONFIGURATION["model"]["mm_model"])
MM_MODEL["backbone"]["type"] = "BeitBackbone"
MM_MODEL["head"]["num_classes"] = 3


def keywords(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in MM_MODEL["backbone"].items() if name != "type"} | changes


@pytest.mark.parametrize(
    "changes", [{}, {"use_abs_pos_emb": True, "use_mean_pooling": False}, {"drop_path_rate": 0.1, "img_size": [32, 48]}]
)
def test_backbone__gives_what_the_native_one_gives(changes: dict[str, Any]) -> None:
    config = copy.deepcopy(MM_MODEL)
    config["backbone"] |= changes
    theirs = helpers.with_random_weights(build_classifier(copy.deepcopy(config))).eval()
    ours = build_native(read_mm_model(config)).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    height, width = ours.settings.backbone.image_size
    images = torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(ours(images), theirs.simple_test(images, softmax=False, post_process=False))
        (stage,) = theirs.backbone(images)
        assert torch.equal(stage, ours.pooled(images))


def test_backbone__refuses_what_nobody_knows() -> None:
    with pytest.raises(SettingsError, match=r"BeitBackbone cannot be used(.|\n)*drop_path_rat(.|\n)*drop_path_rate"):
        MmclsBeitBackbone(**keywords(drop_path_rat=0.1))


def test_init_weights__from_scratch_or_from_a_file(tmp_path: Path) -> None:
    fresh = MmclsBeitBackbone(**keywords())
    fresh.init_weights()
    assert float(fresh.blocks[0].attn.qkv.weight.detach().std()) == pytest.approx(0.02, rel=0.1)
    assert not fresh.blocks[0].attn.relative_position_bias_table.any()
    helpers.with_random_weights(fresh)
    torch.save({"state_dict": {f"backbone.{name}": one for name, one in fresh.state_dict().items()}}, tmp_path / "w")
    pretrained = {"type": "Pretrained", "checkpoint": str(tmp_path / "w"), "prefix": "backbone"}
    loaded = MmclsBeitBackbone(**keywords(), init_cfg=pretrained)
    loaded.init_weights()
    assert all(torch.equal(one, fresh.state_dict()[name]) for name, one in loaded.state_dict().items())


RECIPE = """
custom_imports = dict(imports=["modelscope_beit.openmmlab.backbone"])
model = {model!r}
steps = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", size=(32, 32)),
    dict(type="Normalize", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True),
    dict(type="ImageToTensor", keys=["img"]),
]
train_steps = steps + [dict(type="ToTensor", keys=["gt_label"]), dict(type="Collect", keys=["img", "gt_label"])]
test_steps = steps + [dict(type="Collect", keys=["img"])]
data = dict(
    samples_per_gpu=4, workers_per_gpu=0, persistent_workers=False,
    train=dict(type="CustomDataset", data_prefix={photos!r}, pipeline=train_steps),
    test=dict(type="CustomDataset", data_prefix={photos!r}, pipeline=test_steps),
)
optimizer = dict(type="AdamW", lr=1e-3)
optimizer_config = dict(grad_clip=None)
lr_config = dict(policy="fixed")
runner = dict(type="EpochBasedRunner", max_epochs=1)
checkpoint_config = dict(interval=1)
log_config = dict(interval=1, hooks=[])
workflow = [("train", 1)]
log_level = "ERROR"
load_from = resume_from = None
"""


@pytest.mark.filterwarnings("ignore")
def test_mmcls_script__trains_it_and_the_checkpoint_opens_here(tmp_path: Path) -> None:
    for number, row in enumerate(training_jobs.crops(12)):
        folder = tmp_path / "photos" / training_jobs.CLASSES[row["label"]]
        folder.mkdir(parents=True, exist_ok=True)
        row["image"].save(folder / f"{number}.jpg")
    (tmp_path / "recipe.py").write_text(RECIPE.format(model=MM_MODEL, photos=str(tmp_path / "photos")))
    # What mmcls's tools/train.py does.
    cfg = Config.fromfile(str(tmp_path / "recipe.py"))
    cfg.work_dir, cfg.gpu_ids, cfg.device, cfg.seed = str(tmp_path / "run"), [0], "cpu", 0
    torch.manual_seed(0)
    model = build_classifier(cfg.model)
    model.init_weights()
    before = copy.deepcopy(model.state_dict())
    dataset = build_dataset(cfg.data.train)
    cfg.checkpoint_config.meta = {"mmcls_version": mmcls.__version__, "CLASSES": dataset.CLASSES}
    train_model(model, dataset, cfg, device="cpu", timestamp="now", meta={"seed": 0})
    trained = model.state_dict()
    assert not torch.equal(before["backbone.blocks.0.attn.qkv.weight"], trained["backbone.blocks.0.attn.qkv.weight"])

    # The folder that the script leaves, and a converted one.
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "recipe.py").rename(folder / "config.py")
    (folder / "pytorch_model.pt").write_bytes((tmp_path / "run" / "epoch_1.pth").read_bytes())
    opened = open_model(folder, trust_remote_code=True)
    assert opened.class_names == ("china", "dark", "flower")
    assert type(opened.network).__name__ == "BeitClassifier", "it is native"
    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    model.eval()
    with torch.no_grad():
        expected = model.simple_test(images, softmax=False, post_process=False)
        torch.testing.assert_close(opened.network(images), expected, rtol=0, atol=1e-6)
        converted = tmp_path / "converted"
        convert(tmp_path / "run" / "epoch_1.pth", converted, ConversionRequest(family="beitv2"))
        torch.testing.assert_close(open_model(local_path(str(converted))).network(images), expected, rtol=0, atol=1e-6)
    content = json.loads((converted / "configuration.json").read_text())
    assert content["model"]["mm_model"]["backbone"]["type"] == "BEiTv2", "which ModelScope's own classes know"


ORDERS = """
import warnings
warnings.simplefilter("ignore")
{imports}
from mmcls.models import BACKBONES
print(BACKBONES.get("BEiTv2").__module__, BACKBONES.get("BeitBackbone").__module__)
"""
HOST = "import modelscope.models.cv.image_classification.backbones"
OURS = "import modelscope_beit.openmmlab.backbone"


def test_registration__beside_the_hosts_in_any_order() -> None:
    programs = [ORDERS.format(imports="\n".join(order)) for order in ((HOST, OURS), (OURS, HOST))]
    for status, output, errors in fresh_interpreters.outcomes(programs, ("torch", "mmcls.models")):
        assert status == 0, errors
        host, ours = output.split()[-2:]
        assert host == "modelscope.models.cv.image_classification.backbones.beit_v2"
        assert ours == "modelscope_beit.openmmlab.backbone"
