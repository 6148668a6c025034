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
        (width, height), down = shown.size, step.get("rounding") == "down"
        sides = {"short": min(shown.size), "long": max(shown.size), "width": width, "height": height}
        w, h = (step["pixels"] * n // sides[step["side"]] for n in shown.size) if "side" in step else step["to"][::-1]
        if step["step"] == "resize":
            shown = shown.resize((w, h), Image.Resampling[step["filter"].upper()])
        else:
            left, top = (max(0, n // 2 if down else round(n / 2)) for n in (width - w, height - h))
            shown = shown.crop((left, top, min(width, left + w), min(height, top + h)))
    values = np.asarray(shown)[:, :, :: 1 if steps[-1]["channels"] == "RGB" else -1] - np.float32(steps[-1]["mean"])
    return (values * (1 / np.float64(np.float32(steps[-1]["std"])))).astype(np.float32).transpose(2, 0, 1)


if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    about = json.loads((folder / "preprocessing.json").read_text(encoding="utf-8"))
    classes = (folder / "classname.txt").read_text(encoding="utf-8").split("\n")
    run = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"]).run
    heat, least = (about.get("confidence", {}).get(*key) for key in (("temperature", 1), ("unknown_below", -np.inf)))
    total = np.logaddexp.reduce if about["softmax"] else lambda values: np.logaddexp(0, values)
    for path in sys.argv[1:]:
        logits = run(None, {"images": network_input(path, about["steps"])[None]})[0][0].astype(np.float64)
        scores = np.exp(logits / heat - total(logits / heat))
        best = (f"{classes[k]} {scores[k]:.6f}" for k in np.argsort(-scores, kind="stable")[:5])
        print(path, *["unknown"] * bool(total(logits).sum() < least), *best, sep="\t")
