#!/bin/sh
# Build the wheel, install it into an empty environment and run the demo from another folder.
set -eu
root=$(pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python -m build --wheel --outdir "$work/dist" "$root" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
python3 -m venv "$work/venv"
wheel=$(ls "$work"/dist/*.whl)
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -c "$root/constraints.txt" "${wheel}[train]"
cd "$work"
"$work/venv/bin/keshikaran" demo --count 200
"$work/venv/bin/keshikaran" --version
echo "The wheel $(basename "$wheel") ($(wc -c <"$wheel") bytes) works in an empty environment."
