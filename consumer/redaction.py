"""Redaction: takes secrets, tokens and addresses out of text, for every output of the service.

The patterns find what looks like a secret. :data:`KNOWN` finds the secrets that this process uses, whatever surrounds
them, also percent-encoded, escaped, and as HTTP Basic credentials.
"""

import json
import math
import re
from base64 import b64encode, urlsafe_b64encode
from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime
from threading import Lock
from typing import Any, Final
from urllib.parse import quote, quote_plus, unquote, urlsplit

_NAMES: Final = "client_secret|client_assertion|assertion|access_token|refresh_token|id_token|password"
_SECRET_NAME: Final = re.compile(rf"(?i){_NAMES}|token|secret|(?:proxy-)?authorization")
# Each pattern takes time in proportion to the text, whatever it holds. A pattern that fails after a long run takes the
# run with it, or would be tried again at each of its characters: so a match may be one that stays as it is.
_TOKEN: Final = re.compile(r"eyJ[\w-]*+(\.[\w-]++(?:\.[\w-]*+)?)?")
_SECRETS: Final = (
    (re.compile(r"(?i)\bbearer\s+[\w.~+/-]+=*"), "Bearer [token]"),
    (re.compile(r"\b([Bb]asic)\s+(?=[A-Za-z]*[0-9A-Z+/=])[A-Za-z0-9+/]{6,}=*"), r"\1 [token]"),
    (
        # A quoted value ends at a quote that is escaped as often as its first one; one that was cut has no end.
        re.compile(
            rf"""(?isx)({_NAMES})(\\*["']?\s*[=:]\s*)(?:
            "(?:\\.|[^"\\])*+(?:"|\\?\Z)
            |(?P<escape>\\++)"(?:[^"\\]++|(?!(?P=escape)")\\++"?)*+(?:(?P=escape)"|(?=")|\Z)
            |'(?:\\.|[^'\\])*+(?:'|\\?\Z)
            |[^\s&"',}}]+)"""
        ),
        r"\1\2[…]",
    ),
    (re.compile(r"(?i)://[^/\s:@]*:[^/\s@]+@"), "://[…]@"),
)
_LOCAL: Final = r"[\w.!#$%&'*+/=?^`{|}~-]"
_ADDRESS: Final = re.compile(rf"{_LOCAL}+(?P<at>@|%40)[\w-]+(?:\.[\w-]+)+|{_LOCAL}++")
_NEEDLES: Final = ("@", "%40", "eyj", "bearer", "basic", "password", "token", "secret", "assertion", "authorization")
"""In small letters: text without any of these matches none of the patterns."""

_LONGEST: Final = 32_768
"""Text for a log is cut after this many characters: a record may have a megabyte in a single value."""
_LONGEST_WORD: Final = 512

_GRAM: Final = 8
_SHORTEST: Final = 6
"""Shorter values are not looked for: they would also be found in innocent words."""
_LONG: Final = 2 * _GRAM - 1
_FEW: Final = 64
_MOST_SHORT: Final = 200
_MOST: Final = 100_000
_SLICES: Final = [slice(start, start + _GRAM) for start in range(0, 65_536, _GRAM)]


