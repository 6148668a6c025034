"""One run that has ended, for all tests of publishing that only read it."""

from pathlib import Path

import pytest

import published_runs
from modelscope_beit.checkpoints.files import file_digest
from modelscope_beit.model_folder.opening import read_folder_settings
from modelscope_beit.publishing.answers import Answer
from modelscope_beit.publishing.card_facts import CardFacts
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.front_matter import FrontMatter
from modelscope_beit.publishing.measured import read_measured
from modelscope_beit.publishing.model_files import ModelFiles
from modelscope_beit.publishing.source import read_source
from modelscope_beit.publishing.usage_code import Usage


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder; copy it before changing it."""
    return published_runs.write_run(tmp_path_factory.mktemp("somebody's runs") / "run")


@pytest.fixture
def card_facts(finished_run: Path) -> CardFacts:
    """What is known of the run's model; the code of the card was not run."""
    source = read_source(finished_run)
    digest = file_digest(source.model / "pytorch_model.pt")
    settings = read_folder_settings(source.model)
    names = tuple((source.model / "classname.txt").read_text(encoding="utf-8").split())
    picture = "resources/pictures/boot.png"
    return CardFacts(
        destination=Destination("modelscope", "me/pets"),
        title="Pets",
        front_matter=FrontMatter("pets", "MIT License", ["beit"], metrics=["accuracy"]),
        source=source,
        model=ModelFiles(settings, names, 12345, digest, "pytorch_model.pt"),
        digest=digest,
        answers=[Answer(picture, names, (0.5, 0.3, 0.2))],
        usage=Usage("print(1)\n", picture, "0.5000  china", ""),
        measured=read_measured(source, None, digest=digest),
        pictures=("curves.png", "confusion.png"),
        is_multi_label=False,
        self_contained=False,
        known_paths=(str(finished_run), str(finished_run.parent / "my pets"), str(finished_run.parent)),
    )
