"""What an operator watches: health and counts, on a port of their own."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from jsmpc._src.deployment.errors import ConfigError
from jsmpc._src.errors import JsmpcError

_SECONDS = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
_HOST = "127.0.0.1"
READY = "ready"


class Metrics:
    """Counts of one endpoint, in the form of Prometheus.

    Args:
      by_client: whether clients are named in counts of queries and refusals.

    Attributes:
      health: tells whether the service is `READY`, or else what it does.
    """

    def __init__(self, by_client: bool = False) -> None:
        try:
            import prometheus_client as prometheus
        except ImportError:
            raise JsmpcError(
                "a service counts with prometheus-client, which is not installed. Run "
                "pip install 'jsmpc[workers]'"
            ) from None
        self._prometheus, self._by_client = prometheus, by_client
        self.registry = registry = prometheus.CollectorRegistry()
        client = ["client"] if by_client else []
        of: dict[str, Any] = {"registry": registry, "namespace": "jsmpc"}
        self._queries = prometheus.Counter("queries", "Queries answered", client, **of)
        self._inputs = prometheus.Counter("inputs", "Inputs of these queries", client, **of)
        self._seconds = prometheus.Histogram(
            "latency_seconds", "From a query to its answer", buckets=_SECONDS, **of
        )
        self._batches = prometheus.Histogram(
            "batch_inputs", "Inputs of each batch", buckets=[2**i for i in range(13)], **of
        )
        self._refusals = prometheus.Counter(
            "refusals", "Queries that were not answered", ["reason", *client], **of
        )
        self.health: Callable[[], str] = lambda: "starting"

    def answered(self, caller: str, inputs: int, seconds: float) -> None:
        """Counts a query that was answered."""
        self._of(self._queries, caller).inc()
        self._of(self._inputs, caller).inc(inputs)
        self._seconds.observe(seconds)

    def refused(self, caller: str, reason: str) -> None:
        """Counts a query that was not answered."""
        self._of(self._refusals, caller, reason=reason).inc()

    def ran(self, inputs: int) -> None:
        """Counts a batch."""
        self._batches.observe(inputs)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """Shows what a function returns when it is asked for."""
        gauge = self._prometheus.Gauge(name, about, registry=self.registry, namespace="jsmpc")
        gauge.set_function(value)

    def _of(self, metric: Any, caller: str, **labels: str) -> Any:
        named = {**labels, "client": caller} if self._by_client else labels
        return metric.labels(**named) if named else metric

    @contextlib.contextmanager
    def listening(self, port: int) -> Iterator[None]:
        """Answers `/healthz` and `/metrics` on this machine for as long as the context lasts.

        Raises:
          ConfigError: if somebody listens there.
        """
        try:
            server = ThreadingHTTPServer((_HOST, port), self._handler())
        except OSError as error:
            raise ConfigError(
                f"--metrics: cannot listen at {_HOST}:{port}: {error.strerror}. Take another port"
            ) from None
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        metrics, prometheus = self, self._prometheus

        class Handler(BaseHTTPRequestHandler):
            timeout = 5.0

            def do_GET(self) -> None:
                if self.path == "/healthz":
                    health = metrics.health()
                    self._reply(200 if health == READY else 503, f"{health}\n".encode())
                elif self.path == "/metrics":
                    text = prometheus.generate_latest(metrics.registry)
                    self._reply(200, text, prometheus.CONTENT_TYPE_LATEST)
                else:
                    self._reply(404, b"there are /healthz and /metrics\n")

            def _reply(self, code: int, text: bytes, kind: str = "text/plain") -> None:
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                pass

        return Handler
