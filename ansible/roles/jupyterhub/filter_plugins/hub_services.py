"""Programs beside the hub, as values of the chart: what they are to the hub, and who may use them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

# What a user's server may do by its own token, https://jupyterhub.readthedocs.io/en/stable/rbac/roles.html
SERVER = ("users:activity!user", "access:servers!server")


def hub_services(services: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return values of the chart for services that all users may use, from the browser and from their servers.

    Args:
        services: by name: `url` as the proxy reaches it, `api_token`, and `scopes` that the service has itself.
    """
    access = [f"access:services!service={name}" for name in sorted(services)]
    if not access:
        return {}
    return {
        "hub": {
            "config": {"Spawner": {"server_token_scopes": [*SERVER, *access]}},
            "services": {
                name: {
                    "url": service["url"],
                    "apiToken": service["api_token"],
                    "display": True,
                    # Whoever has signed in has said so once.
                    "oauth_no_confirm": True,
                }
                for name, service in sorted(services.items())
            },
            "loadRoles": {
                "user": {"scopes": ["self", *access]},
                **{
                    name: {"services": [name], "scopes": list(service["scopes"])}
                    for name, service in sorted(services.items())
                    if service.get("scopes")
                },
            },
        }
    }


def hub_service_policies(services: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return values of the chart that let the proxy, the hub and users' servers reach services.

    Args:
        services: by name: `namespace` and `port` where the proxy finds it, `notebook_port` where users' servers do, and `egress`,
            further rules of NetworkPolicy for users' servers.
    """

    def to(service: Mapping[str, Any], port: int) -> dict[str, Any]:
        namespace = {"matchLabels": {"kubernetes.io/metadata.name": service["namespace"]}}
        return {
            "ports": [{"port": port, "protocol": "TCP"}],
            "to": [{"namespaceSelector": namespace}],
        }

    inside = [each for _, each in sorted(services.items()) if "namespace" in each]
    proxied = [to(each, each["port"]) for each in inside]
    notebooks = [to(each, each["notebook_port"]) for each in inside if "notebook_port" in each]
    more = [rule for _, each in sorted(services.items()) for rule in each.get("egress", [])]
    return {
        "hub": {"networkPolicy": {"egress": proxied}},
        "proxy": {"chp": {"networkPolicy": {"egress": proxied}}},
        "singleuser": {"networkPolicy": {"egress": [*notebooks, *more]}},
    }


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., object]]:
        """Return the filters by the name templates use."""
        return {"hub_services": hub_services, "hub_service_policies": hub_service_policies}
