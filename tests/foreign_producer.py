"""Writes records that confluent-kafka's own producer cannot: a header whose name is not UTF-8.

Its producer takes header names as ``str`` only, and ends the whole process on one with a lone surrogate. Kafka's
protocol and librdkafka take any bytes, so librdkafka itself is called here: the library that confluent-kafka brings.
"""

import ctypes
from collections.abc import Sequence
from typing import Any, Final

from confluent_kafka import cimpl

_PRODUCER: Final = 0
_COPY: Final = 2
_TOPIC, _VALUE, _KEY, _MSGFLAGS, _HEADER = 1, 4, 5, 7, 9
"""``rd_kafka_vtype_t`` in librdkafka's rdkafka.h."""
_FLUSH_MILLISECONDS: Final = 10_000


class _Memory(ctypes.Structure):
    _fields_ = (("at", ctypes.c_char_p), ("size", ctypes.c_size_t))


class _Header(ctypes.Structure):
    _fields_ = (("name", ctypes.c_char_p), ("value", ctypes.c_char_p), ("size", ctypes.c_ssize_t))


class _Value(ctypes.Union):
    _fields_ = (
        ("text", ctypes.c_char_p),
        ("number", ctypes.c_int),
        ("memory", _Memory),
        ("header", _Header),
        ("pad", ctypes.c_char * 64),
    )


class _Argument(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int), ("value", _Value))


def _librdkafka() -> Any:
    # A symbol is also looked up in the libraries that the extension module is linked to.
    library = ctypes.CDLL(cimpl.__file__)
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_produceva"):
        getattr(library, name).restype = ctypes.c_void_p
    return library


def send(bootstrap_servers: str, topic: str, key: bytes, value: bytes, headers: Sequence[tuple[bytes, bytes]]) -> None:
    """Write one record, to the partition of its key; returns when the broker has it."""
    library = _librdkafka()
    configuration = ctypes.c_void_p(library.rd_kafka_conf_new())
    error = ctypes.create_string_buffer(512)
    for name, text in ((b"bootstrap.servers", bootstrap_servers.encode()), (b"partitioner", b"murmur2_random")):
        assert library.rd_kafka_conf_set(configuration, name, text, error, len(error)) == 0, error.value
    handle = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, configuration, error, len(error)))
    assert handle.value is not None, error.value
    arguments = [
        _Argument(_TOPIC, _Value(text=topic.encode())),
        _Argument(_VALUE, _Value(memory=_Memory(value, len(value)))),
        _Argument(_KEY, _Value(memory=_Memory(key, len(key)))),
        _Argument(_MSGFLAGS, _Value(number=_COPY)),
        *(_Argument(_HEADER, _Value(header=_Header(name, held, len(held)))) for name, held in headers),
    ]
    try:
        refused = library.rd_kafka_produceva(
            handle, (_Argument * len(arguments))(*arguments), ctypes.c_size_t(len(arguments))
        )
        assert not refused, "librdkafka refuses the record"
        assert library.rd_kafka_flush(handle, _FLUSH_MILLISECONDS) == 0, "the record has not arrived"
    finally:
        library.rd_kafka_destroy(handle)
