"""What workers share and what each opens for itself."""

import socket
import threading
from pathlib import Path

import pytest
import torch

from modelscope_beit.errors import ModelFolderError, SettingsError
from modelscope_beit.prediction.run_record import model_digest
from modelscope_beit.serving.frames import receive
from modelscope_beit.serving.opening import open_classifier, own_work, shared_work, threads_of_a_worker
from modelscope_beit.serving.served_model import ServedModel
from modelscope_beit.settings.inference import InferenceSettings
from modelscope_beit.settings.serving import ServingSettings


@pytest.fixture(autouse=True)
def _threads() -> object:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def first_message(work: object) -> dict[str, object]:
    ours, theirs = socket.socketpair()
    thread = threading.Thread(target=work, args=(theirs,))  # type: ignore[arg-type]
    thread.start()
    with ours, ours.makefile("rb") as stream:
        message = receive(stream)
        ours.shutdown(socket.SHUT_WR)
        thread.join(20)
    theirs.close()
    assert message is not None
    return message[0]


def test_shared_work__opens_the_model_before_anybody_works_and_in_one_thread(tiny_model_folder: Path) -> None:
    model = ServedModel(tiny_model_folder)
    digest = model_digest(tiny_model_folder)
    work = shared_work(model, ServingSettings())
    assert torch.get_num_threads() == 1
    for file in tiny_model_folder.iterdir():
        file.unlink()
    assert first_message(work)["model"] == digest


def test_shared_work__raises_where_the_model_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError):
        shared_work(ServedModel(tmp_path), ServingSettings())


def test_shared_work__leaves_other_runtimes_to_each_worker(tiny_model_folder: Path) -> None:
    pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
    model = ServedModel(tiny_model_folder, InferenceSettings(backend="onnxruntime"))
    work = shared_work(model, ServingSettings(max_batch=2))
    assert first_message(work)["classes"] == 5


def test_own_work__tells_of_an_error_over_the_connection(tmp_path: Path) -> None:
    message = first_message(lambda connection: own_work(ServedModel(tmp_path), ServingSettings(), connection))
    assert "not a model folder" in str(message["error"])


def test_open_classifier__answers_in_the_precision_that_is_wanted(
    tiny_model_folder: Path, ten_images: list[Path]
) -> None:
    contents = [path.read_bytes() for path in ten_images[:3]]
    exact = open_classifier(ServedModel(tiny_model_folder), ServingSettings(), threads=1)(contents, 5)
    narrow = ServedModel(tiny_model_folder, InferenceSettings(precision="bf16"))
    rows = open_classifier(narrow, ServingSettings(), threads=1)(contents, 5)
    differences = [
        abs(dict(zip(one["labels"], one["scores"], strict=True))[label] - score)
        for one, other in zip(rows, exact, strict=True)
        for label, score in zip(other["labels"], other["scores"], strict=True)
    ]
    assert 0 < max(differences) < 0.02


def test_open_classifier__refuses_a_device_that_is_not_there(tiny_model_folder: Path) -> None:
    with pytest.raises(SettingsError):
        open_classifier(ServedModel(tiny_model_folder, device="cuda:99"), ServingSettings(), threads=1)


def test_threads_of_a_worker__never_gives_more_than_there_are() -> None:
    torch.set_num_threads(1)
    assert threads_of_a_worker(1) == threads_of_a_worker(5) == 1
