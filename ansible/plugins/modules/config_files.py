#!/usr/bin/python
"""Write a set of configuration files in one run of one module."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: config_files
short_description: Write a set of configuration files
description:
  - Writes all files of a role in one go. M(ansible.builtin.template) needs two connections for each
    file and host, which is most of the time of a run that changes nothing.
  - A file is replaced by one rename, and only when it differs.
  - What has to follow a change is done in the same run, so that no service is left with old
    settings when a run is cut short between the two; what could not be done is remembered on the
    host and done by the next run.
options:
  directories:
    description: Directories to make first, parents included.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      mode: {description: Octal mode., type: str, default: "0755"}
      owner: {description: User., type: str, default: root}
      group: {description: Group., type: str, default: root}
  files:
    description: The files.
    type: list
    elements: dict
    default: []
    suboptions:
      path: {description: Absolute path., type: path, required: true}
      content: {description: The text., type: str}
      mode: {description: Octal mode., type: str, default: "0644"}
      owner: {description: User., type: str, default: root}
      group: {description: Group., type: str, default: root}
      state:
        description: Whether the file is to be there.
        type: str
        choices: [present, absent]
        default: present
      validate:
        description:
          - A command that checks the text before it takes the file's place; %s is the text's path.
        type: str
      then:
        description:
          - Commands for the shell, run when the file has changed, each once and after all files are
            written.
          - When a unit of systemd is among the files, systemd reads its units anew before the first
            of them.
        type: list
        elements: str
        default: []
author: The Armillary authors
attributes:
  check_mode: {support: full, description: Says what it would change.}
  diff_mode: {support: full, description: Shows the difference.}
"""

EXAMPLES = r"""
- name: Write the configuration
  config_files:
    files:
      - {path: /etc/motd, content: "Welcome\n"}
      - {path: /etc/hostname, content: "worker-1\n", then: [hostname --file /etc/hostname]}
"""

RETURN = r"""
changed_paths:
  description: What was written, made or removed.
  type: list
  elements: str
  returned: always
commands:
  description: What was run after it.
  type: list
  elements: str
  returned: always
"""

import json  # noqa: E402
import os  # noqa: E402
import shlex  # noqa: E402
import tempfile  # noqa: E402
from typing import Any  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

OWNERSHIP = {
    "mode": {"type": "str"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
UNITS = "/etc/systemd/system/"
PENDING = "/var/lib/armillary/pending.json"
ARGUMENTS = {
    "directories": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            **OWNERSHIP,
            "mode": {"type": "str", "default": "0755"},
        },
    },
    "files": {
        "type": "list",
        "elements": "dict",
        "default": [],
        "options": {
            "path": {"type": "path", "required": True},
            "content": {"type": "str"},
            "validate": {"type": "str"},
            "then": {"type": "list", "elements": "str", "default": []},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **OWNERSHIP,
            "mode": {"type": "str", "default": "0644"},
        },
    },
}


def current(path: str) -> str | None:
    """Return a file's text, or None when there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return None


def attributes(module: AnsibleModule, item: dict[str, Any], changed: bool) -> bool:
    """Set mode, owner and group where they differ; say whether anything has changed."""
    wanted = {
        "path": item["path"],
        "mode": item["mode"],
        "owner": item["owner"],
        "group": item["group"],
        "secontext": [],
        "attributes": None,
    }
    return bool(module.set_fs_attributes_if_different(wanted, changed))


def write(module: AnsibleModule, item: dict[str, Any]) -> None:
    """Give a file its text by one rename, checked first where a check is given."""
    directory = os.path.dirname(item["path"])
    handle, name = tempfile.mkstemp(prefix=".armillary-", dir=directory)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(item["content"])
        if item["validate"]:
            command = [word.replace("%s", name) for word in shlex.split(item["validate"])]
            code, out, err = module.run_command(command)
            if code != 0:
                module.fail_json(
                    msg=f"{item['path']} was left as it is, for the new text is refused by "
                    f"`{item['validate']}` (exit code {code}):\n{out}{err}"
                )
        attributes(module, {**item, "path": name}, False)
        os.replace(name, item["path"])
    finally:
        if os.path.exists(name):
            os.unlink(name)


def write_all(module: AnsibleModule, differing: list[dict[str, Any]]) -> None:
    """Write or remove the files that differ."""
    for item in differing:
        if item["state"] == "absent":
            os.unlink(item["path"])
        else:
            write(module, item)


def recall() -> list[str]:
    """Return the commands which an earlier run owes."""
    return list(json.loads(current(PENDING) or "[]"))


def remember(commands: list[str]) -> None:
    """Keep the commands that are still to be run."""
    if not commands:
        if os.path.exists(PENDING):
            os.unlink(PENDING)
        return
    os.makedirs(os.path.dirname(PENDING), exist_ok=True)
    with open(PENDING + ".part", "w", encoding="utf-8") as file:
        json.dump(commands, file)
    os.replace(PENDING + ".part", PENDING)


def follow_up(module: AnsibleModule, commands: list[str]) -> None:
    """Run the commands; those from a failing one on stay pending."""
    for number, command in enumerate(commands):
        remember(commands[number:])
        code, out, err = module.run_command(["/bin/sh", "-c", command])
        if code != 0:
            module.fail_json(
                msg=f"The files are written, but `{command}` ended with exit code {code}:\n"
                f"{out}{err}"
            )
    remember([])


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    changed: list[str] = []
    differing: list[dict[str, Any]] = []
    differences: list[dict[str, str]] = []
    for item in module.params["directories"]:
        missing = not os.path.isdir(item["path"])
        if missing and not module.check_mode:
            os.makedirs(item["path"], exist_ok=True)
        if missing or attributes(module, item, False):
            if missing and not module.check_mode:
                attributes(module, item, False)
            changed.append(item["path"])
    for item in module.params["files"]:
        path, before = item["path"], current(item["path"])
        if item["state"] == "absent":
            item["content"] = None
        elif item["content"] is None:
            module.fail_json(msg=f"{path} is to be written, but `content` is missing.")
        if before != item["content"]:
            differing.append(item)
            differences.append(
                {
                    "before": before or "",
                    "after": item["content"] or "",
                    "before_header": path,
                    "after_header": path,
                }
            )
        elif before is not None and attributes(module, item, False):
            changed.append(path)
    changed += [item["path"] for item in differing]
    owed = recall() + [command for item in differing for command in item["then"]]
    if any(item["path"].startswith(UNITS) for item in differing):
        owed.insert(0, "systemctl daemon-reload")
    commands = list(dict.fromkeys(owed))
    if not module.check_mode:
        if commands:
            remember(commands)
        write_all(module, differing)
        follow_up(module, commands)
    module.exit_json(
        changed=bool(changed or commands),
        changed_paths=changed,
        commands=commands,
        diff=differences,
    )


if __name__ == "__main__":
    main()
