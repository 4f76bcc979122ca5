#!/usr/bin/python
"""Have projects, users, flavours and what else an OpenStack is set up with, from one process."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: openstack_objects
short_description: Have the objects an OpenStack is set up with
description:
  - Each call of the command line client, and of a module for one object, costs a second. This one
    makes them all in one process and with one token.
  - Objects are known by their names; what is missing is made. Nothing is ever removed, but an image
    whose C(key) differs.
options:
  clouds_file: {description: The clouds.yaml to use., type: path, required: true}
  cloud: {description: The entry in it., type: str, required: true}
  projects: {description: Names of projects., type: list, elements: str, default: []}
  roles: {description: Names of roles., type: list, elements: str, default: []}
  users:
    description: Users, and their roles in their project.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name., type: str, required: true}
      password: {description: Password that a new user gets., type: str, required: true}
      project: {description: Project., type: str, required: true}
      roles: {description: Roles., type: list, elements: str, required: true}
  services:
    description: The catalogue.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name., type: str, required: true}
      type: {description: Type., type: str, required: true}
      endpoints: {description: URLs by interface., type: dict, required: true}
  region: {description: Region of the endpoints., type: str, default: RegionOne}
  flavors:
    description: Flavours, as the API takes them.
    type: list
    elements: dict
    default: []
  volume_types: {description: Extra specs of volume types by their names., type: dict, default: {}}
  networks:
    description: Networks, as the API takes them, each with one C(subnet).
    type: list
    elements: dict
    default: []
  quotas:
    description: By project and service (compute, volume, network), what the API takes.
    type: dict
    default: {}
  images:
    description: Public images in order; C(kernel) and C(ramdisk) name earlier ones.
    type: list
    elements: dict
    default: []
    suboptions:
      name: {description: Name., type: str, required: true}
      key: {description: Uploaded anew when it differs., type: str, required: true}
      file: {description: The file., type: path, required: true}
      disk_format: {description: Format., type: str, required: true}
      container_format: {description: Format., type: str, required: true}
      kernel: {description: Name of the kernel's image., type: str}
      ramdisk: {description: Name of the initrd's image., type: str}
      properties: {description: Properties., type: dict, default: {}}
author: The Armillary authors
attributes:
  check_mode: {support: none, description: It would have to ask for what is not there yet.}
"""

EXAMPLES = r"""
- name: Have a project
  openstack_objects: {clouds_file: /root/clouds.yaml, cloud: admin, projects: [astronomy]}
"""

RETURN = r"""
made:
  description: What was made or changed.
  type: list
  elements: str
  returned: always
"""

from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

KEY = "armillary_key"
LISTS = {"type": "list", "elements": "dict", "default": []}
TEXT = {"type": "str", "required": True}
ARGUMENTS = {
    "clouds_file": {"type": "path", "required": True},
    "cloud": TEXT,
    "region": {"type": "str", "default": "RegionOne"},
    "projects": {"type": "list", "elements": "str", "default": []},
    "roles": {"type": "list", "elements": "str", "default": []},
    "users": {
        **LISTS,
        "options": {
            "name": TEXT,
            "password": {"type": "str", "required": True, "no_log": True},
            "project": TEXT,
            "roles": {"type": "list", "elements": "str", "required": True},
        },
    },
    "services": {
        **LISTS,
        "options": {"name": TEXT, "type": TEXT, "endpoints": {"type": "dict", "required": True}},
    },
    "flavors": LISTS,
    "volume_types": {"type": "dict", "default": {}},
    "networks": LISTS,
    "quotas": {"type": "dict", "default": {}},
    "images": {
        **LISTS,
        "options": {
            "name": TEXT,
            "key": {"type": "str", "required": True, "no_log": False},
            "file": {"type": "path", "required": True},
            "disk_format": TEXT,
            "container_format": TEXT,
            "kernel": {"type": "str"},
            "ramdisk": {"type": "str"},
            "properties": {"type": "dict", "default": {}},
        },
    },
}


