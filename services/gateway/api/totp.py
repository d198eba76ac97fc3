"""Routes for the second factor."""

from __future__ import annotations

from aiohttp import web

from services.gateway import errors, operations, responses, schemas
from services.gateway.api import credentials
from services.gateway.operations import BODY, Operation, Response
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.upstreams import UPSTREAMS

BASE = f"{operations.BASE}/auth/totp"


async def start_totp(request: web.Request) -> web.Response:
    """Set up a second factor.

    Add the secret, or the URI as a QR code, to an authenticator app and confirm with the first code; until then, logins do not
    require one. Starting again replaces an unconfirmed secret.
    """
    body: schemas.auth.StartTotp = request[BODY]
    async with credentials.confirmation(request, with_code=False):
        proposal = await request.app[UPSTREAMS].auth.start_totp(
            user_id=request[PRINCIPAL].user_id, password=body.password
        )
    return responses.document(proposal)


async def confirm_totp(request: web.Request) -> web.Response:
    """Enable the second factor.

    Requires its first code. The recovery codes are shown only here; each replaces a code once.
    """
    body: schemas.auth.ConfirmTotp = request[BODY]
    async with credentials.confirmation(request, with_code=True):
        codes = await request.app[UPSTREAMS].auth.confirm_totp(user_id=request[PRINCIPAL].user_id, code=body.code)
    return responses.document(codes)


async def remove_totp(request: web.Request) -> web.Response:
    """Disable the second factor."""
    body: schemas.auth.ProveTotp = request[BODY]
    async with credentials.confirmation(request, with_code=True):
        await request.app[UPSTREAMS].auth.remove_totp(
            user_id=request[PRINCIPAL].user_id, password=body.password, totp=body.totp
        )
    return responses.empty()


async def renew_recovery_codes(request: web.Request) -> web.Response:
    """Replace the recovery codes.

    The previous codes stop working. The new ones are shown only here.
    """
    body: schemas.auth.ProveTotp = request[BODY]
    async with credentials.confirmation(request, with_code=True):
        codes = await request.app[UPSTREAMS].auth.renew_recovery_codes(
            user_id=request[PRINCIPAL].user_id, password=body.password, totp=body.totp
        )
    return responses.document(codes)


ON_PROOF = (errors.InvalidCredentials, errors.UserDisabled, errors.TotpNotEnabled, errors.TooManyLogins)

OPERATIONS = (
    Operation(
        "POST",
        BASE,
        start_totp,
        (Response(200, "The secret.", schemas.auth.TotpProposal),),
        body=schemas.auth.StartTotp,
        refusals=(errors.InvalidCredentials, errors.TotpAlreadyEnabled, errors.TooManyLogins),
    ),
    Operation(
        "POST",
        f"{BASE}/confirm",
        confirm_totp,
        (Response(200, "The second factor is enabled; the recovery codes.", schemas.auth.RecoveryCodes),),
        body=schemas.auth.ConfirmTotp,
        refusals=(
            errors.InvalidCredentials,
            errors.TotpAlreadyEnabled,
            errors.TotpNotStarted,
            errors.UserNotFound,
        ),
    ),
    Operation(
        "DELETE",
        BASE,
        remove_totp,
        (Response(204, "The second factor is disabled."),),
        body=schemas.auth.ProveTotp,
        refusals=ON_PROOF,
    ),
    Operation(
        "POST",
        f"{BASE}/recovery-codes",
        renew_recovery_codes,
        (Response(200, "The recovery codes.", schemas.auth.RecoveryCodes),),
        body=schemas.auth.ProveTotp,
        refusals=ON_PROOF,
    ),
)
