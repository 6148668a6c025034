"""Real pictures as people keep them: in a folder for each class, divided into train and val."""

from pathlib import Path

import training_jobs


def write_parts(folder: Path, *, num_train: int = 24, num_validation: int = 9) -> Path:
    """Writes pictures of the three classes of training_jobs and returns the folder; the classes take turns."""
    for part, number, seed in (("train", num_train, 0), ("val", num_validation, 1)):
        for index, row in enumerate(training_jobs.crops(number, seed=seed)):
            path = folder / part / training_jobs.CLASSES[row["label"]] / f"{index:02}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            row["image"].save(path)
    return folder
