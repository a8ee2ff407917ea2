"""What can be seen of the forwarder, for Prometheus."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from loader.config import Settings
from loader.errors import UsageError
from loader.forward.by_hand import standing_of
from loader.forward.state import opened

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

_COUNTED = {
    "sent": "Calls that a destination has accepted.",
    "retries": "Requests that were sent again, or wait for it.",
    "missed_files": "Spool files that were removed or cut before all of them was sent.",
}
_MEASURED = {
    "dead_letters": "Calls that a destination has refused for good.",
    "paused": "1 where somebody has to do something before anything is sent.",
    "waiting_files": "Finished spool files of which something is to be sent.",
    "waiting_bytes": "Bytes of them.",
    "lag_seconds": "Seconds since the oldest of them was begun.",
}


class _Collector:
    """Reads the state whenever it is asked."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def collect(self) -> "Iterable[Metric]":
        """A metric for each fact, with a value for each destination."""
        from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily

        prefix, label = "customerio_forward_", ["destination"]
        counted = {
            name: CounterMetricFamily(prefix + name, text, labels=label)
            for name, text in _COUNTED.items()
        }
        measured = {
            name: GaugeMetricFamily(prefix + name, text, labels=label)
            for name, text in _MEASURED.items()
        }
        with opened(self._settings.spool_dir) as state:
            for one in self._settings.destination:
                known = standing_of(self._settings, state, one)
                if known is None:
                    continue
                found, waiting = known
                counts = (found.sent, found.retries, found.missed)
                for counter, value in zip(counted.values(), counts, strict=True):
                    counter.add_metric([one.name], value)
                values = (found.dead, found.paused, *waiting)
                for gauge, measure in zip(measured.values(), values, strict=True):
                    gauge.add_metric([one.name], measure)
        return [*counted.values(), *measured.values()]


def serve_metrics(settings: Settings, host: str, port: int) -> None:
    """Answer `/metrics` from a thread."""
    try:
        from prometheus_client import CollectorRegistry, start_http_server
    except ImportError as error:
        raise UsageError(
            f"metrics need the package {error.name!r}: pip install 'customerio-loader[forward]'"
        ) from None
    registry = CollectorRegistry()
    registry.register(_Collector(settings))
    try:
        start_http_server(port, host, registry=registry)
    except OSError as error:
        raise UsageError(
            f"metrics cannot be served at {host} port {port}: {error.strerror}; choose another one "
            "with --metrics-port and --metrics-host"
        ) from None
