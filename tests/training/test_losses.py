"""Every loss beside mmcls's own, inside mmcls's own heads: only there is known what N losses become."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from modelscope_beit.errors import SettingsError
from modelscope_beit.settings.losses import AsymmetricLoss, CrossEntropyLoss, FocalLoss, LabelSmoothLoss, read_loss
from modelscope_beit.settings.problems import Problems, Section
from modelscope_beit.training.losses import balanced_weights, build_loss

N, K = 16, 7
WEIGHTS = [0.5, 1.0, 2.0, 0.1, 3.0, 1.5, 0.0]

SINGLE_LABEL = [
    {"type": "CrossEntropyLoss"},
    {"type": "CrossEntropyLoss", "loss_weight": 0.3, "class_weight": WEIGHTS},
    {"type": "LabelSmoothLoss", "label_smooth_val": 0.1},
    {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "num_classes": K, "mode": "classy_vision"},
]
PER_CLASS = [
    {"type": "CrossEntropyLoss", "use_sigmoid": True},
    {"type": "CrossEntropyLoss", "use_sigmoid": True, "class_weight": WEIGHTS, "pos_weight": WEIGHTS[::-1]},
    {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "mode": "multi_label"},
    {"type": "FocalLoss"},
    {"type": "FocalLoss", "gamma": 0.5, "alpha": 0.9, "loss_weight": 5.0},
    {"type": "AsymmetricLoss"},
    {"type": "AsymmetricLoss", "gamma_pos": 0.5, "clip": 0.0, "use_sigmoid": False},
]


@pytest.fixture
def logits():
    return 3 * torch.randn(N, K, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def class_numbers():
    return torch.arange(N) % K


@pytest.fixture
def mixed(class_numbers):
    """Two classes for every sample, their shares adding up to 1, as mixing makes them."""
    shares = torch.linspace(0, 1, N)[:, None]
    return shares * F.one_hot(class_numbers, K) + (1 - shares) * F.one_hot(class_numbers.flip(0), K)


@pytest.fixture
def several():
    """Several classes for every sample, none for some."""
    labels = (torch.rand(N, K, generator=torch.Generator().manual_seed(1)) < 0.3).float()
    labels[3] = 0
    return labels


def ours(mapping, logits, targets, **keywords):
    problems = Problems()
    settings = read_loss(Section(mapping, "loss", problems))
    assert problems == Problems()
    return build_loss(settings, K, **keywords)(logits, targets)


def scalar_of_mmcls(mapping, logits, targets, head="ClsHead"):
    """Returns what mmcls's runner would minimise: the head's loss, averaged if it is none yet."""
    heads = pytest.importorskip("mmcls.models.heads", reason="the oracle comes with the extra openmmlab")
    return getattr(heads, head)(loss=dict(mapping)).loss(logits, targets)["loss"].mean()


def same(value, expected):
    torch.testing.assert_close(value.mean(), expected, rtol=1e-6, atol=1e-6)
    return True


@pytest.mark.openmmlab
@pytest.mark.parametrize("mapping", SINGLE_LABEL, ids=str)
def test_loss__of_class_numbers_is_mmclss(mapping, logits, class_numbers):
    losses = ours(mapping, logits, class_numbers)
    assert losses.shape == (N,)
    assert same(losses, scalar_of_mmcls(mapping, logits, class_numbers))


@pytest.mark.openmmlab
@pytest.mark.parametrize("mapping", [*SINGLE_LABEL, *PER_CLASS], ids=str)
def test_loss__of_mixed_samples_is_mmclss(mapping, logits, mixed):
    theirs = mapping
    if mapping["type"] == "CrossEntropyLoss" and not mapping.get("use_sigmoid"):
        # What mmcls says to set when samples are mixed; here the targets tell.
        theirs = {**mapping, "use_soft": True}
    losses = ours(mapping, logits, mixed)
    assert losses.shape == (N,)
    assert same(losses, scalar_of_mmcls(theirs, logits, mixed))


@pytest.mark.openmmlab
@pytest.mark.parametrize("mapping", PER_CLASS, ids=str)
def test_loss__of_several_labels_is_mmclss(mapping, logits, several):
    losses = ours(mapping, logits, several, is_multi_label=True)
    assert losses.shape == (N,)
    assert same(losses, scalar_of_mmcls(mapping, logits, several, head="MultiLabelClsHead"))


@pytest.mark.openmmlab
def test_loss__doubtful_labels_count_as_present(logits, several):
    several[:, 2] = -1
    mapping = {"type": "CrossEntropyLoss", "use_sigmoid": True}
    expected = scalar_of_mmcls(mapping, logits, several, head="MultiLabelClsHead")
    assert same(ours(mapping, logits, several), expected)


@pytest.mark.openmmlab
@pytest.mark.parametrize("mapping", [one for one in PER_CLASS if one["type"] != "LabelSmoothLoss"], ids=str)
def test_loss__without_reduction_averages_over_classes_as_mmcls_does(mapping, logits, several):
    mapping = {**mapping, "reduction": "none"}
    expected = scalar_of_mmcls(mapping, logits, several, head="MultiLabelClsHead")
    assert same(ours(mapping, logits, several), expected)


@pytest.mark.openmmlab
@pytest.mark.parametrize("mapping", PER_CLASS[3:], ids=str)
def test_loss__per_class_takes_class_numbers(mapping, logits, class_numbers):
    assert same(ours(mapping, logits, class_numbers), scalar_of_mmcls(mapping, logits, class_numbers))


def test_loss__binary_cross_entropy_of_class_numbers_is_that_of_one_hot_labels(logits, class_numbers):
    mapping = {"type": "CrossEntropyLoss", "use_sigmoid": True}
    expected = F.binary_cross_entropy_with_logits(logits, F.one_hot(class_numbers, K).float(), reduction="none").sum(1)
    torch.testing.assert_close(ours(mapping, logits, class_numbers), expected)


def test_loss__smoothing_is_that_of_timm(logits, class_numbers):
    losses = pytest.importorskip("timm.loss", reason="the oracle comes with the extra timm")
    expected = losses.LabelSmoothingCrossEntropy(smoothing=0.1)(logits, class_numbers)
    assert same(ours(SINGLE_LABEL[2], logits, class_numbers), expected)


def _mindspores(logits, targets, smoothing):
    """CrossEntropySmooth of MindSpore's ViT recipe (on value 1 - s, off value s / (K - 1)), in NumPy's float64."""
    scores = logits.double().numpy()
    logarithms = scores - scores.max(1, keepdims=True)
    logarithms = logarithms - np.log(np.exp(logarithms).sum(1, keepdims=True))
    smoothed = np.full(scores.shape, smoothing / (K - 1))
    smoothed[np.arange(len(targets)), targets.numpy()] = 1 - smoothing
    return -(smoothed * logarithms).sum(1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5, (K - 1) / K])
def test_loss__smoothing_of_mindspore_is_spread_over_the_other_classes(logits, class_numbers, smoothing):
    mapping = {"type": "LabelSmoothLoss", "label_smooth_val": smoothing, "mode": "mindspore"}
    losses = ours(mapping, logits, class_numbers)
    np.testing.assert_allclose(losses, _mindspores(logits, class_numbers, smoothing), rtol=1e-6, atol=1e-6)
    # With two classes mixed, it is the mixture of what each of them would cost.
    mixed = 0.3 * F.one_hot(class_numbers, K) + 0.7 * F.one_hot(class_numbers.flip(0), K)
    expected = [_mindspores(logits, labels, smoothing) for labels in (class_numbers, class_numbers.flip(0))]
    np.testing.assert_allclose(ours(mapping, logits, mixed), 0.3 * expected[0] + 0.7 * expected[1], rtol=1e-5)


@pytest.mark.parametrize("mode", ["original", "classy_vision", "multi_label"])
def test_loss__no_mode_of_mmcls_is_that_of_mindspore(logits, class_numbers, mode):
    mapping = {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "mode": mode}
    difference = ours(mapping, logits, class_numbers).numpy() - _mindspores(logits, class_numbers, 0.1)
    assert np.abs(difference).min() > 1e-4


def test_build_loss__refuses_smoothing_that_prefers_the_other_classes():
    with pytest.raises(SettingsError, match=r"0\.6, among the 1 other classes.* at most 0\.5"):
        build_loss(LabelSmoothLoss(label_smooth_val=0.6, mode="mindspore"), 2)


def test_loss__of_a_sample_does_not_depend_on_its_batch(logits, class_numbers):
    for mapping in SINGLE_LABEL + PER_CLASS:
        together = ours(mapping, logits, class_numbers)
        alone = torch.cat([ours(mapping, logits[i : i + 1], class_numbers[i : i + 1]) for i in range(N)])
        torch.testing.assert_close(together, alone)


@pytest.mark.parametrize("mapping", [*SINGLE_LABEL, *PER_CLASS], ids=str)
def test_loss__of_narrow_logits_is_float32_and_has_a_gradient(mapping, logits, mixed):
    narrow = (100 * logits).bfloat16().requires_grad_()
    losses = ours(mapping, narrow, mixed)
    assert losses.dtype == torch.float32 and losses.isfinite().all()
    losses.mean().backward()
    assert narrow.grad is not None and narrow.grad.isfinite().all() and narrow.grad.abs().sum() > 0


def test_loss__weight_counts_with_smoothing_too(logits, class_numbers):
    """mmcls reads LabelSmoothLoss.loss_weight and forgets it."""
    whole = build_loss(LabelSmoothLoss(label_smooth_val=0.1), K)(logits, class_numbers)
    half = build_loss(LabelSmoothLoss(label_smooth_val=0.1, loss_weight=0.5), K)(logits, class_numbers)
    torch.testing.assert_close(half, 0.5 * whole)


def test_balanced_weights__are_those_of_scikit_learn():
    labels = [0] * 5 + [1] * 50 + [2] * 1
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert balanced_weights([5, 50, 1]).tolist() == pytest.approx(expected)
    assert balanced_weights(torch.tensor([5, 0, 50, 1])).tolist() == pytest.approx([expected[0], 1.0, *expected[1:]])


def test_loss__balanced_gives_every_class_the_same_part(logits, class_numbers):
    counts = torch.bincount(class_numbers, minlength=K)
    losses = build_loss(CrossEntropyLoss(class_weight="balanced"), K, counts)(torch.zeros(N, K), class_numbers)
    parts = torch.zeros(K).index_add(0, class_numbers, losses)
    torch.testing.assert_close(parts, parts.mean().expand(K))


@pytest.mark.parametrize(
    ("settings", "counts", "culprit"),
    [
        (CrossEntropyLoss(class_weight=(1.0, 2.0)), None, "class_weight has 2 numbers, but the network's head has 7"),
        (CrossEntropyLoss(use_sigmoid=True, pos_weight=(1.0,)), None, "pos_weight has 1 numbers"),
        (CrossEntropyLoss(class_weight="balanced"), None, "no counts"),
        (CrossEntropyLoss(class_weight="balanced"), [3, 4], "counts of 2 classes"),
    ],
)
def test_build_loss__refuses_weights_that_are_not_one_a_class(settings, counts, culprit):
    with pytest.raises(SettingsError, match=culprit):
        build_loss(settings, K, counts)


@pytest.mark.parametrize("settings", [CrossEntropyLoss(), LabelSmoothLoss(label_smooth_val=0.1)])
def test_build_loss__refuses_one_right_class_for_several_labels(settings):
    with pytest.raises(SettingsError, match="use_sigmoid"):
        build_loss(settings, K, is_multi_label=True)


@pytest.mark.parametrize(
    "settings",
    [
        CrossEntropyLoss(use_sigmoid=True),
        LabelSmoothLoss(label_smooth_val=0.1, mode="multi_label"),
        FocalLoss(),
        AsymmetricLoss(),
    ],
)
def test_build_loss__takes_several_labels(settings, logits, several):
    assert build_loss(settings, K, is_multi_label=True)(logits, several).shape == (N,)
