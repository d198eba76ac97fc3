"""Routes for tokens sent by e-mail: verifying an address and resetting a password."""

from __future__ import annotations

from aiohttp import web

from services.contracts import limits
from services.gateway import errors, operations, responses, schemas
from services.gateway.api import credentials
from services.gateway.operations import BODY, Access, Operation, Response
from services.gateway.security import session_cookie
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.revocations import REVOCATIONS
from services.gateway.upstreams import UPSTREAMS

BASE = f"{operations.BASE}/auth"


async def verify_email(request: web.Request) -> web.Response:
    """Verify an e-mail address.

    The token of the e-mail works once, for 24 hours, and only until a newer e-mail is sent. No login is needed.
    """
    body: schemas.auth.EmailToken = request[BODY]
    await request.app[UPSTREAMS].auth.verify_email(body.token)
    return responses.empty()


async def request_verification(request: web.Request) -> web.Response:
    """Send another verification e-mail.

    Within a minute of the previous one (longer after several) none is sent; the previous token still works.
    """
    await request.app[UPSTREAMS].auth.request_verification(request[PRINCIPAL].user_id)
    return responses.document({"expires_in": limits.VERIFY_EMAIL_SECONDS}, status=202)


async def forgot_password(request: web.Request) -> web.Response:
    """Request a password reset.

    Sends an e-mail with a token. The response is the same, and takes as long, whether or not the address is registered.
    """
    body: schemas.auth.ForgotPassword = request[BODY]
    await request.app[UPSTREAMS].auth.request_password_reset(body.email)
    return responses.document({"expires_in": limits.RESET_PASSWORD_SECONDS}, status=202)


async def reset_password(request: web.Request) -> web.Response:
    """Reset a password.

    The token of the e-mail works once, for 30 minutes, and only until a newer e-mail is sent. Every session and API key of the
    user ends, everywhere within a second. A second factor stays enabled.
    """
    body: schemas.auth.ResetPassword = request[BODY]
    with credentials.new_password(request):
        ended = await request.app[UPSTREAMS].auth.reset_password(token=body.token, new_password=body.new_password)
    for session_id in ended:
        request.app[REVOCATIONS].add(session_id)
    return session_cookie.clear(request, responses.empty())


OPERATIONS = (
    Operation(
        "POST",
        f"{BASE}/email/verify",
        verify_email,
        (Response(204, "The address is verified."),),
        access=Access.PUBLIC,
        body=schemas.auth.EmailToken,
        refusals=(errors.EmailTokenInvalid,),
        limit="email_tokens",
    ),
    Operation(
        "POST",
        f"{BASE}/email/verification",
        request_verification,
        (Response(202, "The e-mail is queued.", schemas.auth.EmailQueued),),
        body=schemas.types.Empty,
        body_required=False,
        refusals=(errors.EmailVerified, errors.UserNotFound),
        limit="emails",
    ),
    Operation(
        "POST",
        f"{BASE}/password/forgot",
        forgot_password,
        (Response(202, "The e-mail is queued, if the address is registered.", schemas.auth.EmailQueued),),
        access=Access.PUBLIC,
        body=schemas.auth.ForgotPassword,
        limit="emails",
    ),
    Operation(
        "POST",
        f"{BASE}/password/reset",
        reset_password,
        (Response(204, "The password is replaced; every session has ended."),),
        access=Access.PUBLIC,
        body=schemas.auth.ResetPassword,
        refusals=(errors.EmailTokenInvalid, errors.TooManyLogins),
        limit="email_tokens",
    ),
)
