"""What the chart of alerts accepts, and what it makes of it."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import yaml
from alerts_chart import CHART, SECRETS, changed, rendered, values
from armillary_alerts.filters.model import Filter, Kind
from armillary_alerts.service.pods import PodSettings, object_name
from armillary_alerts.service.pods import objects as filter_objects
from armillary_alerts.service.settings import Settings
from armillary_alerts.service.stream_setup import STAGES
from armillary_alerts.settings import Settings as StageSettings
from jupyterhub_chart import Object, one, pods, run
from pod_security import violations


def render(content: Object) -> list[Object]:
    code, text = rendered(content)
    assert code == 0, text
    return [each for each in yaml.safe_load_all(text) if each]


@pytest.fixture(scope="module")
def objects() -> list[Object]:
    """The chart as a cluster gets it."""
    return render(values())


def data(objects: list[Object], name: str) -> dict[str, str]:
    """Return what a Secret holds."""
    held = one(objects, "Secret", name)["data"]
    return {key: base64.b64decode(text).decode() for key, text in held.items()}


def test_lint() -> None:
    result = run(["lint", "--strict"], values(), CHART)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("hub.tokens", "x", "additional properties 'tokens' not allowed"),
        ("kafka.bootstrapServers", "kafka", "at '/kafka/bootstrapServers'"),
        ("kafka.securityProtocol", "PLAINTEXT", "at '/kafka/securityProtocol'"),
        ("kafka.cidrs", ["192.0.2.14"], "at '/kafka/cidrs/0'"),
        ("archive.url", "swift://x", "at '/archive/url'"),
        ("stages.annotate.minReplicas", 0, "at '/stages/annotate/minReplicas'"),
        ("stages.annotate.group", None, "at '/stages/annotate/group'"),
        ("stages.Annotate", {}, "invalid propertyName 'Annotate'"),
        ("service.rules.share_limit", 5, "at '/service/rules/share_limit'"),
        ("pythonFilters.memoryMiB", "1Gi", "at '/pythonFilters/memoryMiB'"),
    ],
)
def test_what_does_not_work_is_refused_by_name(path: str, value: Any, said: str) -> None:
    code, text = rendered(changed(path, value))
    assert code != 0
    assert said in text


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("image", "", "image: set the image to run"),
        ("kafka.ca", "", "kafka.ca: the authority of the brokers' certificates"),
        ("kafka.cidrs", [], "kafka.cidrs: say where the brokers are"),
        ("kafka.admin.password", "", "kafka.admin.password: the service gives users their rights"),
        ("archive.cidrs", [], "archive.cidrs: say where the object store is"),
        ("hub.token", "", "hub.token: the service's token at JupyterHub"),
        ("service.accountsSecret", "", "service.accountsSecret: passwords are derived from it"),
        ("autoscaling.hosts", [], "autoscaling.hosts: say where Kubernetes' API server asks from"),
        ("autoscaling.frontProxyCa", "", "autoscaling.frontProxyCa: who Kubernetes' API server is"),
        (
            "stages.annotate.minReplicas",
            9,
            "stages.annotate: minReplicas (9) is more than maxReplicas (4)",
        ),
    ],
)
def test_what_is_missing_is_said(path: str, value: Any, said: str) -> None:
    code, text = rendered(changed(path, value))
    assert code != 0
    assert said in text


def test_every_pod_is_restricted(objects: list[Object]) -> None:
    found = {name: violations(spec) for name, spec in pods(objects)}
    assert found == {"alerts": [], "alerts-trial": [], "annotate": [], "archive": []}
    for name, spec in pods(objects):
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert container["resources"]["limits"]["memory"], name
            assert not container.get("env"), f"{name}: nothing is handed over by environment"


@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS)
def test_secrets_are_in_secrets_only(objects: list[Object], secret: str) -> None:
    holders = {
        each["kind"]
        for each in objects
        if secret in yaml.safe_dump(each, width=10**6)
        or any(
            secret in base64.b64decode(text).decode()
            for text in (each.get("data") or {}).values()
            if each["kind"] == "Secret"
        )
    }
    assert holders == {"Secret"}


def test_each_stage_gets_its_own_account_and_no_other_secret(objects: list[Object]) -> None:
    annotate = data(objects, "alerts-annotate")
    assert '"sasl.username":"alerts-annotate"' in annotate["kafka.json"]
    assert SECRETS["annotate"] in annotate["kafka.json"]
    for other in ("admin", "archive", "key", "derived"):
        assert SECRETS[other] not in "".join(annotate.values()), other
    assert "archive-secret-key" in data(objects, "alerts-archive")


def test_settings_are_what_the_programs_take(objects: list[Object]) -> None:
    service = Settings.model_validate(
        yaml.safe_load(data(objects, "alerts-service")["service.yml"])
    )
    assert service.python_filters
    assert service.archive
    assert set(service.stage_accounts) == {"annotate", "archive"} <= set(STAGES)
    assert service.stages["annotate"].group == "alerts-annotate"
    for name in ("alerts-annotate", "alerts-archive"):
        StageSettings.model_validate(yaml.safe_load(data(objects, name)["stage.yml"]))
    audit = StageSettings.model_validate(
        yaml.safe_load(data(objects, "alerts-service")["audit.yml"])
    )
    assert audit.archive


def test_only_the_service_talks_to_kubernetes_and_only_of_filters(objects: list[Object]) -> None:
    for name, spec in pods(objects):
        assert spec["automountServiceAccountToken"] is (name == "alerts"), name
    roles = [each for each in objects if each["kind"] == "Role"]
    assert [each["metadata"]["namespace"] for each in roles] == ["alerts-filters"]
    allowed = {
        (resource, verb)
        for rule in roles[0]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert {resource for resource, _ in allowed} == {"deployments", "secrets"}
    # It writes secrets and cannot read them.
    assert {verb for resource, verb in allowed if resource == "secrets"} == {
        "create",
        "update",
        "delete",
    }
    (reader,) = [each for each in objects if each["kind"] == "ClusterRole"]
    assert reader["rules"] == [
        {
            "apiGroups": ["external.metrics.k8s.io"],
            "resources": ["alerts_lag"],
            "verbs": ["get", "list"],
        }
    ]


def test_stages_are_scaled_by_what_they_have_to_read(objects: list[Object]) -> None:
    scaler = one(objects, "HorizontalPodAutoscaler", "annotate")["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (1, 4)
    (metric,) = scaler["metrics"]
    assert metric["external"] == {
        "metric": {"name": "alerts_lag", "selector": {"matchLabels": {"stage": "annotate"}}},
        "target": {"type": "AverageValue", "averageValue": "2000"},
    }
    assert "replicas" not in one(objects, "Deployment", "annotate")["spec"]
    # One without a lag to scale by has as many as it says.
    assert one(objects, "Deployment", "archive")["spec"]["replicas"] == 1


def egress(objects: list[Object], name: str) -> set[tuple[str, int]]:
    """Return where a policy lets its pods go, as a network or namespace and a port."""
    found = set()
    for rule in one(objects, "NetworkPolicy", name)["spec"]["egress"]:
        for to in rule["to"]:
            where = (to.get("ipBlock") or {}).get("cidr")
            labels = (to.get("namespaceSelector") or to.get("podSelector") or {}).get(
                "matchLabels", {}
            )
            where = (
                where
                or labels.get("kubernetes.io/metadata.name")
                or labels.get("app.kubernetes.io/component")
            )
            found |= {(where, port["port"]) for port in rule["ports"]}
    return found


def test_filters_in_python_reach_kafka_and_nothing_else(objects: list[Object]) -> None:
    policy = one(objects, "NetworkPolicy", "python-filters")
    assert policy["metadata"]["namespace"] == "alerts-filters"
    assert policy["spec"]["podSelector"] == {}
    assert policy["spec"]["ingress"] == []
    assert egress(objects, "python-filters") == {("kube-system", 53), ("192.0.2.14/32", 9093)}
    # On trial they reach nobody, and only the service reaches them.
    assert one(objects, "NetworkPolicy", "trial")["spec"]["egress"] == []


def test_each_pod_reaches_what_it_needs(objects: list[Object]) -> None:
    stream = {("kube-system", 53), ("192.0.2.14/32", 9093)}
    assert egress(objects, "annotate") == stream
    assert egress(objects, "archive") == stream | {("192.0.2.10/32", 8443)}
    assert egress(objects, "service") == stream | {
        ("192.0.2.10/32", 8443),
        ("jupyterhub", 8081),
        ("trial", 8443),
        ("0.0.0.0/0", 443),
        ("0.0.0.0/0", 6443),
    }
    assert one(objects, "NetworkPolicy", "default-deny")["spec"] == {
        "podSelector": {},
        "policyTypes": ["Ingress", "Egress"],
    }


def test_without_filters_in_python_the_service_has_no_rights_in_kubernetes() -> None:
    objects = render(changed("pythonFilters.enabled", False))
    assert not [each for each in objects if each["kind"] == "Role"]
    assert all(spec["automountServiceAccountToken"] is False for _, spec in pods(objects))
    service = yaml.safe_load(data(objects, "alerts-service")["service.yml"])
    assert "python_filters" not in service


FILTER = Filter(
    owner="astronomer", name="young_ones", kind=Kind.PYTHON, text="def filter(alert): return True"
)
SETTINGS = PodSettings(namespace="alerts-filters", image="alerts@sha256:1")
KAFKA = {
    "bootstrap.servers": "kafka:9093",
    "sasl.username": FILTER.topic,
    "sasl.password": "its-own",
}


def test_a_filters_pod_is_restricted_and_knows_no_secret_but_its_own() -> None:
    secret, deployment = filter_objects(FILTER, KAFKA, "authority", SETTINGS)
    spec = deployment["spec"]["template"]["spec"]
    assert violations(spec) == []
    assert spec["automountServiceAccountToken"] is False
    (container,) = spec["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["resources"]["limits"] == {"cpu": "500m", "memory": "704Mi"}
    assert "env" not in container
    assert "its-own" not in yaml.safe_dump(deployment)
    assert set(secret["stringData"]) == {"kafka.json", "ca.crt", "filter.json"}


def test_a_filters_name_fits_kubernetes_and_is_its_own() -> None:
    names = {
        object_name(Filter(owner=owner, name=name, text="x"))
        for owner, name in (("a-b", "c"), ("a", "b-c"), ("a_b", "c"), ("x" * 60, "y" * 60))
    }
    assert len(names) == 4
    assert all(len(name) <= 53 and name.replace("-", "").isalnum() for name in names)


def test_a_new_text_or_password_replaces_the_pod_and_a_pause_does_not() -> None:
    def digest(definition: Filter, kafka: dict[str, str] = KAFKA) -> str:
        _, deployment = filter_objects(definition, kafka, "authority", SETTINGS)
        return str(deployment["spec"]["template"]["metadata"]["annotations"]["armillary.io/digest"])

    assert digest(FILTER) == digest(FILTER.model_copy(update={"changed": FILTER.created}))
    assert digest(FILTER) != digest(
        FILTER.model_copy(update={"text": "def filter(alert): return False"})
    )
    assert digest(FILTER) != digest(FILTER, {**KAFKA, "sasl.password": "another"})
