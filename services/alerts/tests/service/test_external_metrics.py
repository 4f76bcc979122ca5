"""What Kubernetes scales by: lags of consumer groups, told to its API server alone."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import requests
from armillary_alerts.service import external_metrics
from armillary_alerts.service.lag import KafkaAway, lags
from armillary_alerts.service.state import Service
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from conftest import serving
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ROOT = "/apis/external.metrics.k8s.io"
METRIC = f"{ROOT}/v1beta1/namespaces/alerts/alerts_lag"


class Authority:
    """Signs certificates."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._certificate = self._sign(name, self._key.public_key(), authority=True)
        self.path = folder / f"{name}.crt"
        self.path.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[str, str]:
        """Return paths of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        certificate, private = (
            self.folder / f"{self.name}-{name}.crt",
            self.folder / f"{self.name}-{name}.key",
        )
        certificate.write_bytes(
            self._sign(name, key.public_key()).public_bytes(serialization.Encoding.PEM)
        )
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return str(certificate), str(private)

    def _sign(self, name: str, key: Any, *, authority: bool = False) -> x509.Certificate:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        issuer = subject if authority else self._certificate.subject
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .sign(self._key, hashes.SHA256())
        )


@pytest.fixture
def authorities(tmp_path: Path) -> tuple[Authority, Authority]:
    """The cluster's, and its front proxy's."""
    return Authority(tmp_path, "cluster"), Authority(tmp_path, "front-proxy")


def test_only_the_api_server_is_told(authorities: tuple[Authority, Authority]) -> None:
    cluster, front = authorities
    app = external_metrics.create_app(lambda: {"annotate": 4711, "archive": 0}, "alerts")
    certificate, key = cluster.issue("alerts")
    tls = {
        "ssl_certfile": certificate,
        "ssl_keyfile": key,
        "ssl_ca_certs": str(front.path),
        "ssl_cert_reqs": ssl.CERT_REQUIRED,
    }
    with serving(app, None, **tls) as url:
        url = url.replace("http://127.0.0.1", "https://localhost")

        def ask(
            path: str, shown: tuple[str, str] | None = front.issue("front-proxy-client")
        ) -> requests.Response:
            return requests.get(url + path, cert=shown, verify=str(cluster.path), timeout=20)

        for stranger in (None, cluster.issue("front-proxy-client")):
            with pytest.raises(requests.RequestException):
                ask(METRIC, stranger)
        assert (
            ask(ROOT).json()["preferredVersion"]["groupVersion"]
            == "external.metrics.k8s.io/v1beta1"
        )
        assert ask(f"{ROOT}/v1beta1").json()["resources"][0]["name"] == "alerts_lag"
        found = ask(METRIC + "?labelSelector=stage%3Dannotate").json()
        assert found["kind"] == "ExternalMetricValueList"
        assert [(each["metricLabels"], each["value"]) for each in found["items"]] == [
            ({"stage": "annotate"}, "4711")
        ]
        assert len(ask(METRIC).json()["items"]) == 2
        assert ask(METRIC.replace("/alerts/", "/others/")).status_code == 404
        assert ask(METRIC + "?labelSelector=stage!%3Dx").status_code == 400


def test_what_is_not_known_is_not_made_up(authorities: tuple[Authority, Authority]) -> None:
    def away() -> dict[str, int]:
        raise KafkaAway("Kafka does not tell its offsets: timed out")

    with serving(external_metrics.create_app(away, "alerts"), None) as url:
        answer = requests.get(url + METRIC, timeout=20)
    assert answer.status_code == 503
    assert "Kafka does not tell its offsets" in answer.json()["message"]


def test_lag_is_what_is_still_to_be_read(kafka: Any, service: Service) -> None:
    admin = AdminClient(service.kafka)
    for answer in admin.create_topics([NewTopic("alerts.lag-test", 2, 1)]).values():
        answer.result(30)
    producer = Producer(kafka.client("stage"))
    for number in range(10):
        producer.produce("alerts.lag-test", b"x", partition=number % 2)
    assert producer.flush(30) == 0
    groups = {"alerts.lag": ["alerts.lag-test"], "alerts.none": ["alerts.no-such-topic"]}
    found = lags(admin, groups)
    # One that has never committed has everything before it.
    assert (found["alerts.lag"].total, found["alerts.none"].total) == (10, 0)
    consumer = Consumer(kafka.client("stage", {"group.id": "alerts.lag"}))
    consumer.commit(offsets=[TopicPartition("alerts.lag-test", 0, 3)], asynchronous=False)
    consumer.close()
    assert lags(admin, groups)["alerts.lag"].partitions == {
        ("alerts.lag-test", 0): 2,
        ("alerts.lag-test", 1): 5,
    }


def test_the_service_tells_its_stages(service: Service) -> None:
    assert set(service.scaling()) == {"annotate", "archive"}
