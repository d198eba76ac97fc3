"""The environment of one role, with engines and upstreams that nothing listens for unless a test names others."""

from __future__ import annotations

import base64
import os

from deploy import facts
from deploy.local.ports import find_free

SEED = base64.b64encode(bytes(range(32))).decode()
PUBLIC_KEY = "A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
"""The public half of `SEED`."""

PASSWORD = "kW3vQ9sZ1xT7pL5mB2nR8dF4"
ADDRESSES = {
    "_DATABASE_URL": f"postgresql://someone:{PASSWORD}@127.0.0.1:9/x",
    "_RABBITMQ_URL": f"amqp://someone:{PASSWORD}@127.0.0.1:9/",
    "_REDIS_URL": f"redis://someone:{PASSWORD}@127.0.0.1:9/0",
    "_SMTP_URL": "smtp://127.0.0.1:9",
    "_URL": "http://127.0.0.1:9",
}
"""By the ending of the variable; the first that fits."""


def environment(name: str, **given: str) -> dict[str, str]:
    """What the role needs to start, on free ports of the loopback interface; `given` replaces some of it."""
    process = facts.ROLES[name]
    variables = {
        "PATH": os.environ["PATH"],
        "PAYFLOW_HOST": "127.0.0.1",
        "PAYFLOW_METRICS_PORT": str(find_free()),
        "PAYFLOW_SERVICE_KEY": SEED,
        "PAYFLOW_SERVICE_PUBLIC_KEYS": f'{{"{name}": "{PUBLIC_KEY}"}}',
    }
    if process.port:
        variables[f"PAYFLOW_{process.service.upper()}_PORT"] = str(find_free())
    for variable in process.required - set(variables):
        variables[variable] = next((url for end, url in ADDRESSES.items() if variable.endswith(end)), PASSWORD * 2)
    return variables | given