class KnownSecrets:
    """The secrets that this process uses, so that each is found in any text.

    Holds the values of each source, and those that the source had before them: a secret that was just replaced may
    still be in a request under way. At most 100,000 forms, of which 200 may be shorter than 15 characters; further ones
    are left to the patterns.
    """

    def __init__(self) -> None:
        self._now: dict[str, frozenset[str]] = {}
        self._before: dict[str, frozenset[str]] = {}
        self._count: Counter[str] = Counter()
        """How many sources have each form that is looked for."""
        self._grams: dict[str, tuple[str, ...]] = {}
        """Long forms by each of their first eight pieces of eight characters. In a text, one of these pieces begins at
        a multiple of eight, so only every eighth position of the text is looked up."""
        self._direct: list[str] = []
        """Forms that are looked for one by one: the short ones, or all if they are few."""
        self._use_grams = False
        self._lock = Lock()

    def replace(self, source: str, values: Iterable[str]) -> None:
        """These are all the secrets that this source has now. A login is given as ``user:password``."""
        forms = frozenset(form for value in values for form in _forms_of(value))
        with self._lock:
            now, before = self._now.get(source, frozenset()), self._before.get(source, frozenset())
            if forms == now:
                return
            self._now[source], self._before[source] = forms, now
            for form in before - forms - now:
                self._drop(form)
            for form in forms - now - before:
                self._add(form)
            self._use_grams = len(self._count) > _FEW
            looked_for = [form for form in self._count if len(form) < _LONG][:_MOST_SHORT]
            self._direct = looked_for if self._use_grams else list(self._count)

    def _add(self, form: str) -> None:
        if form not in self._count and len(self._count) >= _MOST:
            return
        self._count[form] += 1
        if self._count[form] == 1 and len(form) >= _LONG:
            for start in range(_GRAM):
                gram = form[start : start + _GRAM]
                self._grams[gram] = (*self._grams.get(gram, ()), form)

    def _drop(self, form: str) -> None:
        if form not in self._count:
            return  # there were too many
        self._count[form] -= 1
        if self._count[form]:
            return
        del self._count[form]
        for start in range(_GRAM if len(form) >= _LONG else 0):
            gram = form[start : start + _GRAM]
            self._grams[gram] = tuple(other for other in self._grams[gram] if other != form)
            if not self._grams[gram]:
                del self._grams[gram]

    def found_in(self, text: str) -> list[str]:
        """The forms that stand in the text, the longest first."""
        found = {form for form in self._direct if form in text} if self._direct else set()
        if self._use_grams:
            grams, count = self._grams, (len(text) + _GRAM - 1) // _GRAM
            slices = _SLICES[:count] if count <= len(_SLICES) else _slices(count)
            if not grams.keys().isdisjoint(map(text.__getitem__, slices)):
                pieces = map(text.__getitem__, slices)
                found.update(form for piece in pieces for form in grams.get(piece, ()) if form in text)
        return sorted(found, key=len, reverse=True)

    def out_of(self, text: str) -> str:
        """The text without any of them."""
        for form in self.found_in(text):
            text = text.replace(form, "[…]")
        return text


KNOWN: Final = KnownSecrets()
"""Those of this process. The settings, the sites file, the properties file and the proxies give theirs here."""


def text(value: str, *, addresses: bool = True) -> str:
    """The text without secrets, tokens and mail addresses, cut after 32,768 characters.

    ``addresses=False`` is for what an operator asked for, which may be a JSON document: addresses stay, and it is not
    cut.
    """
    value = KNOWN.out_of(value)
    if addresses:
        value = _cut(value, _LONGEST)
    small = value.lower()
    if not any(needle in small for needle in _NEEDLES):
        return value
    if "eyj" in small:
        value = _TOKEN.sub(_without_token, value)
    for pattern, instead in _SECRETS:
        value = pattern.sub(instead, value)
    if addresses and ("@" in value or "%40" in value):
        value = _ADDRESS.sub(_without_address, value)
    return value


def _cut(value: str, most: int) -> str:
    """The beginning of a long text, without the word that is cut in two: it may be half a secret or an address."""
    if len(value) <= most:
        return value
    spaces = (value.rfind(space, most - _LONGEST_WORD, most) for space in " \n\t")
    end = max(spaces)
    return f"{value[: end + 1 if end >= 0 else most - _LONGEST_WORD]}…"


def _without_token(found: re.Match[str]) -> str:
    return "[token]" if found[1] else found[0]


def _without_address(found: re.Match[str]) -> str:
    return "[address]" if found["at"] else found[0]


def is_clean(line: str) -> bool:
    """Whether certainly nothing must be taken out of the line; a quick answer that errs on the side of ``False``."""
    small = line.lower()
    return not any(needle in small for needle in _NEEDLES) and not KNOWN.found_in(line)


