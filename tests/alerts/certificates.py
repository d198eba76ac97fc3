"""A page with a certificate whose remaining time can be changed while it is served."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from deploy.local.ports import LOOPBACK, find_free

FRESH_DAYS, EXPIRING_DAYS, NEARLY_EXPIRED_DAYS = 365, 10, 2
DAYS = (FRESH_DAYS, EXPIRING_DAYS, NEARLY_EXPIRED_DAYS)


class SecurePage:
    """A server on the loopback interface with one of several certificates."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._port = find_free()
        for days in DAYS:
            _make(folder, days)
        self.use(FRESH_DAYS)

    @property
    def address(self) -> str:
        """The address of the page."""
        return f"https://{LOOPBACK}:{self._port}/"

    @property
    def trusted(self) -> str:
        """All certificates, for clients that trust them."""
        return "".join((self._folder / f"{days}.pem").read_text() for days in DAYS)

    def use(self, days: int) -> None:
        """Use the certificate that is valid for so many days, from the next connection on."""
        self._context.load_cert_chain(self._folder / f"{days}.pem", self._folder / f"{days}.key")

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Serve the page during the block."""
        app = web.Application()
        app.router.add_get("/", _respond)
        runner = web.AppRunner(app)
        await runner.setup()
        try:
            await web.TCPSite(runner, LOOPBACK, self._port, ssl_context=self._context).start()
            yield
        finally:
            await runner.cleanup()


async def _respond(_request: web.Request) -> web.Response:
    return web.Response()


def _make(folder: Path, days: int) -> None:
    """A certificate that signs itself."""
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", f"/CN=payflow-{days}"]
    command += ["-days", str(days), "-addext", f"subjectAltName=IP:{LOOPBACK}"]
    command += ["-keyout", str(folder / f"{days}.key"), "-out", str(folder / f"{days}.pem")]
    subprocess.run(command, check=True, capture_output=True)
