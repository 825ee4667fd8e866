"""``/health`` and ``/metrics`` over HTTP, for those who watch a running pipeline. No password, so local by default."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from duoview.pipelines.errors import media_error

from .metrics import Metrics

if TYPE_CHECKING:
    from duoview.pipelines.run.supervisor import Snapshot


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    timeout = 10  # seconds for one request: a client that sends nothing holds a thread no longer

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are not logged."""


class HealthServer:
    """Serves between `start` and `close`, in threads of its own. `port` is the one it got."""

    def __init__(self, host: str, port: int, metrics: Metrics, snapshot: Callable[[], Snapshot]) -> None:
        """Listen. Raises MediaError where the address cannot be had."""
        from prometheus_client import make_wsgi_app

        self._metrics_page: Any = make_wsgi_app(metrics.registry)
        self._snapshot = snapshot
        try:
            self._server = make_server(host, port, self._answer, server_class=_Server, handler_class=_Quiet)
        except (OSError, OverflowError) as error:
            raise media_error(f"http {host}:{port}", "cannot listen", error) from error
        self.host, self.port = host, int(self._server.server_port)
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)

    def start(self) -> None:
        """Start to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop, and free the port."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()

    def _answer(self, environment: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path = environment.get("PATH_INFO", "")
        if path == "/metrics":
            page: Iterable[bytes] = self._metrics_page(environment, start)
            return page
        status, content = "404 Not Found", {"error": "expected /health or /metrics"}
        if path == "/health":
            report = self._snapshot()
            status, content = ("200 OK" if report.healthy else "503 Service Unavailable"), report.to_dict()
        data = json.dumps(content, ensure_ascii=False).encode()
        start(status, [("Content-Type", "application/json"), ("Content-Length", str(len(data)))])
        return [data]