class Objects:
    """Makes what is missing, and remembers what it made."""

    def __init__(self, cloud: Any, region: str) -> None:
        self.cloud, self.region = cloud, region
        self.made: list[str] = []

    def note(self, kind: str, name: str) -> None:
        """Remember what was made."""
        self.made.append(f"{kind} {name}")

    def have(self, kind: str, name: str, find: Any, create: Any, **attributes: Any) -> Any:
        """Return an object by its name, made with these attributes when there is none."""
        found = find(name, ignore_missing=True)
        if found is None:
            found = create(name=name, **attributes)
            self.note(kind, name)
        return found

    def projects(self, names: list[str]) -> None:
        """Have projects of the default domain."""
        identity = self.cloud.identity
        for name in names:
            self.have(
                "project", name, identity.find_project, identity.create_project, domain_id="default"
            )

    def roles(self, names: list[str]) -> None:
        """Have roles."""
        identity = self.cloud.identity
        for name in names:
            self.have("role", name, identity.find_role, identity.create_role)

    def users(self, users: list[dict[str, Any]]) -> None:
        """Have users with their passwords, each with roles in one project."""
        identity = self.cloud.identity
        for user in users:
            project = identity.find_project(user["project"], ignore_missing=False)
            found = identity.find_user(user["name"], ignore_missing=True)
            if found is None:
                found = identity.create_user(
                    name=user["name"],
                    password=user["password"],
                    domain_id="default",
                    default_project_id=project.id,
                )
                self.note("user", user["name"])
            held = {
                assignment.role["id"]
                for assignment in identity.role_assignments(
                    user_id=found.id, scope_project_id=project.id
                )
            }
            for name in user["roles"]:
                role = identity.find_role(name, ignore_missing=False)
                if role.id not in held:
                    identity.assign_project_role_to_user(project, found, role)
                    self.note("role of", user["name"])

    def services(self, services: list[dict[str, Any]]) -> None:
        """Have the catalogue."""
        identity = self.cloud.identity
        for service in services:
            found = next(iter(identity.services(type=service["type"])), None)
            if found is None:
                found = identity.create_service(type=service["type"], name=service["name"])
                self.note("service", service["name"])
            known = {each.interface: each for each in identity.endpoints(service_id=found.id)}
            for interface, url in service["endpoints"].items():
                if interface not in known:
                    identity.create_endpoint(
                        service_id=found.id, interface=interface, region_id=self.region, url=url
                    )
                elif known[interface].url != url:
                    identity.update_endpoint(known[interface], url=url)
                else:
                    continue
                self.note("endpoint", url)

    def flavors(self, flavors: list[dict[str, Any]]) -> None:
        """Have flavours."""
        compute = self.cloud.compute
        for flavor in flavors:
            self.have("flavor", find=compute.find_flavor, create=compute.create_flavor, **flavor)

    def volume_types(self, types: dict[str, dict[str, str]]) -> None:
        """Have volume types."""
        storage = self.cloud.block_storage
        for name, specs in types.items():
            if storage.find_type(name, ignore_missing=True) is None:
                storage.create_type(name=name, extra_specs=specs)
                self.note("volume type", name)

    def networks(self, networks: list[dict[str, Any]]) -> None:
        """Have networks with their subnets."""
        network = self.cloud.network
        for wanted in networks:
            attributes = {key: value for key, value in wanted.items() if key != "subnet"}
            found = self.have(
                "network", find=network.find_network, create=network.create_network, **attributes
            )
            self.have(
                "subnet",
                find=network.find_subnet,
                create=network.create_subnet,
                network_id=found.id,
                **wanted["subnet"],
            )

    def quotas(self, quotas: dict[str, dict[str, dict[str, int]]]) -> None:
        """Have quotas."""
        calls = {
            "compute": (self.cloud.get_compute_quotas, self.cloud.set_compute_quotas),
            "volume": (self.cloud.get_volume_quotas, self.cloud.set_volume_quotas),
            "network": (self.cloud.get_network_quotas, self.cloud.set_network_quotas),
        }
        for project, by_service in quotas.items():
            for service, wanted in by_service.items():
                get, put = calls[service]
                present = get(project)
                if any(getattr(present, key, None) != value for key, value in wanted.items()):
                    put(project, **wanted)
                    self.note(f"{service} quota of", project)

    def images(self, images: list[dict[str, Any]]) -> None:
        """Have public images, uploaded anew when their key differs."""
        glance = self.cloud.image
        ids: dict[str, str] = {}
        for wanted in images:
            name = wanted["name"]
            found = glance.find_image(name, ignore_missing=True)
            if found is not None and (
                found.status != "active" or found.properties.get(KEY) != wanted["key"]
            ):
                glance.delete_image(found)
                found = None
            if found is None:
                tied = {
                    f"{part}_id": ids[wanted[part]]
                    for part in ("kernel", "ramdisk")
                    if wanted[part]
                }
                found = glance.create_image(
                    name,
                    filename=wanted["file"],
                    disk_format=wanted["disk_format"],
                    container_format=wanted["container_format"],
                    visibility="public",
                    allow_duplicates=True,
                    wait=True,
                    **{KEY: wanted["key"], **tied, **wanted["properties"]},
                )
                self.note("image", name)
            ids[name] = found.id


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS)
    # Here, for Ansible reads this file's documentation where there is no SDK.
    from openstack.config import OpenStackConfig
    from openstack.connection import Connection
    from openstack.exceptions import SDKException

    wanted = module.params
    config = OpenStackConfig(config_files=[wanted["clouds_file"]], load_envvars=False)
    region = config.get_one(cloud=wanted["cloud"])
    try:
        with Connection(config=region) as cloud:
            objects = Objects(cloud, wanted["region"])
            for kind in (
                "projects",
                "roles",
                "users",
                "services",
                "flavors",
                "volume_types",
                "networks",
                "quotas",
                "images",
            ):
                getattr(objects, kind)(wanted[kind])
    except SDKException as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(objects.made), made=objects.made)


if __name__ == "__main__":
    main()
