"""Write what the containers of the monitoring profile read: copies of `monitoring/`, and the configuration of Alertmanager.

They are copies because the user of a container must be able to read them, whatever the umask of the clone. The folder of the
deployment around them is closed to other users.
"""

from __future__ import annotations

import json
from pathlib import Path

from deploy.local import files
from deploy.local.home import REPOSITORY
from deploy.monitoring import alert_log, alerting

SOURCE = REPOSITORY / "monitoring"
COPIED = (
    "prometheus/prometheus.yml",
    "prometheus/rules/*.yml",
    "blackbox/blackbox.yml",
    "loki/loki.yml",
    "loki/compose.alloy",
    "grafana/provisioning/*/*.yml",
    "grafana/dashboards/*.json",
)
SETTINGS = "alerts"
PUBLIC = "prometheus/targets/public.json"
"""The public address, in the format of `file_sd_configs`."""

FOLDER = "monitoring"
FOLDER_MODE = 0o755
FILE_MODE = 0o444


def prepare(target: Path, *, public_url: str = "") -> None:
    """Write `monitoring/` of a deployment; its settings are files in `alerts/`. Safe to repeat.

    Prometheus probes `public_url`, the address of the proxy before the gateway, unless it is empty.

    Raises:
        DeployError: a setting is wrong; nothing was changed then.
    """
    files.make_folder(target / SETTINGS)
    texts = {f"alertmanager/{name}": text for name, text in alerting.texts(alerting.read(target / SETTINGS)).items()}
    texts |= {
        path.relative_to(SOURCE).as_posix(): path.read_text() for pattern in COPIED for path in SOURCE.glob(pattern)
    }
    texts[PUBLIC] = _public_target(public_url)
    texts["alert_log.py"] = Path(alert_log.__file__).read_text()
    _write(target / FOLDER, texts)


def _public_target(url: str) -> str:
    """One target, or none."""
    target = {"targets": [f"{url.rstrip('/')}/livez"], "labels": {"probe": "public"}}
    return json.dumps([target] if url else [], indent=2) + "\n"


def _write(folder: Path, texts: dict[str, str]) -> None:
    """Replace the content of a folder. The folders stay: a container that has one mounted would lose it."""
    for name, text in texts.items():
        path = folder / name
        for parent in (path.parent, *path.parent.parents):
            if parent.is_relative_to(folder):
                parent.mkdir(parents=True, exist_ok=True)
                parent.chmod(FOLDER_MODE)
        files.write_atomically(path, text, mode=FILE_MODE)
    for path in folder.rglob("*"):
        if path.is_file() and path.relative_to(folder).as_posix() not in texts:
            path.unlink()
