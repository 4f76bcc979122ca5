"""Where a cluster is reached: what `open`, `status` and the proof read."""

from __future__ import annotations

from armillary.files import write
from armillary.inventory import bootstrap
from armillary.models.cluster import Cluster
from armillary.models.endpoints import Endpoint, Endpoints
from armillary.objectstore.access import access
from armillary.paths import ClusterPaths


def write_endpoints(paths: ClusterPaths, cluster: Cluster) -> None:
    """Write endpoints.json of a cluster's state; secrets are named, not shown."""
    found = [
        Endpoint(
            name="registry",
            url=f"https://{cluster.registry}/",
            login="push",
            secret_ref="secrets.yml#registry.push.password",  # noqa: S106 - where it is, not what
            description="The private image registry",
        ),
        Endpoint(
            name="kubernetes",
            url=f"https://api.{cluster.domain}:7443/",
            secret_ref="kubeconfig",  # noqa: S106 - where it is, not what
            description="The Kubernetes API",
        ),
    ]
    store = access(cluster, paths)
    if store is not None:
        found.append(
            Endpoint(
                name="objects",
                url=f"{store.endpoint}/",
                login=", ".join(sorted(store.keys)) or None,
                secret_ref=f"secrets.yml#{store.secret}.s3",
                description="The object store, by S3",
            )
        )
    hub = cluster.components.jupyterhub
    if hub is not None:
        first = hub.authenticator.users[0].name
        found.insert(
            0,
            Endpoint(
                name="hub",
                url=f"https://hub.{cluster.domain}/",
                login=first,
                secret_ref=f"secrets.yml#jupyterhub.users.{first}",
                description="JupyterHub",
            ),
        )
    kafka = cluster.components.kafka
    if kafka is not None:
        user = kafka.users[0].name if kafka.users else "admin"
        found.append(
            Endpoint(
                name="kafka",
                url=f"kafka://{bootstrap(cluster)}",
                login=user,
                secret_ref=f"secrets.yml#kafka.users.{user}",
                description="Kafka: TLS by the cluster's authority (pki/ca.crt), SASL SCRAM-SHA-512",
            )
        )
    content = Endpoints(cluster=cluster.name, endpoints=found)
    write(paths.endpoints, content.model_dump_json(indent=2) + "\n")
