"""Figures for Prometheus. Labels come from closed lists only: no client can add a series."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from keshikaran.types import Prediction, Verdict

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
STAGES = ("body", "queue", "decode", "infer")
REJECTIONS = frozenset(
    {
        *("queue_full", "memory_full", "server_full", "too_many_connections", "length_required"),
        *("too_large", "request_timeout", "headers_too_large", "bad_request"),
    }
)
"""Problem codes that are counted as refusals for want of room or patience."""

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
_SCORES = tuple(step / 20 for step in range(1, 21))


class Metrics:
    """One server's figures, in a registry of their own."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._registry = registry
        self._requests = Counter(
            "keshikaran_requests",
            "Requests, by route, status and problem code (empty where there was none).",
            ["route", "status", "code"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "keshikaran_request_seconds",
            "From a request's head to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._predictions = Counter(
            "keshikaran_predictions", "Images answered.", ["verdict"], registry=registry
        )
        self._scores = Histogram(
            "keshikaran_score", "Scores given.", buckets=_SCORES, registry=registry
        )
        self._stages = Histogram(
            "keshikaran_stage_seconds",
            "Time an image spends in the queue, in decoding, in the network; a body in arriving.",
            ["stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._rejected = Counter(
            "keshikaran_rejected",
            "Requests and connections refused for want of room or patience.",
            ["code"],
            registry=registry,
        )
        self._cached = Counter(
            "keshikaran_cached", "Images answered from memory.", registry=registry
        )
        self._reloads = Counter(
            "keshikaran_reloads", "Model files loaded later on.", ["outcome"], registry=registry
        )
        self._model = Gauge(
            "keshikaran_model_loaded_timestamp_seconds",
            "When the model that answers was loaded.",
            ["model_id"],
            registry=registry,
        )
        self.waiting = Gauge(
            "keshikaran_queue_depth", "Images that wait or are at work.", registry=registry
        )
        self.body_bytes = Gauge(
            "keshikaran_body_bytes", "Bytes of bodies in memory.", registry=registry
        )
        self.connections = Gauge("keshikaran_connections", "Open connections.", registry=registry)
        self._begin_at_zero()

    def request(self, route: str, status: int, code: str, seconds: float) -> None:
        """A request has ended."""
        self._requests.labels(route, str(status), code).inc()
        self._request_seconds.labels(route).observe(seconds)

    def prediction(self, prediction: Prediction, *, cached: bool = False) -> None:
        """An image was answered."""
        self._predictions.labels(prediction.verdict).inc()
        if prediction.score is not None:
            self._scores.observe(prediction.score)
        if cached:
            self._cached.inc()

    def stage(self, name: str, seconds: float) -> None:
        """An image spent this long in a stage."""
        self._stages.labels(name).observe(seconds)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """Tell how long a block took, if it came to its end."""
        started = time.perf_counter()
        yield
        self.stage(name, time.perf_counter() - started)

    def rejected(self, code: str) -> None:
        """A request or a connection was refused for want of room or patience."""
        self._rejected.labels(code).inc()

    def reloaded(self, outcome: str) -> None:
        """A model was loaded (`done`) or could not be (`refused`)."""
        self._reloads.labels(outcome).inc()

    def model(self, model_id: str) -> None:
        """This model answers from now on."""
        self._model.clear()
        self._model.labels(model_id).set(time.time())

    def _begin_at_zero(self) -> None:
        """Show each series from the start: what first appears as 1 never was an increase."""
        for verdict in get_args(Verdict):
            self._predictions.labels(verdict)
        for stage in STAGES:
            self._stages.labels(stage)
        for code in sorted(REJECTIONS):
            self._rejected.labels(code)
        for outcome in ("done", "refused"):
            self._reloads.labels(outcome)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return generate_latest(self._registry)
