"""Packaged class names against mmcls's and timm's, and text files of class names."""

import collections

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from modelscope_beit.errors import ModelFolderError
from modelscope_beit.model_folder.label_files import (
    check_label_count,
    imagenet_1k_labels,
    imagenet_1k_wordnet_ids,
    imagenet_22k_wordnet_ids,
    known_labels,
    read_labels,
    write_labels,
)


@pytest.mark.openmmlab
def test_imagenet_1k_labels__those_of_mmcls():
    datasets = pytest.importorskip("mmcls.datasets", reason="mmcls's ImageNet.CLASSES is the oracle")
    assert list(imagenet_1k_labels()) == list(datasets.ImageNet.CLASSES)


def test_imagenet_labels__belong_to_timms_ids():
    info = pytest.importorskip("timm.data", reason="timm's ImageNetInfo is the oracle").ImageNetInfo
    info_1k, info_22k = info("imagenet-1k"), info("imagenet-22k")
    assert list(imagenet_1k_wordnet_ids()) == info_1k.label_names()
    assert [info_1k.index_to_description(index) for index in range(1000)] == list(imagenet_1k_labels())
    assert list(imagenet_22k_wordnet_ids()) == info_22k.label_names()


def test_imagenet_labels__counts_and_the_one_double_name():
    assert len(set(imagenet_22k_wordnet_ids())) == 21841
    assert len(set(imagenet_1k_wordnet_ids())) == 1000
    assert [name for name, count in collections.Counter(imagenet_1k_labels()).items() if count > 1] == ["crane"]


def test_known_labels__only_for_released_heads():
    assert known_labels(1000)[0] == "tench, Tinca tinca"
    assert known_labels(21841)[0] == "n00004475"
    assert known_labels(1001) is None


def test_read_labels__another_number_than_the_head_has(tmp_path):
    file = tmp_path / "labels.txt"
    file.write_text("a\nb\nc\n")
    assert read_labels(file) == ("a", "b", "c")
    with pytest.raises(ModelFolderError) as raised:
        read_labels(file, num_classes=2)
    assert f"{file} gives 3 class names, but the network's head has 2 classes" in str(raised.value)


@pytest.mark.parametrize("label", ["", "two\nlines", "carriage\rreturn", " space", "\ufeffmark"])
def test_write_labels__refuses_what_would_not_come_back(tmp_path, label):
    with pytest.raises(ModelFolderError, match="one a line"):
        write_labels(["a", label], tmp_path / "labels.txt")


names = st.text(min_size=1).map(str.strip).filter(lambda text: text and not {*"\n\r\ufeff"} & {*text})


@hypothesis_settings(deadline=None)
@given(st.lists(names, min_size=1))
def test_write_labels__there_and_back(tmp_path_factory, labels):
    file = tmp_path_factory.mktemp("labels") / "classname.txt"
    write_labels(labels, file)
    assert list(read_labels(file, num_classes=len(labels))) == labels


def test_check_label_count__equal():
    check_label_count(["a", "b"], 2, "somebody")
