"""Pack the Python package `kafka` into a zip that Python imports from: the same package, the same bytes."""

import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

target = Path(sys.argv[1])
root = Path(find_spec("kafka").origin).parent
before = target.read_bytes() if target.exists() else b""
with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as packed:
    for path in sorted(root.rglob("*.py")):
        packed.writestr(zipfile.ZipInfo(str(path.relative_to(root.parent))), path.read_bytes())
if target.read_bytes() != before:
    print("changed")
