"""A message's headers, read in this place alone: confluent-kafka cannot read all that Kafka allows."""

from operator import methodcaller
from typing import Final, cast

from confluent_kafka import Message

from consumer.kafka.parcel import UNREADABLE
from consumer.kafka.record import Headers

_REASON: Final = b"a name is not UTF-8"
_CALL: Final = methodcaller("headers")
"""Called instead of ``message.headers()``: only a call from C is always checked.

For a name that it cannot decode, confluent-kafka returns a broken list and also sets an exception. The interpreter
raises ``SystemError`` for that until it has specialised the call, after a few calls that went well. From then on the
list is used, and the exception appears in a later, unrelated call.
"""


def headers_of(message: Message) -> Headers:
    """The message's headers; only ``UNREADABLE``, with the reason, if they cannot be read: they count as absent.

    Call it once for a message. Kafka allows any bytes as a header's name, but confluent-kafka (2.16) decodes it as
    UTF-8. If that fails, it keeps the broken list: a second call returns it, and the process ends when it touches the
    name.
    """
    try:
        return cast("Headers", _CALL(message) or [])
    except (SystemError, UnicodeError):
        return [(UNREADABLE, _REASON)]
