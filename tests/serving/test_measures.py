"""The figures, read by Prometheus's own parser."""

from prometheus_client.parser import text_string_to_metric_families

from modelscope_beit.serving.measures import Measures


def test_text__is_what_prometheus_reads() -> None:
    measures = Measures()
    measures.requests.labels("/predict", 200).inc()
    measures.request_seconds.labels("/predict").observe(0.03)
    measures.batch_pictures.observe(3)
    waiting = [1, 2]
    measures.watch("queue", lambda: len(waiting))
    waiting.append(3)
    families = {family.name: family for family in text_string_to_metric_families(measures.text().decode())}
    assert families["beit_queue_pictures"].samples[0].value == 3
    (request,) = [sample for sample in families["beit_requests"].samples if sample.name == "beit_requests_total"]
    assert (request.labels, request.value) == ({"path": "/predict", "code": "200"}, 1)
    at_most = {
        float(sample.labels["le"]): sample.value
        for sample in families["beit_batch_pictures"].samples
        if sample.name.endswith("_bucket")
    }
    assert (at_most[2.0], at_most[4.0]) == (0, 1)
    assert {sample.labels.get("outcome") for sample in families["beit_pictures"].samples} >= {"classified", "error"}


def test_measures__of_two_servers_are_their_own() -> None:
    first, second = Measures(), Measures()
    first.worker_deaths.inc()
    assert b"beit_worker_deaths_total 1.0" in first.text()
    assert b"beit_worker_deaths_total 0.0" in second.text()
