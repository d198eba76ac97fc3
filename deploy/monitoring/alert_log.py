"""A webhook of Alertmanager that writes one line per alert to its standard output.

It is the receiver of alerts where no other one is configured, and a record of all of them where one is. Only the standard
library, so that it runs as a single file: `python alert_log.py [PORT]`, and `python alert_log.py check` for its health check.
"""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import urlopen

PORT = 9095
BODY_BYTES_MAX = 4 * 1024 * 1024
READ_SECONDS_MAX = 10
CHECK_SECONDS_MAX = 3
LABELS_SHOWN = ("alertname", "severity")


def lines(notification: dict[str, Any]) -> list[str]:
    """One JSON line for each alert of a notification."""
    return [json.dumps(_line(alert)) for alert in notification["alerts"]]


def _line(alert: dict[str, Any]) -> dict[str, Any]:
    labels, annotations = alert["labels"], alert["annotations"]
    return {
        "event": "alert_received",
        "status": alert["status"],
        **{name: labels.get(name) for name in LABELS_SHOWN},
        "summary": annotations.get("summary"),
        "runbook": annotations.get("runbook"),
        "since": alert["startsAt"],
        "labels": {name: value for name, value in labels.items() if name not in LABELS_SHOWN},
    }


class Handler(BaseHTTPRequestHandler):
    """`GET`: the process is alive. `POST`: a notification."""

    timeout = READ_SECONDS_MAX

    def do_GET(self) -> None:
        """Respond with 200."""
        self._respond(200)

    def do_POST(self) -> None:
        """Write the alerts; 400 if the body is not a notification, so that Alertmanager counts a failure."""
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= BODY_BYTES_MAX:
            self._respond(400)
            return
        try:
            texts = lines(json.loads(self.rfile.read(length)))
        except (ValueError, KeyError, TypeError, AttributeError):
            self._respond(400)
            return
        print(*texts, sep="\n", flush=True)
        self._respond(200)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Nothing: only alerts are written."""

    def _respond(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def serve(host: str, port: int) -> ThreadingHTTPServer:
    """A server that is bound; port 0 chooses a free one."""
    return ThreadingHTTPServer((host, port), Handler)


def main(arguments: list[str]) -> None:
    """Serve until it is ended, or check that the server of this container responds."""
    if arguments == ["check"]:
        urlopen(f"http://127.0.0.1:{PORT}/", timeout=CHECK_SECONDS_MAX).close()
        return
    serve("0.0.0.0", int(arguments[0]) if arguments else PORT).serve_forever()  # noqa: S104 - in a container


if __name__ == "__main__":
    main(sys.argv[1:])
