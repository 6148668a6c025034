"""Fine-tunes a model on your own pictures, as the scripts on ModelScope's model cards do:

python demo/fine_tune_your_pictures.py PHOTOS RUN

PHOTOS: a folder with the parts train and val, in each a folder of pictures for every class (PHOTOS/train/cat/1.jpg).
RUN: a new folder. Afterwards RUN/output is the trained model, and RUN/report.html shows what it gets wrong.
"""

import sys

from modelscope.metainfo import Trainers
from modelscope.msdatasets import MsDataset
from modelscope.trainers import build_trainer

import modelscope_beit  # noqa: F401 - registers BEiT v2 with ModelScope
from modelscope_beit.model_folder.finding import find_model_folder

MODEL = find_model_folder("embedded")  # or "damo/cv_beitv2-base_image-classification_patch16_224_pt1k_ft22k_in1k"


def cfg_modify_fn(cfg):
    """Changes the recipe: everything that is in the model's configuration.json can be set here."""
    cfg.train.max_epochs = 4
    cfg.train.dataloader.batch_size_per_gpu = 16
    cfg.train.optimizer.lr = 1e-3  # The embedded model is small; for base and large 5e-5 is a good start.
    return cfg


if len(sys.argv) != 3:
    sys.exit(__doc__)
photos, run = sys.argv[1:]
trainer = build_trainer(
    name=Trainers.image_classification,
    default_args=dict(
        model=str(MODEL),
        work_dir=run,
        train_dataset=MsDataset.load(photos, split="train"),
        eval_dataset=MsDataset.load(photos, split="validation"),
        cfg_modify_fn=cfg_modify_fn,
    ),
)
trainer.train()
print(trainer.evaluate())  # of the best weights: {'accuracy_top-1': ..., 'accuracy_top-5': ...}, in percent
