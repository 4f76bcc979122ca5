#!/usr/bin/python
"""Write a set of configuration files in one run of one module."""

from __future__ import annotations

DOCUMENTATION = r"""
---
module: config_files
short_description: Write a set of configuration files
description:
  - Writes all files of a role in one go. M(ansible.builtin.template) needs two connections for each file and host,
    which is most of the time of a run that changes nothing.
  - A file is replaced by one rename, and only when it differs.
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
      state: {description: Whether the file is to be there., type: str, choices: [present, absent], default: present}
      validate:
        description: A command that checks the text before it takes the file's place; %s is the text's path.
        type: str
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
"""

RETURN = r"""
changed_paths:
  description: What was written, made or removed.
  type: list
  elements: str
  returned: always
"""

import os  # noqa: E402
import shlex  # noqa: E402
import tempfile  # noqa: E402

from ansible.module_utils.basic import AnsibleModule  # noqa: E402

OWNERSHIP = {
    "mode": {"type": "str"},
    "owner": {"type": "str", "default": "root"},
    "group": {"type": "str", "default": "root"},
}
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


def attributes(module: AnsibleModule, item: dict[str, str], changed: bool) -> bool:
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


def write(module: AnsibleModule, item: dict[str, str]) -> None:
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


def main() -> None:
    """Run the module."""
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    changed: list[str] = []
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
            if before is not None:
                changed.append(path)
                if not module.check_mode:
                    os.unlink(path)
            continue
        if item["content"] is None:
            module.fail_json(msg=f"{path} is to be written, but `content` is missing.")
        if before != item["content"]:
            changed.append(path)
            differences.append(
                {
                    "before": before or "",
                    "after": item["content"],
                    "before_header": path,
                    "after_header": path,
                }
            )
            if not module.check_mode:
                write(module, item)
        elif attributes(module, item, False):
            changed.append(path)
    module.exit_json(changed=bool(changed), changed_paths=changed, diff=differences)


if __name__ == "__main__":
    main()
