"""python classify.py PICTURE...: the classes of pictures by the ONNX file beside this script. Licence: Apache-2.0."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def network_input(path: str, steps: list) -> np.ndarray:
    """Returns (3, H, W) float32 of a picture of 8 bits, upright, transparent parts white, after all steps."""
    picture = ImageOps.exif_transpose(Image.open(path)).convert("RGBA")
    shown = Image.composite(picture, Image.new("RGBA", picture.size, "white"), picture.getchannel("A")).convert("RGB")
    for step in steps[:-1]:
        (width, height), (high, wide) = shown.size, step.get("to", (0, 0))
        if "side" in step:  # It gets so many pixels; the other one follows, rounded down.
            sides = {"short": min(width, height), "long": max(width, height), "width": width, "height": height}
            wide, high = (step["pixels"] * length // sides[step["side"]] for length in (width, height))
        if step["step"] == "resize":
            shown = shown.resize((wide, high), Image.Resampling[step["filter"].upper()])
        else:
            spare, down = (width - wide, height - high), step["rounding"] == "down"
            left, top = (max(0, pixels // 2 if down else round(pixels / 2)) for pixels in spare)
            shown = shown.crop((left, top, min(width, left + wide), min(height, top + high)))
    mean, std = (np.array(steps[-1][name], np.float32) for name in ("mean", "std"))
    values = np.asarray(shown)[:, :, :: 1 if steps[-1]["channels"] == "RGB" else -1] - mean
    return (values.astype(np.float64) * (1 / std.astype(np.float64))).astype(np.float32).transpose(2, 0, 1)


if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    about = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
    classes = (folder / "classname.txt").read_text(encoding="utf-8").split("\n")
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for path in sys.argv[1:]:
        (logits,) = session.run(None, {"images": network_input(path, about["steps"])[None]})[0].astype(np.float64)
        scores = np.exp(logits - np.logaddexp.reduce(logits)) if about["softmax"] else 1 / (1 + np.exp(-logits))
        print(path, *(f"{classes[k]} {scores[k]:.6f}" for k in np.argsort(-scores, kind="stable")[:5]), sep="\t")
