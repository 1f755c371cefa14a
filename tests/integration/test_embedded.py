"""The embedded servers behave as the service's tests require, and leave nothing behind."""

import os
import socket
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition

from sandbox.servers.embedded import embedded_broker, embedded_valkey
from sandbox.servers.process import REPOSITORY, ServerFailedError, ServerProcess


def test_a_record_reaches_a_consumer_group_and_its_commit_is_kept(broker: str) -> None:
    topic = f"embedded-{uuid.uuid4()}"
    producer = Producer({"bootstrap.servers": broker})
    producer.produce(topic, key=b"job-1", value=b"scheduled")
    assert producer.flush(10) == 0

    consumer = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": topic,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "partition.assignment.strategy": "cooperative-sticky",
            "fetch.wait.max.ms": 10,
        }
    )
    consumer.subscribe([topic])
    record = consumer.poll(20)
    assert record is not None
    assert record.error() is None
    assert (record.key(), record.value()) == (b"job-1", b"scheduled")
    consumer.commit(message=record, asynchronous=False)
    (committed,) = consumer.committed([TopicPartition(topic, record.partition() or 0)], timeout=10)
    assert committed.offset == 1
    consumer.close()


def test_topics_have_four_partitions_and_those_named_exist_from_the_start(tmp_path: Path) -> None:
    with embedded_broker(tmp_path, topics=["core.job-changed"]) as bootstrap_servers:
        topics = Producer({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=10).topics
        assert {name: len(topic.partitions) for name, topic in topics.items()} == {"core.job-changed": 4}


def test_valkey_runs_scripts_and_evicts_nothing(valkey_url: str) -> None:
    with redis.Redis.from_url(valkey_url) as client:
        assert client.ping() is True
        assert client.eval("return redis.call('TIME')[1] + ARGV[1]", 0, "1") > 0
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}


@pytest.mark.parametrize("persistent", [True, False])
def test_valkey_keeps_its_data_over_a_kill_only_when_persistent(tmp_path: Path, persistent: bool) -> None:
    with embedded_valkey(tmp_path, persistent=persistent) as valkey:
        with redis.Redis.from_url(valkey.url) as client:
            client.set("link", "event-1")
        valkey.kill()
        valkey.start()
        with redis.Redis.from_url(valkey.url, decode_responses=True) as client:
            assert client.get("link") == ("event-1" if persistent else None)


def test_a_server_that_ends_while_starting_is_named_with_its_log(tmp_path: Path) -> None:
    server = ServerProcess(
        name="Broken",
        command=[sys.executable, "-c", "print('no such volume'); raise SystemExit(3)"],
        log=tmp_path / "broken.log",
        ready=lambda: False,
    )
    with pytest.raises(ServerFailedError, match=r"(?s)Broken ended with exit status 3.*broken\.log.*no such volume"):
        server.start()
    assert not server.running


def test_a_server_that_is_never_ready_is_stopped(tmp_path: Path) -> None:
    server = ServerProcess(
        name="Slow",
        command=[sys.executable, "-c", "import signal; signal.pause()"],
        log=tmp_path / "slow.log",
        ready=lambda: False,
        start_within=0.1,
    )
    with pytest.raises(ServerFailedError, match=r"Slow was not ready within 0\.1 s"):
        server.start()
    assert not server.running


def test_a_server_that_cannot_be_run_is_reported(tmp_path: Path) -> None:
    server = ServerProcess("Absent", [tmp_path / "absent"], log=tmp_path / "absent.log", ready=lambda: True)
    with pytest.raises(ServerFailedError, match=r"(?s)Absent could not be run.*FileNotFoundError"):
        server.start()


def test_a_server_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    server = ServerProcess(
        name="Stubborn",
        command=[
            sys.executable,
            *("-u", "-c", "import signal; signal.signal(15, signal.SIG_IGN); print('up'); signal.pause()"),
        ],
        log=tmp_path / "stubborn.log",
        ready=lambda: server.find_in_log("^up$") is not None,
        stop_within=0.2,
    )
    with server:
        pid = server.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_server_ends_with_a_parent_that_was_killed(tmp_path: Path) -> None:
    script = """
import pathlib, signal, sys
from sandbox.servers.embedded import embedded_valkey
valkey = embedded_valkey(pathlib.Path(sys.argv[1]))
valkey.start()
print(valkey.port, flush=True)
signal.pause()
"""
    parent = subprocess.Popen([sys.executable, "-c", script, tmp_path], stdout=subprocess.PIPE, cwd=REPOSITORY)
    assert parent.stdout is not None
    port = int(parent.stdout.readline())
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        parent.kill()
        parent.communicate()
        assert connection.recv(1) == b""  # the server closed it by ending
