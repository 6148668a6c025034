"""Answers of ModelScope's own pipeline, without our plug-in: python run_stock_pipeline.py FOLDER ANSWERS PICTURE...

If FOLDER has no weights yet, random ones are written first, by the stock classes and mmcv's own writer. ANSWERS
becomes a JSON list of {"scores", "labels"}, one for each picture. A file of its own because the stock classes can
only be met in a process that never imported ours.
"""

import json
import sys
from pathlib import Path

import torch


def write_random_weights(folder: Path) -> None:
    """Writes what a stock training writes: {"state_dict", "meta": {"CLASSES"}}; no weight at a neutral value."""
    import modelscope.models.cv.image_classification.backbones  # noqa: F401 - registers BEiTv2
    from mmcls.models import build_classifier
    from mmcv.runner import save_checkpoint

    mm_model = json.loads((folder / "configuration.json").read_text())["model"]["mm_model"]
    torch.manual_seed(0)
    classifier = build_classifier(mm_model)
    with torch.no_grad():
        for name, weight in classifier.named_parameters():
            # Small in the backbone, so that the picture still shows in the last layer; large in the head, so that
            # the classes are far apart and their order does not hang on the last digit.
            weight.add_(torch.randn(weight.shape) * (0.5 if name.startswith("head") else 0.02))
    classes = [f"class {number}" for number in range(mm_model["head"]["num_classes"])]
    save_checkpoint(classifier, str(folder / "pytorch_model.pt"), meta={"CLASSES": classes})


def main() -> None:
    """Runs the stock pipeline over the pictures."""
    folder, answers, *pictures = sys.argv[1:]
    if not (Path(folder) / "pytorch_model.pt").exists():
        write_random_weights(Path(folder))
    from modelscope.pipelines import pipeline

    stock = pipeline("image-classification", model=folder, device="cpu")
    assert type(stock).__name__ == "GeneralImageClassificationPipeline"
    assert "modelscope_beit" not in sys.modules
    told = [stock(picture) for picture in pictures]
    plain = [{"scores": [score.item() for score in one["scores"]], "labels": one["labels"]} for one in told]
    Path(answers).write_text(json.dumps(plain))


if __name__ == "__main__":
    main()
