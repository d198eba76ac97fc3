"""Pure: the machine: disk space, ports, programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from deploy.doctor.findings import Finding, fail, ok, passed_unless, warn

GIGABYTE = 1000**3
FREE_SHARE_MIN = 0.15
"""As the alert on a full disk."""
FREE_BYTES_MIN = 2 * GIGABYTE
"""Below this, writes may fail within minutes of load."""


def check_disk(path: str, *, total: int, free: int) -> list[Finding]:
    """There is room for data: PostgreSQL stops when its disk is full."""
    sentence = f"{free / GIGABYTE:.1f} GB of {total / GIGABYTE:.1f} GB are free at {path}"
    if free < FREE_BYTES_MIN:
        return [fail("disk", sentence, "free space, or use another disk")]
    if free < FREE_SHARE_MIN * total:
        return [warn("disk", sentence, "free space: below 15 % an alert fires")]
    return [ok("disk", sentence)]


def check_ports(in_use: Sequence[int], wanted: Sequence[int], *, advice: str) -> list[Finding]:
    """The published ports are free."""
    found = [fail("ports", f"port {port} is used by another program", advice) for port in wanted if port in in_use]
    return passed_unless(found, "ports", f"free: {', '.join(map(str, wanted))}")


def check_programs(missing: Sequence[str], *, advice: str) -> list[Finding]:
    """The programs that the deployment starts are installed."""
    found = [warn("programs", f"{name} is not installed", advice) for name in missing]
    return passed_unless(found, "programs", "every program is installed")


def check_images(images: Mapping[str, str]) -> list[Finding]:
    """Each image is named by its digest: a tag can be another image tomorrow. Container -> image."""
    loose = sorted({image for image in images.values() if "@sha256:" not in image})
    if not loose:
        return [ok("images", "every image is pinned by digest")]
    return [warn("images", f"not pinned by digest: {', '.join(loose)}", "run `make pin-images` with internet")]


def check_revisions(found: Mapping[str, str | None], expected: Mapping[str, str]) -> list[Finding]:
    """Each database is at the revision of this code."""
    findings = []
    for service, revision in sorted(expected.items()):
        actual = found.get(service)
        if actual is None:
            findings.append(fail("migrations", f"the database {service} has no revision", f"run {service}-migrate"))
        elif actual < revision:
            sentence = f"the database {service} is at {actual}, and this code needs {revision}"
            findings.append(fail("migrations", sentence, f"run {service}-migrate"))
        elif actual > revision:
            sentence = f"the database {service} is at {actual}, newer than this code ({revision})"
            findings.append(warn("migrations", sentence, "expected during an upgrade; else use the newer code"))
    figures = ", ".join(f"{service} {revision}" for service, revision in sorted(expected.items()))
    return passed_unless(findings, "migrations", f"every database is at the revision of this code ({figures})")
