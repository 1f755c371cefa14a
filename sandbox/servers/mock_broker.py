"""librdkafka's mock cluster as a process of its own: `python -m sandbox.servers.mock_broker [TOPIC…]`.

Prints `listening HOST:PORT` and serves until SIGTERM or Ctrl-C. Real consumers and producers join it: groups,
commits and cooperative rebalances work. Topics appear with 4 partitions when they are first asked for or
produced to; those named as arguments exist from the start. It holds about 5 MB a partition, in memory, and
silently drops older records; CreateTopics and Java clients do not work. Source: librdkafka's
`test.mock.num.brokers` (docs/facts/kafka.md 2.2).
"""

import signal
import sys

from confluent_kafka import Producer


def main(topics: list[str]) -> int:
    stop = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, stop)
    # The cluster lives inside this client and dies with it. The client's own log would only tell of its peers
    # coming and going.
    cluster = Producer({"bootstrap.servers": "mock", "test.mock.num.brokers": 1, "log_level": 0})
    for topic in topics:
        cluster.list_topics(topic, timeout=10)
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    print(f"listening {broker.host}:{broker.port}", flush=True)
    signal.sigwait(stop)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
