#!/usr/bin/env bash
# Installs lamdemo with all that it needs into a new environment, just as the Dockerfile does:
#   container/install.sh requirements DIR && container/install.sh package DIR
# On Linux, torch from the usual index brings CUDA's libraries along, gigabytes that a CPU never uses. Where an index of
# CPU builds is at hand, name it in TORCH_INDEX.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
step=${1:?say what to install: requirements or package}
place=${2:?give the folder of the environment}

if [ "$step" = requirements ]; then
    python3 -m venv "$place"
    # The exact set that the tests run on, with all that it needs (container/lock.py): nothing else is taken, and none
    # of it in another form than was looked at.
    [ -z "${TORCH_INDEX:-}" ] || export PIP_EXTRA_INDEX_URL=$TORCH_INDEX
    locked=("$place/bin/pip" install --no-cache-dir -q --require-hashes --no-deps -r)
    "${locked[@]}" container/requirements.lock
    if ! "${locked[@]}" container/requirements-cpu.lock; then
        echo "No build of torch for CPUs is at hand; the usual one is taken, with CUDA's libraries."
        "${locked[@]}" container/requirements-cuda.lock
    fi
    "$place/bin/pip" check
    # Tests of these have no use there, and are a tenth of them.
    find "$place" -type d -name tests -path '*/site-packages/*' \
        \( -path '*/scipy/*' -o -path '*/sklearn/*' -o -path '*/pandas/*' -o -path '*/skimage/*' \) -prune -exec rm -rf {} +
    exit
fi
# A wheel is built, which holds the default checkpoint and the examples, in a folder that does not stay.
build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
printf '[build]\nbuild_base = %s\n[egg_info]\negg_base = %s\n' "$build" "$build" > "$build/places.cfg"
DIST_EXTRA_CONFIG="$build/places.cfg" "$place/bin/pip" install --no-cache-dir -q --no-deps --no-build-isolation .
"$place/bin/pip" uninstall -q -y pip
"$place/bin/lamdemo" --version
