"""A served model -> what its workers do. Opened once for all of them where a fork can share it."""

import logging
import os
import socket
from collections.abc import Callable

import torch

from modelscope_beit.export.opening import exported_folder, open_model_or_export
from modelscope_beit.prediction.answering import answering_model
from modelscope_beit.serving.classifying_batches import BatchClassifier
from modelscope_beit.serving.served_model import ServedModel
from modelscope_beit.serving.worker import work
from modelscope_beit.settings.inference import TORCH
from modelscope_beit.settings.serving import ServingSettings

_logger = logging.getLogger(__name__)


def open_classifier(model: ServedModel, settings: ServingSettings, *, threads: int) -> BatchClassifier:
    """Returns what classifies batches; threads: that decode. Raises BeitError if the model cannot answer like that."""
    opened = open_model_or_export(model.folder, device=model.device, trust_remote_code=model.trust_remote_code)
    answering = answering_model(
        opened,
        model.inference,
        batch_size=settings.max_batch,
        on_choice=lambda choice: _logger.warning("%s", choice),
    )
    return BatchClassifier(answering, max_pixels=settings.max_pixels, threads=threads, fast_decode=model.fast_decode)


def shared_work(model: ServedModel, settings: ServingSettings) -> Callable[[socket.socket], None]:
    """Opens the model, if a fork can share it, and returns what each worker does with its connection.

    Computes in one thread. Raises BeitError if the model cannot be opened.
    """
    if model.device != "cpu" or model.inference.backend != TORCH or exported_folder(model.folder) is not None:
        # A GPU's context and the threads of other runtimes do not survive a fork: each worker has its own.
        return lambda connection: own_work(model, settings, connection)
    threads = threads_of_a_worker(settings.workers)
    # Nor do those of OpenMP: so none are started before the workers are there.
    torch.set_num_threads(1)
    classifier = open_classifier(model, settings, threads=threads)

    def with_it(connection: socket.socket) -> None:
        torch.set_num_threads(threads)
        work(connection, lambda: classifier, warm_up_batch=settings.max_batch)

    return with_it


def own_work(model: ServedModel, settings: ServingSettings, connection: socket.socket) -> None:
    """Answers a connection with a model that this worker opens for itself."""
    threads = threads_of_a_worker(settings.workers)
    torch.set_num_threads(threads)
    work(connection, lambda: open_classifier(model, settings, threads=threads), warm_up_batch=settings.max_batch)


def threads_of_a_worker(workers: int) -> int:
    """Returns how many threads each of several workers may use, so that all together use what this process may."""
    return max(1, min(torch.get_num_threads(), os.cpu_count() or 1) // workers)
