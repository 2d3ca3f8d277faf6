#!/bin/sh
# What is in an image. The Dockerfile and gifine.def both run it, so that they cannot differ:
#
#   install.sh packages    Python and all packages, by pyproject.toml and constraints.txt
#   install.sh gifine      the code: a step of its own, since it changes often and needs no network
#
# It reads TORCH_INDEX, EXTRAS and COMMIT, which docs/containers.md explains.
set -eu
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
cd /opt/gifine
pip="/opt/venv/bin/python -m pip --quiet"

has_python() { python3 -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

packages() {
  if ! has_python; then
    command -v apt-get >/dev/null || { echo "error: the base has neither Python 3.11 nor apt-get" >&2; exit 2; }
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends python3 python3-venv
    rm -rf /var/lib/apt/lists/*
    has_python || { echo "error: the base's distribution has no Python 3.11 or newer" >&2; exit 2; }
  fi
  python3 - >/tmp/requirements.txt <<'END'
import os, sys, tomllib

with open("pyproject.toml", "rb") as file:
    settings = tomllib.load(file)
extras = settings["project"]["optional-dependencies"]
wanted = [name.strip() for name in os.environ.get("EXTRAS", "").split(",") if name.strip()]
for name in wanted:
    if name not in extras:
        print(f"error: EXTRAS: no such extra: {name}; valid: {', '.join(extras)}", file=sys.stderr)
        sys.exit(2)
# editables: what the build needs for `-e`, below.
print(*settings["build-system"]["requires"], "editables", *settings["project"]["dependencies"], sep="\n")
print(*(line for name in wanted for line in extras[name]), sep="\n")
END
  python3 -m venv /opt/venv
  $pip install --upgrade -c constraints.txt pip
  # Alone, from nowhere else: among several indexes pip would choose by version, not by device.
  [ -z "${TORCH_INDEX:-}" ] || $pip install --no-deps --index-url "$TORCH_INDEX" -c constraints.txt torch
  $pip install -c constraints.txt -r /tmp/requirements.txt
  rm /tmp/requirements.txt
}

gifine() {
  # As a checkout, for which records name a commit.
  $pip install --no-deps --no-build-isolation --no-index -e .
  /opt/venv/bin/python -m compileall -q src # nobody who runs it may write there
  [ -z "${COMMIT:-}" ] || /opt/venv/bin/python - >snapshot.json <<'END'
import json, os

commit, mark, _ = os.environ["COMMIT"].partition("-dirty")
print(json.dumps({"commit": commit, "dirty": bool(mark)}))
END
}

case "${1:-}" in
packages | gifine) "$1" ;;
*) echo "error: install.sh $*: valid: packages, gifine" >&2; exit 2 ;;
esac
