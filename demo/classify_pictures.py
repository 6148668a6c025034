"""Classifies pictures through ModelScope. Put the id of a hub model or your own folder in place of MODEL:

python demo/classify_pictures.py photo.jpg another.png
"""

import sys

from modelscope.pipelines import pipeline

import modelscope_beit  # noqa: F401 - registers BEiT v2 with ModelScope
from modelscope_beit.model_folder.finding import find_model_folder

MODEL = find_model_folder("embedded")  # or "damo/cv_beitv2-base_image-classification_patch16_224_pt1k_ft22k_in1k"

PICTURES = sys.argv[1:] or sorted(str(path) for path in find_model_folder("embedded").glob("pictures/*.png"))

classify = pipeline("image-classification", model=str(MODEL))
for path, result in zip(PICTURES, classify(PICTURES, batch_size=32), strict=True):
    print(f"{result['scores'][0]:6.1%}  {result['labels'][0]:<12}  {path}")
