import json
import os
from pathlib import Path
from typing import Any

import pytest

from modelscope_beit.data.annotation_file import read_annotation_file
from modelscope_beit.errors import SettingsError


def written(folder: Path, name: str, text: str, encoding: str = "utf-8") -> Path:
    file = folder / name
    file.write_bytes(text.encode(encoding))
    return file


def pairs(records: Any) -> list[tuple[str, Any]]:
    """(file name, class name or names) of each row."""
    return [
        (
            os.path.basename(record.name),
            [records.class_names[number] for number in record.label]
            if isinstance(record.label, tuple)
            else records.class_names[record.label],
        )
        for record in records
    ]


CATS = [("猫.jpg", "cat"), ("a b.jpg", "red fox, Vulpes vulpes"), ("c.jpg", "cat")]


@pytest.mark.parametrize(
    ("name", "text", "encoding"),
    [
        ("x.csv", 'path,label\n猫.jpg,cat\n"a b.jpg","red fox, Vulpes vulpes"\nsub/c.jpg,cat\n', "utf-8"),
        (
            "x.csv",
            'Image:FILE,category\r\n猫.jpg,cat\r\na b.jpg,"red fox, Vulpes vulpes"\r\n\r\nc.jpg,cat\r\n',
            "utf-8-sig",
        ),
        ("x.csv", '猫.jpg,cat\na b.jpg,"red fox, Vulpes vulpes"\nc.jpg,cat\n', "utf-8"),
        ("x.TSV", "label\timg\tnote\ncat\t猫.jpg\nred fox, Vulpes vulpes\ta b.jpg\tblurred\ncat\tc.jpg\n", "utf-8"),
        (
            "x.jsonl",
            '{"image": "猫.jpg", "label": "cat"}\n\n{"label": "red fox, Vulpes vulpes", "image": "a b.jpg", "id": 3}\n'
            '{"image": "c.jpg", "label": "cat"}',
            "utf-8-sig",
        ),
    ],
)
def test_read_annotation_file__reads_every_format(tmp_path: Path, name: str, text: str, encoding: str) -> None:
    parts = read_annotation_file(written(tmp_path, name, text, encoding))
    assert list(parts) == [""]
    assert pairs(parts[""]) == CATS
    assert parts[""].class_names == ("cat", "red fox, Vulpes vulpes")


def test_read_annotation_file__finds_pictures_beside_itself(tmp_path: Path, jpegs: Any) -> None:
    (absolute,) = jpegs(tmp_path / "far", ["1.jpg"])
    file = written(tmp_path, "x.csv", f"path,label\nnear/2.jpg,dog\n{absolute},cat\n")
    assert [record.image for record in read_annotation_file(file)[""]] == [str(tmp_path / "near" / "2.jpg"), absolute]


def test_read_annotation_file__reads_mmcls_annotations(tmp_path: Path) -> None:
    file = written(tmp_path, "val.txt", "ILSVRC2012_val_00000001.JPEG 1\nwith space.jpg 0\nx\ty.jpg\t1\n")
    records = read_annotation_file(file, class_names=["tench", "goldfish"])[""]
    assert pairs(records) == [
        ("ILSVRC2012_val_00000001.JPEG", "goldfish"),
        ("with space.jpg", "tench"),
        ("x\ty.jpg", "goldfish"),
    ]


def test_read_annotation_file__takes_numbers_as_places_in_a_classname_file(tmp_path: Path) -> None:
    (tmp_path / "classname.txt").write_text("zebra\nape\n")
    file = written(tmp_path, "x.csv", "path,label\na.jpg,1\nb.jpg,0\n")
    assert pairs(read_annotation_file(file)[""]) == [("a.jpg", "ape"), ("b.jpg", "zebra")]


def test_read_annotation_file__reads_several_classes(tmp_path: Path) -> None:
    expected = [("a.jpg", ["cat", "dog"]), ("b.jpg", ["dog"]), ("c.jpg", [])]
    file = written(tmp_path, "x.csv", "path,labels\na.jpg,dog; cat\nb.jpg,dog\nc.jpg,;\n")
    assert pairs(read_annotation_file(file)[""]) == expected
    lines = [{"path": name, "labels": labels} for name, labels in expected]
    file = written(tmp_path, "x.jsonl", "\n".join(map(json.dumps, lines)))
    assert pairs(read_annotation_file(file)[""]) == expected


def test_read_annotation_file__knows_a_class_with_a_semicolon(tmp_path: Path) -> None:
    file = written(tmp_path, "x.csv", "path,label\na.jpg,salt;pepper\nb.jpg,sugar\n")
    records = read_annotation_file(file, class_names=["sugar", "salt;pepper"])[""]
    assert pairs(records) == [("a.jpg", "salt;pepper"), ("b.jpg", "sugar")]


def test_read_annotation_file__deals_out_the_parts(tmp_path: Path) -> None:
    file = written(tmp_path, "x.csv", "path,label,split\na.jpg,cat,train\nb.jpg,dog,Val\nc.jpg,dog,train\n")
    parts = read_annotation_file(file)
    assert {name: pairs(records) for name, records in parts.items()} == {
        "train": [("a.jpg", "cat"), ("c.jpg", "dog")],
        "val": [("b.jpg", "dog")],
    }
    assert parts["train"].class_names == parts["val"].class_names == ("cat", "dog")


def test_read_annotation_file__tells_all_lines_with_gaps(tmp_path: Path) -> None:
    file = written(tmp_path, "x.csv", "path,label\na.jpg,cat\n,dog\nc.jpg\nd.jpg,\ne.jpg,cat\n")
    with pytest.raises(SettingsError) as caught:
        read_annotation_file(file)
    text = str(caught.value)
    assert "line 3 has '' as path" in text and "line 4 has no label" in text and "line 5 has no label" in text
    assert "line 2" not in text and "line 6" not in text


def test_read_annotation_file__counts_the_lines_inside_of_quotes(tmp_path: Path) -> None:
    file = written(tmp_path, "x.csv", 'note,path,label\n"two\nlines",a.jpg,cat\n,b.jpg,dgo\n')
    with pytest.raises(SettingsError, match="line 4 has 'dgo'"):
        read_annotation_file(file, class_names=["cat", "dog"])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.csv", b"", "has none"),
        ("x.csv", b"path,label\n", "has none"),
        ("x.csv", b"photo,kind\na.jpg,cat\n", "'photo', 'kind'"),
        ("x.csv", "path,label\na.jpg,狗\n".encode("gbk"), "save it as UTF-8"),
        ("x.jsonl", b'{"path": "a.jpg", "label": 1}\n{"path": \n[1]\n', "line 2.*line 3"),
        ("x.jsonl", b'{"path": 7, "label": 1}\n', "line 1 has 7 as path"),
    ],
)
def test_read_annotation_file__says_what_is_wrong(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SettingsError, match=message):
        read_annotation_file(tmp_path / name)


def test_read_annotation_file__reads_thousands_of_rows(tmp_path: Path) -> None:
    rows = "".join(f"pictures/{number}.jpg,class {number % 100}\n" for number in range(50_000))
    records = read_annotation_file(written(tmp_path, "x.csv", "path,label\n" + rows))[""]
    assert len(records) == 50_000 and records.class_counts().tolist() == [500] * 100
