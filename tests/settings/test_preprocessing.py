import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.preprocessing import (
    CenterCrop,
    Collect,
    ImageToTensor,
    LoadImageFromFile,
    Normalize,
    Pad,
    Resize,
    ToTensor,
    check_order,
    evaluation_steps,
    read_steps,
    write_steps,
)

NORMALIZE = {"type": "Normalize", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375], "to_rgb": True}
# As the hub's folders have it: mmcls 0.x steps in JSON, so tuples are lists.
HUB = [
    {"type": "LoadImageFromFile", "to_float32": False, "file_client_args": {"backend": "disk"}},
    {"type": "Resize", "size": [256, -1], "backend": "pillow", "interpolation": "bicubic"},
    {"type": "CenterCrop", "crop_size": 224},
    NORMALIZE,
    {"type": "ImageToTensor", "keys": ["img"]},
    {"type": "Collect", "keys": ["img"], "meta_keys": ["filename", "ori_shape"]},
]


def problems_of(steps: list) -> str:
    with pytest.raises(SettingsError) as caught:
        read_steps(steps, "preprocessor.val")
    return str(caught.value)


def test_read_steps__hub_list():
    assert read_steps(HUB, "preprocessor.val") == (
        LoadImageFromFile(extra={"to_float32": False, "file_client_args": {"backend": "disk"}}),
        Resize((256, -1), interpolation="bicubic", backend="pillow"),
        CenterCrop(224),
        Normalize((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        ImageToTensor(),
        Collect(extra={"meta_keys": ["filename", "ori_shape"]}),
    )


def test_read_steps__tuples_mean_the_same_as_lists():
    tuples = [{key: tuple(value) if isinstance(value, list) else value for key, value in step.items()} for step in HUB]
    assert read_steps(tuple(tuples), "val") == read_steps(HUB, "val")


def test_read_steps__does_not_change_what_it_reads():
    before = json.dumps(HUB)
    read_steps(HUB, "val")
    assert json.dumps(HUB) == before


def test_read_steps__defaults_are_those_of_mmcls():
    mmcls = pytest.importorskip("mmcls.datasets.pipelines", reason="the oracle, mmcls, comes with the extra openmmlab")
    for ours, theirs in (
        (Resize(7), mmcls.Resize(7)),
        (CenterCrop(7), mmcls.CenterCrop(7)),
        (Pad(pad_to_square=True), mmcls.Pad(pad_to_square=True)),
    ):
        names = vars(ours).keys() - {"extra", "size", "crop_size", "round_down"}
        assert {name: getattr(ours, name) for name in names} == {name: getattr(theirs, name) for name in names}
    assert mmcls.Normalize([0] * 3, [1] * 3).to_rgb is Normalize((0, 0, 0), (1, 1, 1)).to_rgb


def test_write_steps__keys_of_the_file_come_back():
    written = write_steps(read_steps(HUB, "val"))
    assert written[0] == HUB[0]
    assert written[1] == HUB[1]
    assert written[5] == HUB[5]
    assert json.loads(json.dumps(written)) == written


def test_write_steps__comments_come_back():
    resize = {"type": "Resize", "size": 224, "_about": "why"}
    assert write_steps(read_steps([resize, *HUB[3:]], "val"))[0] == resize


sides = st.integers(1, 2000)
sizes = st.one_of(sides, st.tuples(sides, sides))
triples = st.tuples(*[st.floats(0.5, 255)] * 3)
resizes = st.one_of(
    st.builds(
        Resize,
        st.one_of(sizes, st.tuples(sides, st.just(-1))),
        interpolation=st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
        adaptive_side=st.sampled_from(["short", "long", "height", "width"]),
        backend=st.sampled_from(["cv2", "pillow"]),
    ),
    st.builds(CenterCrop, sizes),
    st.builds(CenterCrop, sides, efficientnet_style=st.just(True), crop_padding=st.integers(0, 99)),
    st.builds(Pad, st.tuples(sides, sides), pad_val=st.one_of(st.integers(0, 255), triples)),
    st.builds(Pad, pad_to_square=st.just(True), padding_mode=st.sampled_from(["edge", "reflect", "symmetric"])),
)


@given(st.lists(resizes, max_size=4), st.builds(Normalize, triples, triples, to_rgb=st.booleans()))
def test_write_steps__there_and_back(pixel_steps, normalize):
    steps = (LoadImageFromFile(), *pixel_steps, normalize, ImageToTensor(), ToTensor(), Collect(("img", "gt_label")))
    assert read_steps(json.loads(json.dumps(write_steps(steps))), "val") == steps


def test_read_steps__tells_all_problems_at_once():
    message = problems_of(
        [
            {"type": "Resize", "sise": 256, "backend": "pill"},
            {"type": "CentreCrop", "crop_size": 224},
            {"type": "Normalize", "mean": [0.5, 0.5], "std": [1, 1, 0]},
            "ImageToTensor",
        ]
    )
    for expected in (
        "preprocessor.val[0] Resize: nobody knows the key 'sise'; did you mean size?",
        "size is missing",
        "preprocessor.val[1] is of type 'CentreCrop'",
        "did you mean CenterCrop?",
        "preprocessor.val[2] Normalize: mean is (0.5, 0.5)",
        "std is (1, 1, 0)",
        "preprocessor.val[3] is 'ImageToTensor'",
        "must have {'type': 'ImageToTensor', 'keys': ['img']}",
    ):
        assert expected in message


@pytest.mark.parametrize(
    ("step", "expected"),
    [
        ({"type": "Resize", "size": 0}, "size is 0"),
        ({"type": "Resize", "size": True}, "size is True"),
        ({"type": "Resize", "size": "224"}, "size is '224'"),
        ({"type": "Resize", "size": [-1, 256]}, "size is (-1, 256)"),
        ({"type": "Resize", "size": [256]}, "size is (256,)"),
        ({"type": "Resize", "size": None}, "size is None"),
        ({"type": "Resize", "size": 224.0}, "size is 224.0"),
        ({"type": "Resize", "size": 224, "interpolation": "cubic"}, "bicubic"),
        ({"type": "Resize", "size": 224, "backend": "pillow", "interpolation": "area"}, "(backend pillow) is 'area'"),
        ({"type": "Resize", "size": 224, "adaptive_side": "shorter"}, "one of short, long, height, width"),
        ({"type": "Resize", "scale": [224, 224]}, "nobody knows the key 'scale'"),
        ({"type": "CenterCrop", "crop_size": -3}, "crop_size is -3"),
        ({"type": "CenterCrop", "crop_size": [224, -1]}, "crop_size is (224, -1)"),
        ({"type": "CenterCrop", "crop_size": [2, 2], "efficientnet_style": True}, "one number as crop_size"),
        ({"type": "CenterCrop", "crop_size": 2, "efficientnet_style": True, "crop_padding": -1}, "crop_padding is -1"),
        ({"type": "CenterCrop", "crop_size": 2, "efficientnet_style": "yes"}, "efficientnet_style is 'yes'"),
        ({"type": "Pad"}, "exactly one of size and pad_to_square"),
        ({"type": "Pad", "size": [3, 3], "pad_to_square": True}, "exactly one of size and pad_to_square"),
        ({"type": "Pad", "size": 3}, "size is 3"),
        ({"type": "Pad", "size": [3, 3], "pad_val": [1, 2]}, "pad_val is (1, 2)"),
        ({"type": "Pad", "size": [3, 3], "padding_mode": "wrap"}, "padding_mode is 'wrap'"),
        ({"type": "RandomResizedCrop", "size": 224}, "no step of evaluation"),
        ({"type": "Normalize", "mean": [0] * 3, "std": [1] * 3, "to_rgb": 1}, "to_rgb is 1"),
        ({"type": "Normalize", "mean": [0] * 3, "std": [1, float("nan"), 1]}, "std is (1, nan, 1)"),
        ({"type": "Collect", "keys": ["gt_label"]}, "keys is ('gt_label',)"),
        ({"type": "Collect", "keys": "img"}, "keys is 'img'"),
        ({"type": "ToTensor", "keys": "gt_label"}, "keys is 'gt_label'"),
        ({"size": 224}, "under 'type'"),
        (None, "is None"),
    ],
    ids=str,
)
def test_read_steps__refused_step(step, expected):
    message = problems_of([step, *HUB[1:]])
    assert "preprocessor.val[0]" in message
    assert expected in message


@pytest.mark.parametrize("steps", [None, "Resize", {"type": "Resize"}, 3])
def test_read_steps__no_list(steps):
    assert "a list of steps" in problems_of(steps)


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ([], "exactly one Normalize"),
        ([0, 1, 2, 4, 5], "exactly one Normalize, but has 0"),
        ([0, 1, 3, 3, 4], "exactly one Normalize, but has 2"),
        ([0, 1, 2, 3, 5], "must have {'type': 'ImageToTensor'"),
        ([1, 0, 2, 3, 4], "val[1] LoadImageFromFile: reading the file can only be the first step"),
        ([0, 3, 1, 2, 4], "val[2] Resize: must come before Normalize"),
        ([0, 1, 4, 3], "val[3] Normalize: must come before ImageToTensor"),
        ([0, 1, 3, 4, 2], "val[4] CenterCrop: must come before ImageToTensor"),
    ],
)
def test_read_steps__order_that_makes_no_tensor(order, expected):
    assert expected in problems_of([HUB[index] for index in order])


