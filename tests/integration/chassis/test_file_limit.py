"""A role may open more files than its supervisor started it with."""

from __future__ import annotations

import base64
import os
import resource
import subprocess
import sys

from deploy.local.ports import find_free
from services.chassis.roles import OPEN_FILES_MAX

PROGRAM = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
from services.chassis import roles
from services.chassis.settings import RoleSettings

async def serve(settings, runtime):
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])

roles.run("demo", {"api": roles.Role(RoleSettings, serve)}, {}, ["api"])
"""


def test_a_role_may_open_as_many_files_as_it_is_permitted_to() -> None:
    """Container engines set a soft limit of 1,024 files, and the gateway accepts 8,000 connections."""
    variables = os.environ | {
        "PAYFLOW_METRICS_PORT": str(find_free()),
        "PAYFLOW_HOST": "127.0.0.1",
        "PAYFLOW_SERVICE_KEY": base64.b64encode(bytes(range(32))).decode(),
        "PAYFLOW_SERVICE_PUBLIC_KEYS": "{}",
    }

    done = subprocess.run([sys.executable, "-c", PROGRAM], env=variables, capture_output=True, text=True, check=True)

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert int(done.stdout) == (OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX))