def value(given: Any) -> Any:
    """A value of any type without secrets, tokens and addresses, at any depth."""
    if isinstance(given, str):
        return text(given)
    if isinstance(given, list | tuple):
        return [value(entry) for entry in given]
    if isinstance(given, Mapping):
        return {text(str(key)): named(str(key), entry) for key, entry in given.items()}
    if given is None or isinstance(given, bool | int):
        return given
    if isinstance(given, float):
        return given if math.isfinite(given) else None  # JSON has no such numbers
    if isinstance(given, datetime):
        return given.isoformat().replace("+00:00", "Z")
    return text(error_text(given) if isinstance(given, BaseException) else repr(given))


def named(name: str, given: Any) -> Any:
    """The value of this name; a text whose name says that it is a secret is removed whole."""
    return "[…]" if isinstance(given, str) and _SECRET_NAME.fullmatch(name) else value(given)


_QUOTED: Final = re.compile(
    r"""(?<!\w)(?P<quote>['"])(?P<inner>(?:\\.|(?!(?P=quote))[^\\])*+)(?:(?P=quote)(?!\w)|\\?\Z)""", re.DOTALL
)
_IDENTIFIER: Final = re.compile(r"[A-Za-z_][\w.-]{0,60}")
_OURS: Final = "consumer."
_LONGEST_MESSAGE: Final = 1_000
_READ_OF_MESSAGE: Final = 4 * _LONGEST_MESSAGE


def error_text(error: BaseException) -> str:
    """Type and message of an unexpected error, without what it quotes: that may be a job's or an event's content.

    ``KeyError('Boiler, flat 3')`` becomes ``KeyError: '…'``. Quoted identifiers stay, and the messages of the
    service's own errors, which never contain content.
    """
    kind = type(error)
    try:
        message = str(error)
    except Exception:  # noqa: BLE001 (any error of a foreign __str__)
        message = "its message cannot be shown"
    message = _cut(message, _READ_OF_MESSAGE)
    if not kind.__module__.startswith(_OURS):
        message = _QUOTED.sub(_unquoted, message)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    message = text(message)
    if len(message) > _LONGEST_MESSAGE:
        message = f"{message[:_LONGEST_MESSAGE]}…"
    return f"{name}: {message}" if message else name


def _unquoted(found: re.Match[str]) -> str:
    return found[0] if _IDENTIFIER.fullmatch(found["inner"]) else f"{found['quote']}…{found['quote']}"


def login_of(url: str) -> list[str]:
    """The secrets in a URL: its password, also as it is written there, and ``user:password``."""
    try:
        parts = urlsplit(url)
        user, password = parts.username or "", parts.password or ""
    except ValueError:
        return []
    return [password, f"{unquote(user)}:{unquote(password)}"] if password else []


def _slices(count: int) -> list[slice]:
    return [slice(start, start + _GRAM) for start in range(0, count * _GRAM, _GRAM)]


def _forms_of(secret: str) -> set[str]:
    """How the secret may be written: as it is, percent-encoded, escaped, and as a login.

    A secret with a colon need not be a login, so it is looked for as a whole too.
    """
    user, colon, password = secret.partition(":")
    is_login = bool(colon and user and password)
    forms = _encoded(secret) if is_login else set()
    for one in {secret, password, unquote(password)} if is_login else {secret}:
        forms |= {one, quote(one, safe=""), quote(one), quote_plus(one), repr(one)[1:-1]}
        forms |= {json.dumps(one)[1:-1], json.dumps(one, ensure_ascii=False)[1:-1]}
    return {form for form in forms if len(form) >= _SHORTEST}


def _encoded(login: str) -> set[str]:
    """The login as in ``Authorization: Basic``."""
    both = {login.encode(errors="replace"), unquote(login).encode(errors="replace")}
    return {encode(one).decode().rstrip("=") for one in both for encode in (b64encode, urlsafe_b64encode)}
