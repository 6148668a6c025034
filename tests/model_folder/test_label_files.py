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


@pytest.mark.parametrize("content", ["a\nb b\n", "a\r\nb b\r\n", "\ufeffa\nb b", "a \n b b\n\n\n"])
def test_read_labels__line_ends_marks_and_trailing_lines(tmp_path, content):
    file = tmp_path / "labels.txt"
    file.write_bytes(content.encode())
    assert read_labels(file) == ("a", "b b")


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\n\nb\n", "no class name on line 2"),
        (b"", "no class name in the whole file"),
        (b"\n\n", "no class name in the whole file"),
        ("é".encode("latin-1"), "UTF-8"),
        (b"a\nb\nc\n", "gives 3 class names, but the network's head has 2 classes"),
    ],
)
def test_read_labels__says_what_is_wrong(tmp_path, content, expected):
    file = tmp_path / "labels.txt"
    file.write_bytes(content)
    with pytest.raises(ModelFolderError) as raised:
        read_labels(file, num_classes=2)
    assert expected in str(raised.value)
    assert str(file) in str(raised.value)


def test_read_labels__missing_file(tmp_path):
    with pytest.raises(ModelFolderError, match="UTF-8 text file with one name a line"):
        read_labels(tmp_path / "none.txt")


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
