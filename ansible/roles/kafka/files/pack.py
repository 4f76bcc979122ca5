"""Pack the Python package `kafka` into a zip that Python imports from: the same package, the same bytes."""

import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

target = Path(sys.argv[1])
root = Path(find_spec("kafka").origin).parent
before = target.read_bytes() if target.exists() else b""
with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
    # Besides modules there are the messages of Kafka's protocol, as JSON.
    for path in sorted(root.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            member = zipfile.ZipInfo(str(path.relative_to(root.parent)))
            packed.writestr(member, path.read_bytes(), zipfile.ZIP_DEFLATED)
if target.read_bytes() != before:
    print("changed")
