"""Routes of one's own second factor."""

from __future__ import annotations

from aiohttp import web

from services.gateway import errors, operations, responses, schemas
from services.gateway.api import credentials
from services.gateway.operations import BODY, Answer, Operation

BASE = f"{operations.BASE}/auth/totp"


async def start_totp(request: web.Request) -> web.Response:
    """Propose a second factor.

    Put the secret, or the URI as a QR code, into an authenticator and confirm with its first code; until then logins do not ask
    for one. Starting again replaces a secret that was not confirmed.
    """
    asked: schemas.auth.StartTotp = request[BODY]
    return responses.document(await credentials.show_own(request, "POST", "/internal/totp", asked.model_dump()))


async def confirm_totp(request: web.Request) -> web.Response:
    """Turn the second factor on with its first code.

    The recovery codes are shown now and never again; each of them stands in for a code once.
    """
    asked: schemas.auth.ConfirmTotp = request[BODY]
    body = asked.model_dump()
    return responses.document(await credentials.show_own(request, "POST", "/internal/totp/confirm", body, once=True))


async def remove_totp(request: web.Request) -> web.Response:
    """Turn the second factor off."""
    asked: schemas.auth.ProveTotp = request[BODY]
    await credentials.show_own(request, "DELETE", "/internal/totp", asked.model_dump(), once=True)
    return responses.empty()


async def renew_recovery_codes(request: web.Request) -> web.Response:
    """Make other recovery codes.

    Those before open nothing any more. These are shown now and never again.
    """
    asked: schemas.auth.ProveTotp = request[BODY]
    body = asked.model_dump()
    return responses.document(
        await credentials.show_own(request, "POST", "/internal/totp/recovery-codes", body, once=True)
    )


ON_PROOF = (errors.InvalidCredentials, errors.UserDisabled, errors.TotpNotEnabled, errors.TooManyLogins)

OPERATIONS = (
    Operation(
        "POST",
        BASE,
        start_totp,
        (Answer(200, "The secret.", schemas.auth.TotpProposal),),
        body=schemas.auth.StartTotp,
        refusals=(errors.InvalidCredentials, errors.TotpAlreadyEnabled, errors.TooManyLogins),
    ),
    Operation(
        "POST",
        f"{BASE}/confirm",
        confirm_totp,
        (Answer(200, "On; the recovery codes.", schemas.auth.RecoveryCodes),),
        body=schemas.auth.ConfirmTotp,
        refusals=(errors.InvalidCredentials, errors.TotpAlreadyEnabled, errors.TotpNotStarted, errors.UserNotFound),
    ),
    Operation(
        "DELETE",
        BASE,
        remove_totp,
        (Answer(204, "Off."),),
        body=schemas.auth.ProveTotp,
        refusals=ON_PROOF,
    ),
    Operation(
        "POST",
        f"{BASE}/recovery-codes",
        renew_recovery_codes,
        (Answer(200, "The recovery codes.", schemas.auth.RecoveryCodes),),
        body=schemas.auth.ProveTotp,
        refusals=ON_PROOF,
    ),
)
