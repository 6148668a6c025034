"""Every string that others know us by: registered names, file names, state-dict prefixes. Strings only."""

DISTRIBUTION = "modelscope-beit"
COMMAND = "beit"

# Registered names, as ModelScope's stock image classification spells them (modelscope.metainfo).
TASK = "image-classification"
MODEL = "ClassificationModel"
TRAINER_GROUP = "default"
TRAINER = "image-classification"
# Of the stages of pre-training; the names are ours.
PRETRAINING_TRAINERS = {"tokenizer": "beitv2-tokenizer", "masked": "beitv2-pretraining"}
PREPROCESSOR_GROUP = "cv"
PREPROCESSOR = "image-classification-mmcv-preprocessor"
BYPASS_PREPROCESSOR = "image-classification-bypass-preprocessor"
PIPELINES = (
    "image-classification",
    "vit-base_image-classification_ImageNet-labels",
    "vit-base_image-classification_Dailylife-labels",
    "nextvit-small_image-classification_Dailylife-labels",
    "convnext-base_image-classification_garbage",
    "common-image-classification",
    "easyrobust-classification",
    "bnext-small_image-classification_ImageNet-labels",
)
# The one that the hub's BEiT v2 folders name, so the one that we write.
WRITTEN_PIPELINE = "common-image-classification"

# Semantic segmentation: our name of its pipeline and its model, and the tasks under which the host has such pipelines.
SEGMENTATION = "beit-semantic-segmentation"
SEGMENTATION_TASKS = ("semantic-segmentation", "image-segmentation")
SEGMENTATION_WEIGHT_FILE = "model.safetensors"

# Of a calibrated folder, beside the host's keys of a result: whether the picture is of none of the classes.
UNKNOWN = "unknown"

# Hub ids that the demo and the documentation point to.
HUB_BASE = "damo/cv_beitv2-base_image-classification_patch16_224_pt1k_ft22k_in1k"
HUB_LARGE = "damo/cv_beitv2-large_image-classification_patch16_224_pt1k_ft22k_in1k"

# Files of a model folder. Weight files are looked for in this order.
CONFIGURATION_FILE = "configuration.json"
MM_CONFIGURATION_FILE = "config.py"
WEIGHT_FILES = ("pytorch_model.pt", "checkpoints.pth", "model.safetensors")
WRITTEN_WEIGHT_FILE = "pytorch_model.pt"
CLASS_NAMES_FILE = "classname.txt"
CARD_FILE = "README.md"

# What commands look for in a run folder: the model folder in it, and which part each picture is in.
RUN_OUTPUT = "output"
DIVISION_FILE = "split.jsonl"

# How the names of files end that are taken for pictures.
PICTURE_SUFFIXES = frozenset(
    ".avif .bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif .tiff .webp".split()
)

# State-dict prefixes of a classifier: the stock ModelScope (mmcls) layout, so hub weights load as they are.
BACKBONE_PREFIX = "backbone."
HEAD_PREFIX = "head."
