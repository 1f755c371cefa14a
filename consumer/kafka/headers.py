"""Reads a message's headers, also those that Kafka allows and confluent-kafka cannot decode."""

from operator import methodcaller
from typing import Final, cast

from confluent_kafka import Message

from consumer.kafka.parcel import UNREADABLE
from consumer.kafka.record import Headers

_REASON: Final = b"a name is not UTF-8"
_CALL: Final = methodcaller("headers")
"""Called instead of ``message.headers()``, because the interpreter always checks the result of a call from C.

For a name that it cannot decode, confluent-kafka returns a broken list and also sets an exception. The interpreter
raises ``SystemError`` for that until it has specialised the call, after a few successful calls. From then on it uses
the list, and the exception appears in a later, unrelated call.
"""


def headers_of(message: Message) -> Headers:
    """The message's headers. If they cannot be read, only the header ``UNREADABLE`` with the reason.

    Call it once for a message. Kafka allows any bytes as a header's name, but confluent-kafka (2.16) decodes the name
    as UTF-8. If that fails, it keeps the broken list. A second call returns that list, and the process crashes when it
    reads the name.
    """
    try:
        return cast("Headers", _CALL(message) or [])
    except (SystemError, UnicodeError):
        return [(UNREADABLE, _REASON)]
