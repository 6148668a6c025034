"""`beit serve` as a function: a model behind one HTTP address, answered here or by the machines of a cluster."""

import logging
import sys
from collections.abc import Callable

from modelscope_beit.errors import require
from modelscope_beit.serving.served_model import ServedModel
from modelscope_beit.settings.serving import ServingSettings

_logger = logging.getLogger(__name__)
_PACKAGES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "httpcore")


def serve(
    model: ServedModel,
    settings: ServingSettings,
    *,
    on_listening: Callable[[str, int], None] = lambda host, port: None,
    on_ray: bool = False,
) -> None:
    """Serves a model until SIGTERM or SIGINT comes, and all accepted requests are answered.

    on_listening: told host and port, before the model is open. on_ray: the workers are replicas of Ray Serve, on the
    machines of a cluster; each of them finds the folder there.
    Raises BeitError if the model or the settings cannot be used, MissingPackageError without the extra serve or ray.
    """
    for package in _PACKAGES:
        require(package, extra="serve", purpose="to serve over HTTP")
    if settings.token is None and settings.host not in ("127.0.0.1", "::1", "localhost"):
        _logger.warning("Whoever can reach %s can use this model: there is no token.", settings.host)
    # Deferred: they bring packages of the extras.
    if on_ray:
        from modelscope_beit.serving.ray_engine import serve_on_ray

        serve_on_ray(model, settings, on_listening)
    elif sys.platform == "linux":
        from modelscope_beit.serving.processes import serve_with_processes

        serve_with_processes(settings, lambda: _shared_work(model, settings), on_listening)
    else:
        from modelscope_beit.serving.opening import own_work
        from modelscope_beit.serving.threads import serve_with_a_thread

        serve_with_a_thread(settings, lambda connection: own_work(model, settings, connection), on_listening)


def _shared_work(model: ServedModel, settings: ServingSettings) -> Callable:
    # Deferred: it brings torch, which the process that serves HTTP does without.
    from modelscope_beit.serving.opening import shared_work

    return shared_work(model, settings)
