#!/usr/bin/python
"""Have containers in Swift, with their quotas and with who may read and write them."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: swift_containers
short_description: Have containers in Swift, with their quotas and with who may read and write them
description:
  - Signs in by Swift's own authentication (version 1) and makes what is missing or different.
  - Each container has a second one, C(<name>+segments), where Swift's S3 keeps the parts of uploads; those who may write
    the container could not make it themselves. It has the same quota and the same readers and writers.
  - A container that is no longer declared stays, with all that is in it, and is closed to all but the operator.
options:
  url: {description: Where Swift is., type: str, required: true}
  ca_path: {description: The authority to trust., type: path}
  user: {description: "The operator, C(account:user).", type: str, required: true}
  key: {description: The operator's key., type: str, required: true}
  containers:
    description: The containers.
    type: list
    elements: dict
    required: true
    suboptions:
      name: {description: Its name., type: str, required: true}
      quota_bytes: {description: How much it holds at most., type: int}
      read: {description: "Who may list it and read from it, each C(account:user).", type: list, elements: str, default: []}
      write: {description: Who may also write and delete., type: list, elements: str, default: []}
author: The Armillary authors
attributes:
  check_mode: {support: full, description: Says what it would change.}
  diff_mode: {support: none, description: Shows nothing.}
"""

EXAMPLES = r"""
- name: Have the containers
  swift_containers:
    url: https://objects.example.org:7480
    user: science:operator
    key: "{{ key }}"
    containers:
      - {name: archive, quota_bytes: 1073741824, read: ["science:spark"], write: ["science:alerts"]}
"""

RETURN = r"""
changed_containers:
  description: What was made, given other settings, or closed.
  type: list
  elements: str
  returned: always
"""

import json  # noqa: E402
import ssl  # noqa: E402
import urllib.error  # noqa: E402
import urllib.request  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

SEGMENTS = "+segments"
READ, WRITE, QUOTA = "X-Container-Read", "X-Container-Write", "X-Container-Meta-Quota-Bytes"
TIMEOUT = 30


class Refused(Exception):
    """Swift did not do what it was asked."""


class Swift:
    """One account, opened by its operator."""

    def __init__(self, url: str, user: str, key: str, ca_path: str | None) -> None:
        context = ssl.create_default_context(cafile=ca_path)
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        headers = {"X-Auth-User": user, "X-Auth-Key": key}
        _, answer, _ = self._send("GET", f"{url}/auth/v1.0", headers)
        self._account = f"{url}/v1/AUTH_{user.partition(':')[0]}"
        self._token = {"X-Auth-Token": answer["X-Auth-Token"]}

    def containers(self) -> list[str]:
        """Return the names of all containers there are."""
        found: list[str] = []
        while True:
            marker = f"&marker={urllib.request.quote(found[-1], safe='')}" if found else ""
            code, _, body = self._send("GET", f"{self._account}?format=json{marker}", self._token)
            page = [each["name"] for each in json.loads(body)] if code == 200 else []
            if not page:
                return found
            found += page

    def settings(self, name: str) -> dict[str, str] | None:
        """Return quota, readers and writers of a container; None where there is none."""
        code, headers, _ = self._send("HEAD", self._path(name), self._token, missing=True)
        return (
            None if code == 404 else {each: headers.get(each, "") for each in (READ, WRITE, QUOTA)}
        )

    def put(self, name: str, settings: dict[str, str]) -> None:
        """Make a container, or give it other settings."""
        self._send("PUT", self._path(name), {**self._token, **settings})

    def _path(self, name: str) -> str:
        return f"{self._account}/{urllib.request.quote(name, safe='')}"

    def _send(
        self, method: str, url: str, headers: dict[str, str], *, missing: bool = False
    ) -> tuple[int, Any, bytes]:
        request = urllib.request.Request(url, method=method, headers=headers)  # noqa: S310 - cluster.yml's own
        try:
            with self._opener.open(request, timeout=TIMEOUT) as answer:
                return answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            if missing and error.code == 404:
                return 404, error.headers, b""
            said = error.read().decode(errors="replace").strip()
            raise Refused(f"{method} {url}: {error.code} {error.reason}. {said}") from error
        except OSError as error:
            raise Refused(f"{method} {url}: {error}") from error


def wanted(containers: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """Return the settings that each container and its segments are to have."""
    found = {}
    for each in containers:
        writers = sorted(each.get("write") or [])
        settings = {
            READ: ",".join(sorted({*writers, *(each.get("read") or [])})),
            WRITE: ",".join(writers),
            QUOTA: str(each.get("quota_bytes") or ""),
        }
        found |= {each["name"]: settings, f"{each['name']}{SEGMENTS}": settings}
    return found


def apply(swift: Swift, containers: list[dict[str, Any]], *, check: bool = False) -> list[str]:
    """Have the containers as they are wanted; return those that were not."""
    declared = wanted(containers)
    changed = []
    for name in swift.containers():
        if name not in declared and any(
            (swift.settings(name) or {}).get(each) for each in (READ, WRITE)
        ):
            declared[name] = {READ: "", WRITE: ""}
    for name, settings in declared.items():
        there = swift.settings(name)
        if there is None or any(there[each] != value for each, value in settings.items()):
            changed.append(name)
            if not check:
                swift.put(name, settings)
    return sorted(changed)


def main() -> None:
    words = {"type": "list", "elements": "str", "default": []}
    module = AnsibleModule(
        {
            "url": {"type": "str", "required": True},
            "ca_path": {"type": "path"},
            "user": {"type": "str", "required": True},
            "key": {"type": "str", "required": True, "no_log": True},
            "containers": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str", "required": True},
                    "quota_bytes": {"type": "int"},
                    "read": words,
                    "write": words,
                },
            },
        },
        supports_check_mode=True,
    )
    asked = module.params
    try:
        swift = Swift(asked["url"], asked["user"], asked["key"], asked["ca_path"])
        changed = apply(swift, asked["containers"], check=module.check_mode)
    except Refused as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(changed), changed_containers=changed)


if __name__ == "__main__":
    main()
