"""Runs librdkafka's mock cluster in its own process: `python -m sandbox.servers.mock_broker [TOPIC…]`.

Prints `listening HOST:PORT` and serves until SIGTERM or Ctrl-C. Real consumers and producers can use it: groups,
commits and cooperative rebalances work. The topics in the arguments exist from the start. Other topics appear, with 4
partitions, when a client first requests them or produces to them. The cluster keeps about 5 MB for each partition, in
memory, and drops older records without an error. CreateTopics and Java clients do not work. Source: librdkafka's
`rdkafka_mock.h` (docs/facts/kafka.md 2.2).
"""

import ctypes
import signal
import sys
from typing import Any, Final

from confluent_kafka import cimpl

_PRODUCER: Final = 0
_PARTITIONS: Final = 4
_JOIN_MILLISECONDS: Final = 100
"""How long a new group waits for further members. The mock cluster's own default is Kafka's 3 s."""


def _librdkafka() -> Any:
    """Returns confluent-kafka's own librdkafka. Its Python package cannot set the group's initial delay."""
    library = ctypes.CDLL(cimpl.__file__)  # this also finds symbols of libraries that the extension module is linked to
    for name in ("rd_kafka_conf_new", "rd_kafka_new", "rd_kafka_mock_cluster_new"):
        getattr(library, name).restype = ctypes.c_void_p
    library.rd_kafka_mock_cluster_bootstraps.restype = ctypes.c_char_p
    return library


def main(topics: list[str]) -> int:
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    library, error = _librdkafka(), ctypes.create_string_buffer(512)
    configuration = ctypes.c_void_p(library.rd_kafka_conf_new())
    # The client's own log would only report that its peers come and go.
    library.rd_kafka_conf_set(configuration, b"log_level", b"0", error, len(error))
    # The cluster lives inside this client and ends with it.
    client = ctypes.c_void_p(library.rd_kafka_new(_PRODUCER, configuration, error, len(error)))
    if client.value is None:
        sys.exit(f"librdkafka: {error.value.decode()}")
    cluster = ctypes.c_void_p(library.rd_kafka_mock_cluster_new(client, 1))
    library.rd_kafka_mock_group_initial_rebalance_delay_ms(cluster, _JOIN_MILLISECONDS)
    for topic in topics:
        library.rd_kafka_mock_topic_create(cluster, topic.encode(), _PARTITIONS, 1)
    print(f"listening {library.rd_kafka_mock_cluster_bootstraps(cluster).decode()}", flush=True)
    signal.sigwait(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
