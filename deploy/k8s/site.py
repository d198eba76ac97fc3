"""What an operator chooses for a deployment: the name of the host and HTTPS. It is remembered for the next deployment."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.local import files
from deploy.programs import DeployError

FILE = "site.json"
_HOST = re.compile(r"(?=.{1,253}\Z)([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Site:
    """One deployment's address."""

    host: str | None = None
    """None: every name and address of the machine."""
    tls: bool = False

    @property
    def url(self) -> str:
        """The address for people."""
        return f"{'https' if self.tls else 'http'}://{self.host or 'localhost'}"


def choose(folder: Path, *, host: str | None, tls: bool | None) -> Site:
    """The site as it was deployed last, with what is given now.

    Raises:
        DeployError: the host is no name, or HTTPS is wanted without one.
    """
    before = files.read_object(folder / FILE) or {}
    site = Site(
        host=before.get("host") if host is None else host or None, tls=bool(before.get("tls") if tls is None else tls)
    )
    if site.host is not None and not _HOST.fullmatch(site.host):
        raise DeployError(f"HOST={site.host} is no host name: give it without scheme, port and path")
    if site.tls and site.host is None:
        raise DeployError("TLS=1 needs the name of the host that the certificate is for: HOST=pay.example.com")
    return site


def remember(folder: Path, site: Site) -> None:
    """Write the site for the next deployment."""
    files.make_folder(folder)
    files.write_json(folder / FILE, asdict(site))
