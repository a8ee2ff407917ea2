"""What the receiver counts, for Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 3)


class Metrics:
    """The figures of one process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._answers = Counter(
            "customerio_receive_answers",
            "Requests that were answered, by status and code of the error.",
            ("status", "code"),
            registry=self._registry,
        )
        self._events = Counter(
            "customerio_receive_events",
            "Calls and webhooks that are on disk.",
            ("schema",),
            registry=self._registry,
        )
        self._bytes = Counter(
            "customerio_receive_bytes",
            "Bytes of their lines in the spool.",
            ("schema",),
            registry=self._registry,
        )
        commits = Histogram(
            "customerio_receive_commit_seconds",
            "Time to write and sync lines, of however many requests.",
            buckets=_SECONDS,
            registry=self._registry,
        )
        self.committed = commits.observe
        self.ready = Gauge(
            "customerio_receive_ready", "Whether events can be kept.", registry=self._registry
        )

    def answered(self, status: int, code: str) -> None:
        """Count an answer."""
        self._answers.labels(status, code).inc()

    def received(self, schema: str, events: int, size: int) -> None:
        """Count what is on disk."""
        self._events.labels(schema).inc(events)
        self._bytes.labels(schema).inc(size)

    def text(self) -> bytes:
        """All figures, as Prometheus reads them."""
        return generate_latest(self._registry)
