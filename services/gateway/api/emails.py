"""Routes of letters: an e-mail address that is verified, a password that was forgotten."""

from __future__ import annotations

from aiohttp import web

from services.gateway import errors, operations, responses, schemas
from services.gateway.api import credentials
from services.gateway.operations import BODY, Access, Answer, Operation
from services.gateway.security import session_cookie
from services.gateway.security.authentication import PRINCIPAL
from services.gateway.security.revocations import SESSIONS
from services.gateway.upstreams import UPSTREAMS, call

BASE = f"{operations.BASE}/auth"

VERIFICATION_SECONDS = 24 * 3600
RESET_SECONDS = 30 * 60
"""How long the tokens hold, as auth has it."""


async def verify_email(request: web.Request) -> web.Response:
    """Verify an e-mail address by the token of the letter that was sent there.

    A token works once, for 24 hours, and only until a newer letter is written. No login is needed.
    """
    asked: schemas.auth.EmailToken = request[BODY]
    auth = request.app[UPSTREAMS].auth
    await call(auth, "POST", "/internal/email/verify", body=asked.model_dump(), once=True)
    return responses.empty()


async def ask_verification(request: web.Request) -> web.Response:
    """Have another letter sent to one's own address.

    Within a minute of the letter before (longer after several) none is written: the one before still works.
    """
    body = {"user_id": request[PRINCIPAL].user_id}
    await call(request.app[UPSTREAMS].auth, "POST", "/internal/email/verification", body=body)
    return responses.document({"expires_in": VERIFICATION_SECONDS}, status=202)


async def forgot_password(request: web.Request) -> web.Response:
    """Have a letter sent by which a forgotten password is replaced.

    The answer is the same, and takes as long, whether or not somebody is registered with the address.
    """
    asked: schemas.auth.ForgotPassword = request[BODY]
    await call(request.app[UPSTREAMS].auth, "POST", "/internal/password/forgot", body=asked.model_dump())
    return responses.document({"expires_in": RESET_SECONDS}, status=202)


async def reset_password(request: web.Request) -> web.Response:
    """Replace a forgotten password by the token of the letter.

    A token works once, for 30 minutes, and only until a newer letter is written. Every session and API key of the user ends,
    everywhere within a second. A second factor stays as it is.
    """
    asked: schemas.auth.ResetPassword = request[BODY]
    done = await credentials.set_new(request, "/internal/password/reset", asked.model_dump())
    for session_id in done["ended"]:
        request.app[SESSIONS].end(session_id)
    return session_cookie.forget(request, responses.empty())


OPERATIONS = (
    Operation(
        "POST",
        f"{BASE}/email/verify",
        verify_email,
        (Answer(204, "The address is verified."),),
        access=Access.PUBLIC,
        body=schemas.auth.EmailToken,
        refusals=(errors.EmailTokenInvalid,),
        limit="letter_tokens",
    ),
    Operation(
        "POST",
        f"{BASE}/email/verification",
        ask_verification,
        (Answer(202, "A letter is on its way.", schemas.auth.EmailQueued),),
        body=schemas.types.Nothing,
        body_required=False,
        refusals=(errors.EmailVerified, errors.UserNotFound),
        limit="letters",
    ),
    Operation(
        "POST",
        f"{BASE}/password/forgot",
        forgot_password,
        (Answer(202, "A letter is on its way, if somebody is registered there.", schemas.auth.EmailQueued),),
        access=Access.PUBLIC,
        body=schemas.auth.ForgotPassword,
        limit="letters",
    ),
    Operation(
        "POST",
        f"{BASE}/password/reset",
        reset_password,
        (Answer(204, "The password is replaced; every session has ended."),),
        access=Access.PUBLIC,
        body=schemas.auth.ResetPassword,
        refusals=(errors.EmailTokenInvalid, errors.TooManyLogins),
        limit="letter_tokens",
    ),
)
