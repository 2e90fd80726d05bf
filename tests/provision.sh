# What the tests need, got on the spot: sourced by tests/run and tests/check, which stand in the
# checkout's root. Each function asks for the state it wants and is quick where it already is so.
# shellcheck shell=bash

say() {
  printf '%s: %s\n' "$0" "$*" >&2
}

fail() {
  say "$@"
  exit 1
}

# The private environment with what tests and build need, and its programs first on PATH.
need_environment() {
  ./install.sh --env test build
  PATH=${RELAY_VENV:-$PWD/.venv}/bin:$PATH
}

# need_commands COMMAND:PACKAGE...   Debian's packages for the commands that are missing.
# As an ordinary user it says what is missing and returns 1.
need_commands() {
  local pair missing=()
  for pair in "$@"; do
    PATH=$PATH:/usr/sbin:/sbin command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  if [[ $EUID -ne 0 ]] || ! command -v apt-get >/dev/null; then
    say "missing here: ${missing[*]} (with root on Debian this script installs them)"
    return 1
  fi
  # The tests want the programs of redis-server and nginx, not their services.
  ./install.sh --packages "${missing[@]}"
}

# Runs a step whose words matter only when it fails.
hush() {
  local words
  words=$("$@" 2>&1) || fail "this step failed: $*"$'\n'"$words"
}

# The npm packages that tests/npm/package-lock.json pins; no package's own script is run.
need_npm_packages() {
  local stamp=tests/npm/node_modules/.installed
  if cmp --silent tests/npm/package-lock.json "$stamp"; then
    return
  fi
  say "installing the npm packages of tests/npm"
  hush npm ci --prefix tests/npm --ignore-scripts --no-audit --no-fund
  cp tests/npm/package-lock.json "$stamp"
}

# need_python_folder NAME   The packages of tests/clients/NAME.txt, in a folder that the tests put on
# PYTHONPATH: they do not get on with what the tests themselves run on.
need_python_folder() {
  local wanted=tests/clients/$1.txt folder=${RELAY_VENV:-$PWD/.venv}/$1
  if cmp --silent "$wanted" "$folder/installed.txt"; then
    return
  fi
  say "installing the Python packages of $wanted"
  rm -rf "$folder"
  hush python -m pip install --disable-pip-version-check --target "$folder" --requirement "$wanted"
  cp "$wanted" "$folder/installed.txt"
}
