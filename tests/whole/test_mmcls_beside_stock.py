"""ModelScope's own classes and ours in one process, imported in any order, over a folder of a network of mmcls."""

import json
from pathlib import Path

import pytest

pytest.importorskip("mmcls.models", reason="the networks come with the extra openmmlab")

import fresh_interpreters
import mmcls_models
import training_jobs

pytestmark = pytest.mark.openmmlab

PROGRAM = """
import json, warnings
warnings.simplefilter("ignore")
folder, pictures = {folder!r}, {pictures!r}

def stock():
    from modelscope.models.cv.image_classification.mmcls_model import ClassificationModel
    from modelscope.pipelines.cv.image_classification_pipeline import GeneralImageClassificationPipeline
    from modelscope.preprocessors.cv.mmcls_preprocessor import ImageClassificationMmcvPreprocessor
    model = ClassificationModel(folder)
    model.eval()
    preprocessor = ImageClassificationMmcvPreprocessor(model_dir=folder)
    return GeneralImageClassificationPipeline(model=model, preprocessor=preprocessor, device="cpu")

def ours():
    import modelscope_beit
    from modelscope.pipelines import pipeline
    made = pipeline("image-classification", model=folder, device="cpu")
    assert type(made).__module__.startswith("modelscope_beit"), type(made)
    assert type(made.model.cls_model).__name__ == "MmclsClassifier"
    return made

makers = {{"stock": stock, "ours": ours}}
made = {{name: makers[name]() for name in {order!r}}}
told = {{}}
for name in [*{order!r}, *{order!r}]:
    found = [made[name](picture) for picture in pictures]
    plain = [[[score.item() for score in one["scores"]], one["labels"]] for one in found]
    assert told.setdefault(name, plain) == plain, "what the other one did changes nothing"
print("ANSWERS", json.dumps(told))
"""


def test_both_pipelines__answer_alike_in_any_order(tmp_path: Path) -> None:
    folder = tmp_path / "swin"
    mmcls_models.write_folder(folder, mmcls_models.SWIN)
    pictures = []
    for number, row in enumerate(training_jobs.crops(3)):
        pictures.append(str(tmp_path / f"{number}.png"))
        row["image"].save(pictures[-1])
    programs = [
        PROGRAM.format(folder=str(folder), pictures=pictures, order=order)
        for order in (("stock", "ours"), ("ours", "stock"))
    ]
    imported = (*fresh_interpreters.BEHIND_THE_PIPELINES, "mmcls.models")
    for status, output, errors in fresh_interpreters.outcomes(programs, imported):
        assert status == 0, errors
        told = json.loads(output.partition("ANSWERS")[2].splitlines()[0])
        for ours, stock in zip(told["ours"], told["stock"], strict=True):
            assert ours[1] == stock[1]
            assert ours[0] == pytest.approx(stock[0], abs=1e-6)
