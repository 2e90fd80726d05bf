#!/usr/bin/env bash
#
# Relay: the one command on a new machine.
#
# Usage
#   ./install.sh --try [OPTION]...   try Relay here and now, in the foreground, until Ctrl-C;
#                                    options are passed on to `relay.py try`
#   ./install.sh --env [EXTRA]...    only make the private environment, with the named extras of
#                                    pyproject.toml (test, build)
#   ./install.sh --help              this text
#
# Environment
#   PYTHON              the Python to use (3.11 or newer); else the first such one on PATH
#   RELAY_VENV          where the private environment lies (.venv beside this file)
#   ANTHROPIC_API_KEY   with --try: talk to the real API; without it, to a simulated one
#
# What it changes
#   Makes RELAY_VENV and installs Relay's Python packages there. As root on Debian or Ubuntu it
#   first installs python3-venv and ca-certificates where they are missing. Nothing else.
#   A second run changes nothing and starts at once.

set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=${RELAY_VENV:-$here/.venv}

usage() {
  sed -n '3,/^$/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
}

say() {
  printf 'install.sh: %s\n' "$*" >&2
}

fail() {
  say "$@"
  exit 1
}

misused() {
  say "$1"
  usage >&2
  exit 2
}

find_python() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  fail "no Python 3.11 or newer on PATH; install one, or name it: PYTHON=/path/to/python3 $0"
}

# Runs a step whose words matter only when it fails.
hush() {
  local words
  words=$("$@" 2>&1) || fail "this step failed: $*"$'\n'"$words"
}

# The Debian packages that a bare machine lacks: what `python3 -m venv` needs, and, where we may
# install them, the certificate authorities by which the relay knows the real API.
missing_packages() {
  "$1" -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
  if is_root_on_debian && [[ ! -e /etc/ssl/certs/ca-certificates.crt ]]; then
    echo ca-certificates
  fi
}

is_root_on_debian() {
  [[ $EUID -eq 0 ]] && command -v apt-get >/dev/null
}

install_packages() {
  is_root_on_debian \
    || fail "this machine lacks $*; ask its administrator for: apt-get install $*"
  say "installing Debian's $*"
  # The lists of a new machine are empty, those of an old one name packages that are gone.
  apt_get install "$@" >/dev/null 2>&1 || { hush apt_get update && hush apt_get install "$@"; }
}

apt_get() {
  # A new machine is often busy with its own first upgrade: wait for it.
  DEBIAN_FRONTEND=noninteractive apt-get --quiet --yes --no-install-recommends \
    -o DPkg::Lock::Timeout=300 "$@"
}

# The packages of pyproject.toml and of the extras named, one a line.
requirements() {
  "$python" - "$here/pyproject.toml" "$@" <<'PY'
import sys, tomllib

with open(sys.argv[1], "rb") as file:
    project = tomllib.load(file)["project"]
extras = project["optional-dependencies"]
try:
    print(*project["dependencies"], *(line for name in sys.argv[2:] for line in extras[name]), sep="\n")
except KeyError as unknown:
    sys.exit(f"install.sh: pyproject.toml has no extra {unknown}")
PY
}

# The environment's own Python, if it works: another one found on PATH must not be mixed into it.
usable_environment() {
  "$venv/bin/python" -c 'import math, pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    && echo "$venv/bin/python"
}

# Makes the environment, or leaves it alone if it already is what pyproject.toml asks for.
make_environment() {
  local python missing wanted stamp
  python=$(usable_environment || find_python)
  wanted=$(requirements "$@")
  wanted+=$'\n'"# by $("$python" --version) at $venv"
  stamp=$venv/relay-requirements${*:+-}$(IFS=-; echo "$*").txt
  if [[ -x $venv/bin/python && -e $stamp && $(<"$stamp") == "$wanted" ]]; then
    return
  fi
  missing=$(missing_packages "$python")
  # shellcheck disable=SC2086  # one word a package
  [[ -z $missing ]] || install_packages $missing
  say "making the private environment $venv (a minute, once)"
  usable_environment >/dev/null || hush "$python" -m venv --clear "$venv"
  hush "$venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    --requirement <(printf '%s\n' "$wanted")
  printf '%s\n' "$wanted" >"$stamp"
}

main() {
  case ${1:-} in
    --try)
      make_environment
      exec "$venv/bin/python" "$here/relay.py" try "${@:2}"
      ;;
    --env) make_environment "${@:2}" ;;
    --help | -h) usage ;;
    '') misused "what shall it be?" ;;
    *) misused "unknown option $1" ;;
  esac
}

{ main "$@"; exit; }
