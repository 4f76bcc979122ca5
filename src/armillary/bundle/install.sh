#!/bin/sh
# Make Armillary's checkout and Python environment out of a bundle, without a network. Nothing but Python is needed.
#
#     tar -xOf BUNDLE install.sh | sh -s BUNDLE [DIRECTORY]
set -eu

bundle=$(readlink -f "${1:?which bundle?}")
target=${2:-armillary}
if test -e "$target"; then
  echo "$target is there already; name another directory, or remove it." >&2
  exit 1
fi
if test -f "$bundle.sha256"; then
  (cd "$(dirname "$bundle")" && sha256sum --quiet --check "$bundle.sha256")
fi
mkdir -p "$target"
cd "$target"
trap 'cd .. && rm -rf "$target"' EXIT
tar -xOf "$bundle" checkout.tar | tar -x
mkdir made
tar -C made -xf "$bundle" bundle.json wheels
python=$(python3 -c 'import json; print(json.load(open("made/bundle.json"))["python"])')
python3 -m zipfile -e made/wheels/uv-*.whl made/uv
uv=$(echo made/uv/uv-*.data/scripts/uv)
chmod +x "$uv"
export UV_OFFLINE=1 UV_NO_INDEX=1 UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never UV_CACHE_DIR="$PWD/made/cache"
"$uv" venv --quiet --python "$python"
"$uv" pip install --quiet --find-links made/wheels --requirement made/wheels/requirements.txt uv hatchling editables
"$uv" pip install --quiet --no-deps --no-build-isolation --editable .
rm -rf made
trap - EXIT
cat <<END
Armillary is in $PWD. Go on with:

    cd $PWD
    . .venv/bin/activate
    export UV_NO_SYNC=1
    uv run invoke up --bundle $bundle
END
