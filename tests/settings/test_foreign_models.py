"""Settings of networks that mmcls builds; those of timm are tested in test_timm_models.py."""

from modelscope_beit.settings.foreign_models import MmclsModelSettings, head_has_layers

HEAD = {"type": "LinearClsHead", "num_classes": 5, "in_channels": 8}


def test_with_num_classes__changes_a_copy() -> None:
    settings = MmclsModelSettings({"backbone": {"type": "ResNet"}, "head": HEAD}, 5, ("why",))
    changed = settings.with_num_classes(3)
    assert changed.num_classes == 3
    assert changed.mm_model == {"backbone": {"type": "ResNet"}, "head": HEAD | {"num_classes": 3}}
    assert HEAD["num_classes"] == 5 and changed.reasons == ("why",)


def test_with_num_classes__of_a_head_without_layers() -> None:
    vgg = {"backbone": {"type": "VGG", "num_classes": 1000}, "head": {"type": "MultiLabelClsHead"}}
    assert not head_has_layers(vgg) and head_has_layers({"head": HEAD}) and head_has_layers({})
    assert MmclsModelSettings(vgg, 1000, ()).with_num_classes(20).mm_model == {
        "backbone": {"type": "VGG", "num_classes": 20},
        "head": {"type": "MultiLabelClsHead"},
    }
