"""Figures for Prometheus: requests by route and status, times, and the counts of each scheduler."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from archc.runtime.serving.statistics import Statistics
from archc.serve.models import Model

_COUNTERS = {
    "prompt_tokens": "Tokens of prompts.",
    "cached_tokens": "Tokens of prompts whose state a former request had computed.",
    "new_tokens": "Generated tokens.",
    "finished": "Answers that ended.",
    "canceled": "Answers that were canceled.",
    "failed": "Answers that failed.",
    "refused": "Answers that found the queue full.",
    "calls": "Calls of the graph.",
}
_SECONDS_OF_CALLS = "call_s", "Seconds in calls of the graph."
_GAUGES = {"active": "Answers that have a slot.", "waiting": "Answers that wait for a slot."}
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0)
_ROUTES = {
    "/",
    "/v1/models",
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/responses",
    "/v1/embeddings",
    "/v1/rerank",
    "/tokenize",
    "/detokenize",
    "/health",
    "/metrics",
}


class Metrics:
    """The registry of one server."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter("archc_requests", "Requests.", ["route", "status"], registry=self._registry)
        self._first = Histogram(
            "archc_first_token_seconds",
            "Time from a request to its first token.",
            ["model"],
            registry=self._registry,
            buckets=_SECONDS,
        )
        self._registry.register(_Schedulers(models))

    def request(self, path: str, status: int) -> None:
        """Count a request."""
        self._requests.labels(path if path in _ROUTES else "other", str(status)).inc()

    def first_token(self, model: str, seconds: float) -> None:
        """Note the time to a first token."""
        self._first.labels(model).observe(seconds)

    def text(self) -> bytes:
        """Return all figures in the text format."""
        return generate_latest(self._registry)


class _Schedulers(Collector):
    """Reads the statistics of loaded models; those of a model that was unloaded begin at 0 again."""

    def __init__(self, models: Iterable[Model]) -> None:
        self._models = models

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        loaded = [(model.name, model.service.statistics) for model in self._models if model.service is not None]
        field, text = _SECONDS_OF_CALLS
        yield _filled(CounterMetricFamily("archc_call_seconds", text, labels=["model"]), field, loaded)
        for name, text in _COUNTERS.items():
            yield _filled(CounterMetricFamily(f"archc_{name}", text, labels=["model"]), name, loaded)
        for name, text in _GAUGES.items():
            yield _filled(GaugeMetricFamily(f"archc_{name}", text, labels=["model"]), name, loaded)


def _filled(
    family: CounterMetricFamily | GaugeMetricFamily, name: str, loaded: list[tuple[str, Statistics]]
) -> CounterMetricFamily | GaugeMetricFamily:
    for model, statistics in loaded:
        family.add_metric([model], getattr(statistics, name))
    return family
