"""The steps of a restore that run in the image of the roles."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]


def test_image_has_what_the_steps_import(tmp_path: Path) -> None:
    """What the Dockerfile copies of deploy/ is enough to run the comparison and the reset."""
    dockerfile = (ROOT / "deploy/image/Dockerfile").read_text()
    lines = re.findall(r"^COPY (deploy/\S+(?: deploy/\S+)*) (deploy/\S*)$", dockerfile, flags=re.MULTILINE)
    for sources, target in lines:
        for source in sources.split():
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target)
            else:
                (tmp_path / target).mkdir(exist_ok=True)
                shutil.copy(ROOT / source, tmp_path / target)

    for step in ("compare", "reset"):
        command = [sys.executable, "-m", "deploy.backup", step]
        done = subprocess.run(command, cwd=tmp_path, env={}, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr[:16]) == (1, "payflow: not set")
