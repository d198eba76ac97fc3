"""What a smoke run needs: the address, and the credentials of an operator."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.programs import DeployError
from payflow.address import parse_address
from payflow.errors import Misconfigured

EMAIL, PASSWORD, API_KEY = "PAYFLOW_OPERATOR_EMAIL", "PAYFLOW_OPERATOR_PASSWORD", "PAYFLOW_API_KEY"
CA_FILE = "SSL_CERT_FILE"
"""OpenSSL's own variable: the certificate authorities to trust."""


@dataclass(frozen=True, slots=True)
class Operator:
    """An operator: an e-mail address and a password, or an API key with the scope `operate`."""

    email: str | None = None
    password: str | None = field(default=None, repr=False)
    api_key: str | None = field(default=None, repr=False)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Operator:
        """The credentials in the environment. There is no default: a deployment has no operator with a known password.

        Raises:
            DeployError: there are none, only half of them, or two kinds.
        """
        email, password, api_key = (environment.get(name) or None for name in (EMAIL, PASSWORD, API_KEY))
        if api_key and (email or password):
            raise DeployError(f"set either {API_KEY}, or {EMAIL} and {PASSWORD}, not both")
        if not api_key and not (email and password):
            raise DeployError(
                f"the smoke test needs an operator: set {EMAIL} and {PASSWORD}, or {API_KEY} with the scope operate"
            )
        return cls(email, password, api_key)


def check_address(text: str) -> str:
    """The address of the gateway in its normal form.

    Raises:
        DeployError: there is none, or it is not an address.
    """
    if not text:
        raise DeployError("name the published address: make smoke URL=http://127.0.0.1:8000")
    try:
        return parse_address(text)
    except Misconfigured as error:
        raise DeployError(str(error)) from None


def check_ca_file(environment: Mapping[str, str]) -> None:
    """Check the file of certificate authorities; OpenSSL itself ignores one that it cannot read.

    Raises:
        DeployError: it has no certificate.
    """
    path = environment.get(CA_FILE)
    if not path:
        return
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:
        raise DeployError(f"{CA_FILE} is {path}, which has no certificate: {error.strerror or error}") from None
