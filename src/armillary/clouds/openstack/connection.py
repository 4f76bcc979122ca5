"""How a project is reached: an entry of clouds.yaml, by openstacksdk."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import openstack
from keystoneauth1 import exceptions as keystone
from openstack.config import OpenStackConfig
from openstack.connection import Connection
from openstack.exceptions import ConfigException, SDKException

from armillary.clouds.contract import CloudError
from armillary.files import write

SECONDS = 60.0
"""For one request; a cloud that takes longer does not answer."""


FILE = "OS_CLIENT_CONFIG_FILE"
"""Which clouds.yaml is read, by openstacksdk and by Terraform's provider alike."""


def remember(record: Path) -> None:
    """Write down which clouds.yaml was read, so that it need not be named in every shell."""
    if file := os.environ.get(FILE):
        write(record, f"{file}\n")


def connect(cloud: str, record: Path | None = None) -> Connection:
    """Return a connection that has signed in; Terraform, started later, reads the same clouds.yaml.

    Args:
        cloud: the entry of clouds.yaml.
        record: the file of `remember`: the clouds.yaml in it is read, if it is there still and the environment names none.

    Raises:
        CloudError: there is no such entry, or the cloud does not let it in, or does not answer.
    """
    # It warns of each service a cloud does not have, whenever it is asked whether there is one.
    logging.getLogger("openstack.config").setLevel(logging.ERROR)
    _choose(record)
    try:
        found = openstack.connect(cloud=cloud, app_name="armillary", api_timeout=SECONDS)
        found.authorize()
    except ConfigException as error:
        raise CloudError(_no_entry(cloud, error)) from error
    except keystone.Unauthorized as error:
        raise CloudError(
            f"The cloud refuses the credentials of `{cloud}` in clouds.yaml: {error.message}. "
            f"`openstack --os-cloud {cloud} token issue` shows the same; get new ones."
        ) from error
    except (keystone.ClientException, SDKException) as error:
        raise CloudError(
            f"The cloud of `{cloud}` in clouds.yaml does not answer: {error}. Is auth_url right, "
            "and is there a way to it from here?"
        ) from error
    return found


def _choose(record: Path | None) -> None:
    """Have the environment name the clouds.yaml that is read: Terraform runs in another directory than this process."""
    if not os.environ.get(FILE) and record is not None and record.exists():
        known = Path(record.read_text().strip())
        if known.is_file():
            os.environ[FILE] = str(known)
    found = OpenStackConfig().config_filename
    if found is not None:
        os.environ[FILE] = str(Path(found).absolute())


def _no_entry(cloud: str, error: Exception) -> str:
    config = OpenStackConfig()
    if config.config_filename is None:
        return (
            f"There is no clouds.yaml, and so no entry `{cloud}`. Download one from the cloud's "
            "dashboard (API access), and put it in ~/.config/openstack/ or name it in "
            "OS_CLIENT_CONFIG_FILE."
        )
    names = ", ".join(sorted(set(config.get_cloud_names()) - {"defaults"}))
    return f"{config.config_filename} has {names or 'no entry'}, and for `{cloud}`: {error}"
