"""Counters for Prometheus, in a registry of their own, so that several services fit into one process."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """What the service counts. None of it names a person."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "voxanchor_requests", "Requests by route and status.", ["method", "route", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "voxanchor_request_seconds",
            "Time from a request's first byte to its answer's last.",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.decisions = Counter(
            "voxanchor_decisions",
            "Decisions by what was asked and the outcome; 'abstained' is one.",
            ["kind", "decision"],
            registry=self.registry,
        )
        self.audio_seconds = Counter("voxanchor_audio_seconds", "Seconds of audio read.", registry=self.registry)
        self.enrolled = Counter("voxanchor_enrolled_recordings", "Recordings enrolled.", registry=self.registry)
        self.refused = Counter(
            "voxanchor_refused_busy", "Requests refused because too many were in hand.", registry=self.registry
        )
        self.in_hand = Gauge(
            "voxanchor_requests_in_hand", "Requests with recordings, waiting ones included.", registry=self.registry
        )
        self.queue = Gauge(
            "voxanchor_embedding_queue", "Recordings that wait for the model.", ["model"], registry=self.registry
        )
        self.batch_recordings = Histogram(
            "voxanchor_batch_recordings",
            "Recordings embedded at once.",
            ["model"],
            buckets=_BATCHES,
            registry=self.registry,
        )

    def watch_queue(self, model: str, length: Callable[[], float]) -> None:
        """Read the length of a model's queue whenever the metrics are read."""
        self.queue.labels(model).set_function(length)

    def text(self) -> bytes:
        """Return the counters in Prometheus's text format."""
        return generate_latest(self.registry)