def test_read_steps__picture_made_a_tensor_too_early():
    to_tensor = {"type": "ToTensor", "keys": ["img"]}
    assert "remove it from keys" in problems_of([to_tensor, *HUB[3:]])
    assert read_steps([*HUB[3:], to_tensor], "val")[-1] == ToTensor(("img",))


def test_read_steps__crop_after_normalize_is_fine():
    assert len(read_steps([HUB[index] for index in (0, 1, 3, 2, 4, 5)], "val")) == 6


def test_check_order__efficientnet_crop_after_normalize():
    steps = [Normalize((0, 0, 0), (1, 1, 1)), CenterCrop(8, efficientnet_style=True), ImageToTensor()]
    with pytest.raises(SettingsError, match="must come before Normalize"):
        check_order(steps)


def test_steps__made_by_hand_are_checked():
    with pytest.raises(
        SettingsError, match=r"^Resize: size is 0.*backend is 'gpu'|^Resize: backend is 'gpu'.*size is 0"
    ):
        Resize(0, backend="gpu")


MEAN_STD = {"mean": [127.5] * 3, "std": [127.5] * 3}


@pytest.mark.parametrize(
    ("arguments", "size", "crop"),
    [
        ({"image_size": 224, "crop_pct": 0.9}, (248, -1), 224),  # timm: floor(224 / 0.9)
        ({"image_size": 224, "crop_pct": 0.95}, (235, -1), 224),
        ({"image_size": 224, "resize": 256}, (256, -1), 224),
        ({"image_size": 384}, (384, -1), 384),
        ({"image_size": (192, 256), "crop_pct": 1.0}, (256, -1), (192, 256)),
        ({"image_size": 224, "squash": True}, (224, 224), None),
        ({"image_size": (192, 256), "squash": True}, (192, 256), None),
        ({"image_size": 384, "crop_pct": 0.96, "squash": True}, (400, 400), 384),
        ({"image_size": 224, "resize": 256, "squash": True}, (256, 256), 224),
        ({"image_size": (168, 224), "resize": 256, "squash": True}, (192, 256), (168, 224)),
    ],
)
def test_evaluation_steps__sizes(arguments, size, crop):
    steps = evaluation_steps(**arguments, **MEAN_STD)
    assert steps[:2] == (LoadImageFromFile(), Resize(size, interpolation="bicubic", backend="pillow"))
    assert [step.crop_size for step in steps if isinstance(step, CenterCrop)] == ([] if crop is None else [crop])
    assert read_steps(write_steps(steps), "val") == steps


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"crop_pct": 0.9, "resize": 256}, "not both"),
        ({"crop_pct": 90}, "at most 1, not 90"),
        ({"interpolation": "area"}, "interpolation"),
        ({"mean": [1.0]}, "mean"),
    ],
)
def test_evaluation_steps__refused(arguments, expected):
    with pytest.raises(SettingsError, match=expected):
        evaluation_steps(224, **(MEAN_STD | arguments))
