"""Kafka: what arrives, how old it is, and which partition or replica stands still."""

from monitoring.dashboards.limits import pages, ticket_above
from monitoring.dashboards.parts import Row, board, graph, number
from monitoring.dashboards.shared import (
    OLDEST,
    blocked_partitions,
    feed_age,
    kafka_up,
    oldest_by_replica,
    oldest_record,
    records_done,
    records_lost,
)


def kafka() -> str:
    """The JSON of the dashboard."""
    return board(
        "calsync-kafka",
        "Kafka: what arrives, how old it is, and which partition or replica stands still.",
        [_now(), _partitions(), _records(), _replicas()],
    )


def _now() -> Row:
    return Row(
        "Now",
        [
            kafka_up(),
            feed_age(),
            oldest_record(),
            number(
                "Records to do",
                "sum(max by (topic, partition) (last_over_time(calsync_kafka_lag[2m])))",
                means="Records between the committed offsets and the ends of all partitions.",
                act="A number alone says little: look at the age of the oldest record.",
                unit="short",
            ),
            number(
                "Partitions held",
                "count(max by (topic, partition) (calsync_kafka_blocked))",
                means="Partitions that some replica holds.",
                act="If there are fewer than the topic has, a replica is joining or stands still. Look at the "
                "replicas below.",
            ),
            blocked_partitions(),
            number(
                "Longest wait",
                "max(calsync_kafka_waiting_seconds) or 0 * max(calsync_kafka_up)",
                means="How long a partition has waited for a record that cannot be finished. Alert: "
                "CalsyncPartitionWaits.",
                act="The panel “Waiting” names the cause: the dead-letter topic, the schema registry or Redis.",
                unit="s",
                steps=pages("CalsyncPartitionWaits"),
            ),
            records_lost(),
        ],
    )


def _partitions() -> Row:
    partition = "{{topic}} {{partition}}"
    return Row(
        "Partitions",
        [
            graph(
                "Oldest record",
                {partition: OLDEST},
                means="Age of the oldest record that is not finished, by partition. Alert: CalsyncTooOld.",
                act="One partition only: look whether it is blocked or waits. All: the service is too slow or cannot "
                "write.",
                unit="s",
                steps=pages("CalsyncTooOld"),
            ),
            graph(
                "Records to do",
                {partition: "max by (topic, partition) (last_over_time(calsync_kafka_lag[2m]))"},
                means="Records between the committed offset and the end of the partition. Alerts: "
                "CalsyncConsumerStuck, CalsyncFallingBehind.",
                act="It grows while the committed offset moves: too slow, see throttling. The offset stands still: "
                "stuck.",
                unit="short",
            ),
            graph(
                "Committed",
                {partition: "max by (topic, partition) (deriv(calsync_kafka_committed_offset[$__rate_interval]))"},
                means="How fast the committed offset moves, in records each second: the progress of each partition.",
                act="0 while there are records to do: the consumer is stuck (CalsyncConsumerStuck). Look at the log "
                "of the replica that holds the partition, then restart it.",
                unit="cps",
            ),
            graph(
                "Waiting",
                {
                    "{{partition}}: {{cause}}": "max by (partition, cause) (calsync_kafka_waiting_seconds)",
                    "longest": "max(calsync_kafka_waiting_seconds) or 0 * max(calsync_kafka_up)",
                },
                means="How long a partition has waited for a record that cannot be finished, by what it waits for: the "
                "dead-letter topic, the schema registry or the store (Redis). Other partitions go on. Alert: "
                "CalsyncPartitionWaits.",
                act="Repair what it waits for. The log says how. The partition then goes on by itself.",
                unit="s",
                steps=pages("CalsyncPartitionWaits"),
            ),
            graph(
                "Blocked",
                {partition: "max by (topic, partition) (calsync_kafka_blocked)"},
                means="1 while the partition is not read any further. Alert: CalsyncPartitionBlocked.",
                act="Ask Core's team what changed in the records or their schema. docs/bad-input.md says how to go on.",
                unit="none",
                highest=1,
            ),
            graph(
                "Age of the newest heartbeat",
                {"age": "time() - max(calsync_cdc_heartbeat_timestamp_seconds)"},
                means="Debezium writes a heartbeat every few seconds, also when no job changes. Alert: "
                "CalsyncFeedDead.",
                act="If it rises in a straight line while Kafka is up, ask Core's team to look at the Debezium "
                "connector.",
                unit="s",
                steps=pages("CalsyncFeedDead"),
            ),
        ],
    )


def _records() -> Row:
    return Row(
        "Records",
        [
            records_done(),
            graph(
                "Dead letters",
                {"{{reason}}": "sum by (reason) (increase(calsync_dead_letters_total[$__rate_interval]))"},
                means="Records that went to the dead-letter topic. Alert: CalsyncDeadLetters.",
                act="Each needs a person: `calsync dead-letters list`.",
                unit="short",
                steps=ticket_above(1),
            ),
            graph(
                "Left out or lost",
                {
                    "left out: {{kind}}": "sum by (kind) (increase(calsync_unusable_total[$__rate_interval]))",
                    "lost: {{topic}}": "sum by (topic) (increase(calsync_kafka_records_lost_total[$__rate_interval]))",
                },
                means="Input from Core that was left out, counted each time it is read, and records that the broker "
                "deleted before they were read. Alert: CalsyncRecordsLost.",
                act="The log names the unusable rows and workers. Have them corrected in Core.",
                unit="short",
            ),
        ],
    )


def _replicas() -> Row:
    return Row(
        "Replicas",
        [
            oldest_by_replica(width=6),
            graph(
                "Partitions held, by replica",
                {"{{instance}}": "count by (instance) (calsync_kafka_blocked)"},
                means="How many partitions each replica holds.",
                act="A replica without partitions is joining, or there are more replicas than partitions.",
                unit="none",
                width=6,
                stacked=True,
            ),
            graph(
                "Records done, by replica",
                {"{{instance}}": "sum by (instance) (rate(calsync_events_total[$__rate_interval]))"},
                means="Records that each replica finishes each second.",
                act="A replica that holds partitions with records to do and finishes none is stuck: restart it.",
                unit="cps",
                width=6,
            ),
            graph(
                "Brokers answer",
                {"{{instance}}": "min by (instance) (calsync_kafka_up)"},
                means="1 if the brokers answered the replica's last measurement.",
                act="0 on one replica: look at its node and network. 0 on all: ask the owners of Kafka.",
                unit="none",
                width=6,
                highest=1,
            ),
        ],
    )
