"""Refusals: whether Graph refuses one mailbox or its whole site. Pure; the site registry asks the questions.

Every mailbox of a tenant may answer 404 for hours, and then answer again (grahamr975/EWS-Office365-Contact-Sync#32).
With consent for reading only, every write is refused and nothing else (pnp/sp-starter-kit#38).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from consumer.domain.errors import (
    ForbiddenError,
    MailboxRefusedError,
    RequestRefusedError,
    SiteRefusedError,
    TransientError,
)

Refusal: TypeAlias = MailboxRefusedError | ForbiddenError | RequestRefusedError
"""How Graph refuses a mailbox, with Graph's own code. A mailbox that alone is refused is parked for any of them."""
Judgement: TypeAlias = Literal["mailbox", "request"] | SiteRefusedError
"""Whose fault a refusal is: the mailbox's, the one request's, or the site's, which was suspended for it."""
Whose: TypeAlias = Literal["mailbox", "site", "unclear", "nobody to ask"]
_NO_PERMISSIONS: Final = "NoPermissionsInAccessToken"
_WRITE_ROLE: Final = "Calendars.ReadWrite"


@dataclass(frozen=True, slots=True)
class Compared:
    """What another mailbox of the site answered to the same question."""

    answered_before: bool
    """It answered the last time it was asked."""
    answer: Refusal | TransientError | None
    """``None``: it answered in full."""


def whose(refusal: Refusal, others: Sequence[Compared]) -> Whose:
    """Whose fault a refusal is, by what other mailboxes answer.

    ========================================================  =========================
    the others                                                it is the fault of
    ========================================================  =========================
    one answers                                               the mailbox
    one cannot be asked now, and none answers                 unknown now ("unclear")
    all are refused, in the same way or after they answered   the site
    none is known, or each is refused in a way of its own     unknown ("nobody to ask")
    ========================================================  =========================
    """
    answers = [other.answer for other in others]
    if None in answers:
        return "mailbox"
    if any(isinstance(answer, TransientError) for answer in answers):
        return "unclear"
    if others and all(other.answered_before or _alike(refusal, other.answer) for other in others):
        return "site"
    return "nobody to ask"


def shared(refusal: Refusal, others: Sequence[Compared]) -> SiteRefusedError:
    """The site's fault, when a refusal is shared: with the code of the others, if theirs is another one."""
    found = next((other.answer for other in others if isinstance(other.answer, Refusal)), refusal)
    return SiteRefusedError(found.code, _hint(found))


def lacks_writing(roles: Collection[str]) -> bool:
    """Whether a token's roles show consent for reading calendars only.

    Without any calendar role they prove nothing: RBAC for Applications grants access that no token shows
    (learn.microsoft.com/exchange/permissions-exo/application-rbac).
    """
    return any(role.startswith("Calendars.") for role in roles) and _WRITE_ROLE not in roles


def is_same_code(code: str, other: str) -> bool:
    """Whether two codes are the same: Graph writes them in several cases, with and without ``Error`` in front."""
    return _plain(code) == _plain(other)


def _alike(refusal: Refusal, other: Refusal | TransientError | None) -> bool:
    return isinstance(other, Refusal) and is_same_code(refusal.code, other.code)


def _plain(code: str) -> str:
    return code.casefold().removeprefix("error")


def _hint(refusal: Refusal) -> str:
    match refusal:
        case ForbiddenError(token=True) if is_same_code(refusal.code, _NO_PERMISSIONS):
            return (
                "the app's tokens hold no permissions: an administrator must grant admin consent for "
                "Calendars.ReadWrite and MailboxSettings.Read to the app registration"
            )
        case ForbiddenError(token=True):
            return "Graph refuses the tokens that Entra issues for this app: check the tenant"
        case ForbiddenError(write=True):
            return (
                "Graph lets the app read this site's mailboxes but not write to them: grant admin consent for the "
                "application permission Calendars.ReadWrite (Calendars.Read is not enough), and check the app's "
                "access policy"
            )
        case ForbiddenError():
            return (
                "Graph refuses every mailbox of this site: grant admin consent for Calendars.ReadWrite and "
                "MailboxSettings.Read to the app registration, and check its application access policy"
            )
        case RequestRefusedError():
            return (
                "Graph refuses the address of every mailbox of this site: check the calendar emails in Core; the "
                "site is served as soon as one of them answers"
            )
        case MailboxRefusedError():
            return (
                "Graph finds no mailbox of this site: check in Microsoft 365 that they exist, are licensed and are in "
                "Exchange Online, and Microsoft's service health; the site is served as soon as one of them answers"
            )
