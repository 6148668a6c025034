"""The training part of a configuration that names none: a plain fine-tuning recipe in mmcls 0.x words.

ModelScope's stock trainer reads train.workflow, train.optimizer_config, train.checkpoint_config and others without
asking whether they are there, so every folder has to carry them.
"""

from modelscope_beit import names


def fine_tuning_defaults(image_size: tuple[int, int], val_steps: list[dict[str, object]]) -> dict[str, object]:
    """Returns the defaults of `preprocessor.train`, `train` and `evaluation` of a configuration.

    image_size: (height, width) in pixels that training crops have. val_steps: the steps for evaluation, whose
    normalisation training has to share. Source of the recipe: BEiT v2's fine-tuning (AdamW, weight decay 0.05, none
    for biases and norms, cosine to 1e-6 after a warm-up, gradient norm at most 5), at the learning rate and length that
    the hub's model cards use for small data sets.
    """
    return {
        "preprocessor": {"type": names.BYPASS_PREPROCESSOR, "train": _training_steps(image_size, val_steps)},
        "train": {
            "max_epochs": 30,
            "workflow": [["train", 1]],
            "dataloader": {"batch_size_per_gpu": 32, "workers_per_gpu": 2},
            "optimizer": {
                "type": "AdamW",
                "lr": 5e-5,
                "weight_decay": 0.05,
                "eps": 1e-8,
                "betas": [0.9, 0.999],
                "paramwise_cfg": {
                    "norm_decay_mult": 0.0,
                    "bias_decay_mult": 0.0,
                    "custom_keys": {"cls_token": {"decay_mult": 0.0}, "pos_embed": {"decay_mult": 0.0}},
                },
            },
            "optimizer_config": {"grad_clip": {"max_norm": 5.0}},
            "lr_config": {
                "policy": "CosineAnnealing",
                "by_epoch": False,
                # A share, not a rate: with layer decay the rates of the first blocks begin below any fixed end.
                "min_lr_ratio": 0.02,
                "warmup": "linear",
                "warmup_iters": 1,
                "warmup_by_epoch": True,
                "warmup_ratio": 1e-3,
            },
            "checkpoint_config": {"interval": 1},
            "log_config": {"interval": 50, "hooks": [{"type": "TextLoggerHook"}]},
            "evaluation": {"interval": 1, "metric": "accuracy", "save_best": "auto"},
        },
        "evaluation": {
            "dataloader": {"batch_size_per_gpu": 32, "workers_per_gpu": 2},
            "metrics": ["accuracy"],
        },
    }


def default_loss(num_classes: int) -> dict[str, object]:
    """Returns the loss of a head that names none; the scripts of the hub's model cards set its num_classes."""
    return {"type": "LabelSmoothLoss", "label_smooth_val": 0.1, "num_classes": num_classes, "mode": "original"}


def _training_steps(image_size: tuple[int, int], val_steps: list[dict[str, object]]) -> list[dict[str, object]]:
    height, width = image_size
    normalize = [dict(step) for step in val_steps if step.get("type") == "Normalize"]
    return [
        {"type": "LoadImageFromFile"},
        {
            "type": "RandomResizedCrop",
            "size": height if height == width else [height, width],
            "backend": "pillow",
            "interpolation": "bicubic",
        },
        {"type": "RandomFlip", "flip_prob": 0.5, "direction": "horizontal"},
        *normalize,
        {"type": "ImageToTensor", "keys": ["img"]},
        {"type": "ToTensor", "keys": ["gt_label"]},
        {"type": "Collect", "keys": ["img", "gt_label"]},
    ]
