"""Kafka over TLS with SCRAM and ACLs: the real broker accepts the right users, and its refusals are reported."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from cryptography.hazmat.primitives import serialization

from sandbox.servers.kafka import Kafka
from sandbox.servers.process import free_port
from sandbox.stack import Service
from tests.company import Company, eventually, found_company

USER, PASSWORD = "calsync", "not-a-real-password"
TOPIC = "secured"


class Secured:
    """A Kafka with a listener for the test and another, over TLS with SCRAM, for the service."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.ca_file)
        identity = folder / "broker.pem"
        certificate = authority.issue_cert("127.0.0.1", "localhost")
        key = serialization.load_pem_private_key(certificate.private_key_pem.bytes(), None)
        # Java reads keys only in PKCS #8.
        pkcs8 = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        identity.write_bytes(pkcs8 + b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
        self.port = free_port()
        self.kafka = Kafka(folder / "kafka")
        self.kafka.add_listener(
            "SECURE",
            "SASL_SSL",
            self.port,
            {
                "ssl.keystore.type": "PEM",
                "ssl.keystore.location": str(identity),
                "listener.name.secure.sasl.enabled.mechanisms": "SCRAM-SHA-512",
                "listener.name.secure.scram-sha-512.sasl.jaas.config": (
                    "org.apache.kafka.common.security.scram.ScramLoginModule required;"
                ),
                "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
                "super.users": "User:ANONYMOUS",
            },
        )

    @property
    def bootstrap_servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    def properties(self, **other: str) -> dict[str, str]:
        """The Kafka properties that the service needs to log in."""
        return {
            "security.protocol": "SASL_SSL",
            "sasl.mechanisms": "SCRAM-SHA-512",
            "sasl.username": USER,
            "sasl.password": PASSWORD,
            "ssl.ca.location": str(self.ca_file),
        } | {name.replace("_", "."): value for name, value in other.items()}

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.kafka.bootstrap_servers})

    def allow(self, kind: ResourceType, name: str, *operations: AclOperation) -> None:
        """Grants the service's user these operations."""
        bindings = [
            AclBinding(
                kind,
                name,
                ResourcePatternType.LITERAL,
                f"User:{USER}",
                "*",
                operation,
                AclPermissionType.ALLOW,
            )
            for operation in operations
        ]
        admin = self.admin()
        for done in admin.create_acls(bindings, request_timeout=10).values():
            done.result(10)


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    secured = Secured(tmp_path_factory.mktemp("secured") / "broker")
    with secured.kafka:
        secret = UserScramCredentialUpsertion(
            USER, ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096), PASSWORD.encode()
        )
        admin = secured.admin()
        for done in admin.alter_user_scram_credentials([secret], request_timeout=10).values():
            done.result(10)
        for name in (TOPIC, f"{TOPIC}.dlq"):
            secured.kafka.create_topic(name, partitions=2)
        yield secured


@pytest.fixture
async def company(tmp_path: Path, secured: Secured, redis_url: str) -> AsyncIterator[Company]:
    async with found_company(tmp_path, secured.kafka.bootstrap_servers, redis_url, name=TOPIC) as founded:
        founded.stack.bootstrap_servers = secured.bootstrap_servers
        yield founded


def begin(company: Company, name: str) -> Service:
    """Starts a replica without waiting for it, since it may never be ready."""
    service = company.stack.service(name)
    service.process.start()
    company.services.append(service)
    return service


async def reported(service: Service, *words: str) -> None:
    async def all_told() -> bool:
        log = service.process.log.read_text()
        return all(word in log for word in words)

    await eventually(all_told, f"the log has {words}", 60)


async def test_a_wrong_password_a_missing_right_and_a_missing_authority_are_reported_and_fixed_without_a_restart(
    company: Company, secured: Secured
) -> None:
    company.stack.kafka_properties = secured.properties(sasl_password="wrong")
    refused = begin(company, "wrong-password")
    await reported(refused, "check sasl.* in CALSYNC_KAFKA_CONFIG_FILE")
    company.stack.kafka_properties = secured.properties(ssl_ca_location="/etc/ssl/certs/ca-certificates.crt")
    untrusted = begin(company, "untrusted")
    await reported(untrusted, "check security.protocol and ssl.* in CALSYNC_KAFKA_CONFIG_FILE")
    for service in (refused, untrusted):
        assert service.process.running
        await asyncio.to_thread(service.process.stop)

    company.stack.kafka_properties = secured.properties()
    company.publish(company.generate(workers=3, jobs=2))
    await company.open_mailboxes()
    service = begin(company, "without-rights")
    await reported(service, "grant the service's user READ")
    assert not await company.ready(service)
    secured.allow(ResourceType.TOPIC, TOPIC, AclOperation.READ, AclOperation.DESCRIBE)
    secured.allow(ResourceType.GROUP, company.stack.group, AclOperation.READ)
    secured.allow(ResourceType.TOPIC, f"{TOPIC}.dlq", AclOperation.WRITE, AclOperation.READ, AclOperation.DESCRIBE)
    await eventually(lambda: company.ready(service), "the service is ready", 120)

    async def equal() -> bool:
        return await company.differences() == []

    await eventually(equal, "the calendars equal the schedule", 60)
    assert PASSWORD not in service.process.log.read_text()
    listed = await company.command("dead-letters", "list")
    assert listed.returncode == 0, listed.stderr
