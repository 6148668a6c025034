"""What is staged of each kind of source. New interpreters are not started here; tests/whole does it."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

import published_runs
from modelscope_beit.errors import ModelFolderError, SettingsError
from modelscope_beit.model_folder.opening import open_model
from modelscope_beit.publishing import staging
from modelscope_beit.publishing.destination import Destination
from modelscope_beit.publishing.staged_folder import Check, StagedFolder
from modelscope_beit.publishing.staging import Wishes, stage
from modelscope_beit.publishing.usage_code import Usage

HUB = Destination("modelscope", "me/pets")
OTHER_HUB = Destination("huggingface", "me/pets")


@pytest.fixture(autouse=True)
def no_interpreters(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    tolerances = []

    def check_folder(folder: Path, destination: Destination, *, known_paths, tolerance: float) -> list[Check]:
        tolerances.append(tolerance)
        return [Check("size", "", True)]

    monkeypatch.setattr(staging, "check_folder", check_folder)
    monkeypatch.setattr(staging, "run_usage", lambda *a, **k: Usage("print(1)", "resources/pictures/x.png", "1", ""))
    return tolerances


def front_matter(staged: StagedFolder) -> dict:
    return yaml.safe_load((staged.folder / "README.md").read_text(encoding="utf-8").split("---\n")[1])


def test_stage__of_a_run_has_everything(finished_run: Path, tmp_path: Path) -> None:
    steps: list[str] = []
    staged = stage(finished_run, HUB, tmp_path / "staged", on_step=steps.append)
    assert staged.is_right and [check.name for check in staged.checks] == ["code of the card", "size"]
    assert staged.files.keys() >= {
        *("README.md", "configuration.json", "classname.txt", "pytorch_model.pt", "resources/answers.json"),
        *("resources/curves.png", "resources/metrics.csv", "resources/confusion.png", "resources/pictures/LICENSE"),
    }
    assert open_model(staged.folder).class_names == ("china", "flower", "dark")
    assert front_matter(staged)["metrics"] == ["accuracy"]
    card = (staged.folder / "README.md").read_text(encoding="utf-8")
    assert str(finished_run.parent) not in card and "beit train tiny 'my pets'" in card
    assert len(steps) == 3


def test_stage__twice_gives_the_same_bytes(finished_run: Path, tmp_path: Path) -> None:
    first = stage(finished_run, HUB, tmp_path / "staged")
    before = {name: (first.folder / name).read_bytes() for name in first.files}
    again = stage(finished_run, HUB, tmp_path / "staged")
    assert {name: (again.folder / name).read_bytes() for name in again.files} == before


def test_stage__leaves_a_folder_that_is_not_its_own(tiny_model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelFolderError, match="was not staged before"):
        stage(tiny_model_folder, HUB, tmp_path)
    assert (tmp_path / "thesis.txt").is_file()


def test_stage__leaves_nothing_of_what_failed(tiny_model_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="There is no evaluation"):
        stage(tiny_model_folder, HUB, tmp_path / "staged", wishes=Wishes(evaluation=tmp_path / "nothing"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["tiny_model"]


def test_stage__says_what_the_person_says(finished_run: Path, tmp_path: Path) -> None:
    wishes = Wishes(title="My pets", license="apache-2.0", base_model="damo/beit", datasets=["me/pets"])
    staged = stage(finished_run, HUB, tmp_path / "staged", wishes=wishes)
    content = front_matter(staged)
    assert (content["license"], content["base_model"]) == ("Apache License 2.0", ["damo/beit"])
    assert content["datasets"] == ["me/pets"]
    assert "\n# My pets\n" in (staged.folder / "README.md").read_text(encoding="utf-8")


def test_stage__takes_the_ids_of_the_run_for_modelscope_only(finished_run: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    published_runs.change_json(run / "run.json", source="damo/cv_beitv2-base", data="me/pets")
    content = front_matter(stage(run, HUB, tmp_path / "one"))
    assert (content["base_model"], content["datasets"]) == (["damo/cv_beitv2-base"], ["me/pets"])
    content = front_matter(stage(run, OTHER_HUB, tmp_path / "two"))
    assert "base_model" not in content and "datasets" not in content
    assert content["model-index"][0]["results"][0]["dataset"]["name"] == "pets"


def test_stage__of_a_folder_keeps_its_authors_card_and_the_pictures_in_it(tiny_model_folder: Path, tmp_path) -> None:
    for place in ("shown.png", "hidden.png", "../outside.png"):
        Image.new("L", (4, 4)).save(tiny_model_folder / place)
    text = "---\nlicense: mit\ndatasets: me/pets\nbase_model:\n- a/b\n---\n# Mine\n![x](shown.png) ![y](../outside.png)"
    (tiny_model_folder / "README.md").write_text(text)
    staged = stage(tiny_model_folder, HUB, tmp_path / "staged")
    assert "shown.png" in staged.files and not {"hidden.png", "outside.png"} & staged.files.keys()
    content = front_matter(staged)
    assert (content["license"], content["datasets"], content["base_model"]) == ("MIT License", ["me/pets"], ["a/b"])
    assert (staged.folder / "README.md").read_text(encoding="utf-8").count("# Mine") == 1
    # What was staged can be published again, in its own place too; our words are not taken for a person's then.
    again = stage(staged.folder, HUB, staged.folder)
    assert "# Mine" not in (again.folder / "README.md").read_text(encoding="utf-8")
    assert again.files["pytorch_model.pt"] == staged.files["pytorch_model.pt"]


def test_stage__for_hugging_face(finished_run: Path, tmp_path: Path, no_interpreters: list[float]) -> None:
    staged = stage(finished_run, OTHER_HUB, tmp_path / "staged")
    assert staged.files.keys() >= {"config.json", "model.safetensors", "preprocessor_config.json", "classname.txt"}
    assert not {"configuration.json", "pytorch_model.pt"} & staged.files.keys()
    labels = json.loads((staged.folder / "config.json").read_text())["id2label"]
    assert list(labels.values()) == ["china", "flower", "dark"]
    with pytest.raises(SettingsError, match="Only ModelScope has a wrapper"):
        stage(finished_run, OTHER_HUB, tmp_path / "staged", self_contained=True)


def test_stage__refuses_what_only_modelscope_can_hold(tmp_path: Path, tiny_model_folder: Path) -> None:
    content = json.loads((tiny_model_folder / "configuration.json").read_text())
    content["model"]["mm_model"]["backbone"] = {"type": "ResNet", "depth": 18}
    (tiny_model_folder / "configuration.json").write_text(json.dumps(content))
    with pytest.raises(SettingsError, match="publish it to modelscope"):
        stage(tiny_model_folder, OTHER_HUB, tmp_path / "staged")


def test_stage__tells_that_the_code_of_the_card_fails(tiny_model_folder: Path, tmp_path, monkeypatch) -> None:
    failed = Usage("print(1)", "resources/pictures/x.png", "", "Traceback\nOSError: no such thing")
    monkeypatch.setattr(staging, "run_usage", lambda *a, **k: failed)
    staged = stage(tiny_model_folder, HUB, tmp_path / "staged")
    assert not staged.is_right and "OSError: no such thing" in staged.checks[0].finding
    assert (staged.folder / "README.md").is_file()
