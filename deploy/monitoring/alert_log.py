"""A webhook of Alertmanager that writes one line per alert to its standard output.

It is the receiver of alerts where no other one is configured, and a record of all of them where one is. Of the alert that always
fires it writes only when it is missing and when it is back. Only the standard library, so that it runs as a single file:
`python alert_log.py [PORT [WATCHDOG_SECONDS]]`, and `python alert_log.py check` for its health check.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import urlopen

PORT = 9095
BODY_BYTES_MAX = 4 * 1024 * 1024
READ_SECONDS_MAX = 10
CHECK_SECONDS_MAX = 3
LABELS_SHOWN = ("alertname", "severity")
WATCHDOG = "Watchdog"
"""The alert that always fires."""
WATCHDOG_SECONDS = 180.0
"""It is missing when it has not arrived for so long: Alertmanager repeats it every minute."""
CHECK_EVERY_SECONDS = 1.0


def lines(notification: dict[str, Any]) -> list[str]:
    """One JSON line for each alert of a notification, except the watchdog."""
    return [json.dumps(_line(alert)) for alert in notification["alerts"] if not _is_watchdog(alert)]


def _is_watchdog(alert: dict[str, Any]) -> bool:
    return bool(alert["labels"].get("alertname") == WATCHDOG)


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


class Watchdog:
    """When the alert that always fires last arrived, and whether that is too long ago."""

    def __init__(self, seconds: float = WATCHDOG_SECONDS) -> None:
        """`seconds` is the longest time between two arrivals."""
        self._seconds = seconds
        self._arrived = time.monotonic()
        self._is_missing: bool | None = None
        """None: it has not arrived yet, and is not overdue."""
        self._lock = threading.Lock()

    def record(self) -> list[str]:
        """It has arrived; the line to write, if this is new."""
        with self._lock:
            self._arrived = time.monotonic()
            is_new, self._is_missing = self._is_missing is not False, False
        return [json.dumps({"event": "watchdog_received"})] if is_new else []

    def check(self) -> list[str]:
        """The line to write, if it has just become overdue."""
        with self._lock:
            seconds = time.monotonic() - self._arrived
            if self._is_missing or seconds <= self._seconds:
                return []
            self._is_missing = True
        summary = "No alert arrives: Prometheus or Alertmanager is down, or cannot be reached"
        return [json.dumps({"event": "watchdog_missing", "seconds": round(seconds), "summary": summary})]


class Server(ThreadingHTTPServer):
    """The receiver, with the state of the watchdog."""

    watchdog: Watchdog

    def run_checks(self, stopping: threading.Event) -> None:
        """Write a line when the watchdog is missing, until stopped."""
        while not stopping.wait(CHECK_EVERY_SECONDS):
            write(self.watchdog.check())


def write(texts: list[str]) -> None:
    """Write lines at once, in one piece."""
    if texts:
        print(*texts, sep="\n", flush=True)


class Handler(BaseHTTPRequestHandler):
    """`GET`: the process is alive. `POST`: a notification."""

    timeout = READ_SECONDS_MAX
    server: Server

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
            notification = json.loads(self.rfile.read(length))
            texts = lines(notification)
            has_watchdog = any(alert["status"] == "firing" and _is_watchdog(alert) for alert in notification["alerts"])
        except (ValueError, KeyError, TypeError, AttributeError):
            self._respond(400)
            return
        if has_watchdog:
            texts += self.server.watchdog.record()
        write(texts)
        self._respond(200)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as inherited
        """Nothing: only alerts are written."""

    def _respond(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()


def serve(host: str, port: int, *, watchdog_seconds: float = WATCHDOG_SECONDS) -> Server:
    """A server that is bound; port 0 chooses a free one."""
    made = Server((host, port), Handler)
    made.watchdog = Watchdog(watchdog_seconds)
    return made


def main(arguments: list[str]) -> None:
    """Serve until it is ended, or check that the server of this container responds."""
    if arguments == ["check"]:
        urlopen(f"http://127.0.0.1:{PORT}/", timeout=CHECK_SECONDS_MAX).close()
        return
    port = int(arguments[0]) if arguments else PORT
    seconds = float(arguments[1]) if len(arguments) > 1 else WATCHDOG_SECONDS
    server = serve("0.0.0.0", port, watchdog_seconds=seconds)  # noqa: S104 - in a container
    threading.Thread(target=server.run_checks, args=[threading.Event()], daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    main(sys.argv[1:])
