"""`make sbom`: the software bill of materials of the image's Python packages, in the CycloneDX format."""

from __future__ import annotations

import tempfile
from pathlib import Path

from deploy import programs
from deploy.image import build
from deploy.local import bootstrap

FOLDER = build.REPOSITORY / "dist"
SYNC = ("sync", "--locked", "--no-dev", "--all-packages", "--no-editable", "--quiet")
"""As the Dockerfile syncs, so that what is listed is what is in the image."""
SECONDS_MAX = 300.0


def write(folder: Path = FOLDER) -> Path:
    """Write the bill of materials and return its path."""
    folder.mkdir(exist_ok=True)
    path = folder / f"payflow-{build.version()}.cdx.json"
    with tempfile.TemporaryDirectory() as name:
        environment = Path(name) / "environment"
        uv = programs.find("uv", hint="run make engines")
        programs.output(
            [uv, *SYNC, *_extra(), "--project", str(build.REPOSITORY)],
            what="installing the packages of the image",
            environment=bootstrap.uv_environment(environment),
            seconds_max=SECONDS_MAX,
        )
        tool = programs.find("cyclonedx-py", hint="run make engines")
        options = ["--output-reproducible", "--output-format", "JSON", "--output-file", str(path)]
        programs.output(
            [tool, "environment", *options, str(environment / "bin" / "python")],
            what="cyclonedx-py",
            seconds_max=SECONDS_MAX,
        )
    return path


def _extra() -> list[str]:
    name = build.extra()
    return ["--extra", name] if name else []
