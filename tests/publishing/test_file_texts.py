"""Texts are found wherever a file keeps them."""

from pathlib import Path

import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from safetensors.torch import save_file

import helpers
from modelscope_beit.publishing.file_texts import texts_below

WORD = "find-me-中文"


def texts(folder: Path) -> dict[str, str]:
    return dict(texts_below(folder))


def test_texts_below__of_every_kind_of_file(tmp_path: Path) -> None:
    (tmp_path / "resources").mkdir()
    (tmp_path / "resources" / "notes.md").write_text(WORD, encoding="utf-8")
    torch.save({"state_dict": {"x": torch.ones(2)}, "meta": {"note": WORD}}, tmp_path / "model.pt")
    save_file({"x": torch.ones(2)}, tmp_path / "model.safetensors", {"note": WORD})
    # A pickle of its own, not an archive.
    torch.save({"note": WORD}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    info = PngInfo()
    info.add_text("Comment", "find-me-too")
    Image.new("L", (4, 4)).save(tmp_path / "a.png", pnginfo=info)
    found = texts(tmp_path)
    for name in ("resources/notes.md", "model.pt", "model.safetensors", "old.pth"):
        assert WORD in found[name], name
    assert "find-me-too" in found["a.png"]


def test_texts_below__of_a_photograph_what_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "find-me-there"
    photograph = helpers.photographs()[0]
    photograph.save(tmp_path / "a.jpg", exif=exif, comment=b"find-me-too")
    photograph.save(tmp_path / "b.png")
    found = texts(tmp_path)
    assert "find-me-there" in found["a.jpg"] and "find-me-too" in found["a.jpg"]
    # Compressed pixels are no text, whatever they look like.
    assert len(found["b.png"]) < 100
    (tmp_path / "b.png").write_bytes(b"find-me-hidden in what is no picture")
    assert "find-me-hidden" in texts(tmp_path)["b.png"]


def test_texts_below__leaves_out_the_numbers_of_weights(tmp_path: Path) -> None:
    hidden = torch.tensor(list(b"hidden-in-numbers" * 100), dtype=torch.uint8)
    torch.save({"x": hidden}, tmp_path / "model.pt")
    save_file({"x": hidden}, tmp_path / "model.safetensors")
    assert not any("hidden-in-numbers" in text for text in texts(tmp_path).values())
