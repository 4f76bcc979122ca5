"""Accounts in Kafka that the service makes: one a user, to read the results of their filters, and one a Python filter.

A password is derived from a secret of the service and the account's name, so nothing is kept and nothing is lost: asked again, it is
the same. Kafka itself knows a salted hash (SCRAM-SHA-512). What an account may do is what its ACLs name, and nothing else.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)

from armillary_alerts import topics
from armillary_alerts.annotate.feedback import topic_of
from armillary_alerts.filters.model import Filter
from armillary_alerts.service.lag import TIMEOUT, KafkaAway

MECHANISM = "SCRAM-SHA-512"
ITERATIONS = 8192
#: Of the service's secret, in bytes.
SECRET = 32


Rights = Sequence[tuple[ResourceType, str, ResourcePatternType, AclOperation]]


@dataclass(frozen=True)
class Account:
    """A user of Kafka's."""

    username: str
    password: str

    def __repr__(self) -> str:
        return f"Account({self.username!r})"


class Accounts:
    """Makes and removes accounts, topics and rights."""

    def __init__(self, admin: AdminClient, secret: bytes, *, replication: int = 1) -> None:
        """Take what is needed to make accounts.

        Args:
            admin: of a user who may alter the cluster's users and ACLs and make topics.
            secret: what passwords are derived from; `SECRET` bytes at least.
            replication: copies of each topic of results.

        Raises:
            ValueError: the secret is too short to be one.
        """
        if len(secret) < SECRET:
            raise ValueError(
                f"The secret that passwords are derived from has {len(secret)} bytes; it needs {SECRET}."
            )
        self._admin = admin
        self._secret = secret
        self._replication = replication

    def account(self, username: str) -> Account:
        """Return an account's name and password, whether Kafka knows it or not."""
        digest = hmac.new(self._secret, f"kafka:{username}".encode(), hashlib.sha256).digest()
        return Account(username, base64.urlsafe_b64encode(digest).decode().rstrip("="))

    def make(self, account: Account, rights: Rights) -> None:
        """Make an account, or set its password anew, and give it rights.

        Args:
            account: name and password.
            rights: kind and name of what, how the name is meant, and what may be done with it.

        Raises:
            KafkaAway: Kafka does not answer, or refuses.
        """
        self._upsert(account)
        self._allow(account, rights)

    def of_owner(self, owner: str) -> Account:
        """Make the account of a user: reads the results of all filters of theirs, in groups of their own, and annotates.

        Raises:
            KafkaAway: Kafka does not answer, or refuses.
        """
        account = self.account(f"user.{owner}")
        prefix = topics.of_filter(owner, "")
        annotations = topic_of(owner)
        self._topic(annotations, 1)
        literal = ResourcePatternType.LITERAL
        self.make(
            account,
            [
                (ResourceType.TOPIC, annotations, literal, AclOperation.WRITE),
                (ResourceType.TOPIC, annotations, literal, AclOperation.DESCRIBE),
                (ResourceType.TOPIC, prefix, ResourcePatternType.PREFIXED, AclOperation.READ),
                (ResourceType.TOPIC, prefix, ResourcePatternType.PREFIXED, AclOperation.DESCRIBE),
                (
                    ResourceType.GROUP,
                    f"user.{owner}.",
                    ResourcePatternType.PREFIXED,
                    AclOperation.READ,
                ),
            ],
        )
        return account

    def of_filter(self, definition: Filter) -> Account:
        """Make the account of a Python filter's pod: reads alerts, writes this filter's results and what it says of itself.

        Raises:
            KafkaAway: Kafka does not answer, or refuses.
        """
        account = self.account(definition.topic)
        literal = ResourcePatternType.LITERAL
        writes = (definition.topic, topics.LEDGER, topics.NOTICES)
        self.make(
            account,
            [
                *(
                    (ResourceType.TOPIC, name, literal, AclOperation.READ)
                    for name in (topics.ANNOTATED, topics.FILTERS)
                ),
                *((ResourceType.TOPIC, name, literal, AclOperation.WRITE) for name in writes),
                *(
                    (ResourceType.TOPIC, name, literal, AclOperation.DESCRIBE)
                    for name in (topics.ANNOTATED, topics.FILTERS, *writes)
                ),
                (ResourceType.GROUP, definition.topic, literal, AclOperation.READ),
                # Its offsets, its results and its line in the ledger are one transaction.
                (
                    ResourceType.TRANSACTIONAL_ID,
                    definition.topic,
                    ResourcePatternType.PREFIXED,
                    AclOperation.WRITE,
                ),
                (
                    ResourceType.TRANSACTIONAL_ID,
                    definition.topic,
                    ResourcePatternType.PREFIXED,
                    AclOperation.DESCRIBE,
                ),
            ],
        )
        return account

    def topic(self, definition: Filter, partitions: int = 1) -> None:
        """Make the topic of a filter's results, unless it is there.

        Raises:
            KafkaAway: Kafka does not answer, or refuses.
        """
        self._topic(definition.topic, partitions)

    def remove(self, definition: Filter) -> None:
        """Remove a filter's account, rights and topic, as far as they are there.

        Raises:
            KafkaAway: Kafka does not answer, or refuses.
        """
        try:
            (gone,) = self._admin.delete_topics(
                [definition.topic], request_timeout=TIMEOUT
            ).values()
            _unless(gone, KafkaError.UNKNOWN_TOPIC_OR_PART)
            mine = AclBindingFilter(
                ResourceType.ANY,
                None,  # type: ignore[arg-type]
                ResourcePatternType.ANY,
                f"User:{definition.topic}",
                None,  # type: ignore[arg-type]
                AclOperation.ANY,
                AclPermissionType.ANY,
            )
            for rights in self._admin.delete_acls([mine], request_timeout=TIMEOUT).values():
                rights.result()
            account = UserScramCredentialDeletion(definition.topic, ScramMechanism.SCRAM_SHA_512)
            (forgotten,) = self._admin.alter_user_scram_credentials(
                [account], request_timeout=TIMEOUT
            ).values()
            _unless(forgotten, KafkaError.RESOURCE_NOT_FOUND)
        except KafkaException as error:
            raise KafkaAway(
                f"Kafka does not remove what is {definition.id}'s: {error.args[0].str()}"
            ) from error

    def _topic(self, name: str, partitions: int) -> None:
        wanted = NewTopic(name, num_partitions=partitions, replication_factor=self._replication)
        (answer,) = self._admin.create_topics([wanted], request_timeout=TIMEOUT).values()
        try:
            answer.result()
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise KafkaAway(
                    f"Kafka does not make topic {name}: {error.args[0].str()}"
                ) from error

    def _upsert(self, account: Account) -> None:
        salt = hashlib.sha256(self._secret + account.username.encode()).digest()[:16]
        wanted = UserScramCredentialUpsertion(
            account.username,
            ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, ITERATIONS),
            account.password.encode(),
            salt,
        )
        (answer,) = self._admin.alter_user_scram_credentials(
            [wanted], request_timeout=TIMEOUT
        ).values()
        try:
            answer.result()
        except KafkaException as error:
            raise KafkaAway(
                f"Kafka does not make the account {account.username}: {error.args[0].str()}"
            ) from error

    def _allow(self, account: Account, rights: Rights) -> None:
        bindings = [
            AclBinding(
                kind,
                name,
                pattern,
                f"User:{account.username}",
                "*",
                operation,
                AclPermissionType.ALLOW,
            )
            for kind, name, pattern, operation in rights
        ]
        try:
            for answer in self._admin.create_acls(bindings, request_timeout=TIMEOUT).values():
                answer.result()
        except KafkaException as error:
            raise KafkaAway(
                f"Kafka does not give {account.username} its rights: {error.args[0].str()}"
            ) from error


def _unless(answer: object, missing: int) -> None:
    try:
        answer.result()  # type: ignore[attr-defined]
    except KafkaException as error:
        if error.args[0].code() != missing:
            raise
