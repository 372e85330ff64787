#!/bin/sh
# Resolve requirements/*.in and jgo.toml anew. The locks hold hashes and no addresses.
set -eu
cd "$(dirname "$0")/.."
compile() {
  .lostphone/uv/bin/uv pip compile -q --universal --python-version 3.12 --generate-hashes --no-emit-index-url "$@"
}
compile requirements/bootstrap.in -o requirements/bootstrap.lock
compile requirements/dev.in -o requirements/dev.lock
compile requirements/runtime.in -c requirements/dev.lock -o requirements/runtime.lock
.venv/bin/python -m lostphone.embedded lock
