#!/usr/bin/env bash
# Installs what PostCopy needs beside .NET, and only what is missing.
#
#   eng/setup.sh run     to use postcopy:  CRIU, runc, iptables, iproute2
#   eng/setup.sh test    the same, and what the tests and the demo need
#
# Why a script and not a line of apt-get: Debian 12's CRIU (3.17) does not start on
# current kernels, and no CRIU before 4.2 can dump an inet socket on Linux 6.16 or
# newer.  Where the system's CRIU will not do, Debian testing's is unpacked, with the
# libraries it needs, into /opt/postcopy.  Nothing of that becomes part of the system:
# the files written are below /opt/postcopy, /var/cache/postcopy and what apt-get
# installs from the sources that the system has anyway.  /opt/postcopy/bin is on
# nobody's PATH; postcopy prepends it for its own children.
#
# With everything in place it looks, asks no network and ends at once.
set -euo pipefail
umask 022

readonly PREFIX=/opt/postcopy
readonly CACHE=/var/cache/postcopy
readonly LOCK=/var/lock/postcopy-setup.lock
readonly LOG=$CACHE/setup.log
readonly SUITE=forky            # the Debian release whose CRIU is borrowed
readonly STAMP=$PREFIX/VERSION  # the CRIU last found to work: "path version kernel"
readonly POLICY=/usr/sbin/policy-rc.d
readonly POLICY_MARK='# made by postcopy setup'

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly REPO

# root's PATH lacks the sbin directories after a plain "su".
PATH=$PATH:/usr/sbin:/sbin
export LC_ALL=C

SCRATCH=()        # what to remove at exit, whatever happened
UNFINISHED=''       # a prefix still being built, likewise
POLICY_MADE=false

say()  { printf 'setup: %s\n' "$*"; }
warn() { printf 'setup: %s\n' "$*" >&2; }
die()  { printf 'setup: error: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

version_ge() { printf '%s\n%s\n' "$2" "$1" | sort -V -C; }

cleanup() {
  if $POLICY_MADE; then rm -f "$POLICY"; fi
  if [[ -n $UNFINISHED ]]; then rm -rf "$UNFINISHED"; fi
  if ((${#SCRATCH[@]})); then rm -rf "${SCRATCH[@]}"; fi
}

# The end of the log is what tells an admin why apt failed: show it, indented.
log_tail() { tail -n 8 "$LOG" 2>/dev/null | sed 's/^/    /' >&2; }

# ---------------------------------------------------------------- what is missing

has_static_busybox() {
  local path
  path=$(command -v busybox) || return 1
  # A dynamic one cannot be the only file of a test's root file system.  The name of
  # the program interpreter stands at the start of every dynamic ELF file.
  ! head -c 4096 "$path" | grep -qa 'ld-linux'
}

# A bare file name means that gcc knows no such file.
has_static_libc() { [[ $(gcc -print-file-name=libc.a) == /* ]]; }

# One package a line.  Looks for commands, not for packages: a runc that came with
# Docker, or an own build, is as good.
missing_packages() {
  local profile=$1
  have runc || echo runc
  # nft alone will not do: CRIU locks the network with the iptables command unless told
  # otherwise, and with nftables through a library, never with the nft command.
  { have iptables && have iptables-restore; } || echo iptables
  { have ip && have tc; } || echo iproute2
  [[ $profile == test ]] || return 0
  has_static_busybox || echo busybox-static
  have nft || echo nftables
  have redis-server || echo redis-server
  { have redis-cli && have redis-benchmark; } || echo redis-tools
  have gcc || echo gcc
  { have gcc && has_static_libc; } || echo libc6-dev
  { have unshare && have nsenter && have setsid; } || echo util-linux
  have mount || echo mount
  { have ps && have pgrep; } || echo procps
}

# The SDK comes from Microsoft's feed or the distribution, in many ways: checked, never
# installed.  "latestPatch" takes the same feature band (10.0.4xx) from the named patch on.
check_dotnet() {
  local want root dir
  want=$(sed -n 's/.*"version": *"\([0-9.]*\)".*/\1/p' "$REPO/global.json")
  have dotnet || die "no dotnet on PATH: install the .NET SDK $want (named in global.json)"
  root=$(dirname "$(readlink -f "$(command -v dotnet)")")
  for dir in "$root/sdk/${want%??}"??; do
    if [[ -d $dir ]] && version_ge "${dir##*/}" "$want"; then return 0; fi
  done
  # An unusual layout: dotnet itself knows best, but takes a fifth of a second.
  (cd "$REPO" && dotnet --version >/dev/null 2>&1) ||
    die "dotnet is here, but no SDK that global.json accepts: install the .NET SDK $want" \
        "or a later patch of it (here: $(dotnet --list-sdks 2>/dev/null | cut -d' ' -f1 | xargs))"
}

# ------------------------------------------------------------------------ CRIU

kernel() { uname -r | sed 's/[^0-9.].*//'; }

# Linux 6.16 rejects SO_PASSCRED and SO_PASSSEC on inet sockets; CRIU copes from 4.2 on.
criu_wanted() {
  if version_ge "$(kernel)" 6.16; then echo 4.2; else echo 4.1; fi
}

# Prints nothing for a binary that does not start.
criu_version() { { "$1" --version 2>/dev/null || true; } | sed -n 's/^Version: *//p'; }

criu_new_enough() {
  local version
  version=$(criu_version "$1")
  [[ -n $version ]] && version_ge "$version" "$(criu_wanted)"
}

# The CRIU to judge: ours first, since postcopy's children find ours first.
criu_path() {
  if [[ -e $PREFIX/bin/criu ]]; then echo "$PREFIX/bin/criu"; else command -v criu; fi
}

# In place = new enough for this kernel, and tried on this very kernel before.  Running
# the binary (8 ms) notices a replaced or broken one.
criu_in_place() {
  local path version
  path=$(criu_path) || return 1
  version=$(criu_version "$path")
  [[ -n $version ]] && version_ge "$version" "$(criu_wanted)" &&
    [[ -r $STAMP && $(<"$STAMP") == "$path $version $(uname -r)" ]]
}

# Starts a process for the trial with nothing that CRIU would have to care for: a session
# of its own, no terminal and none of the descriptors that our caller left open (a
# pipe to somewhere else, our own lock) - each would make the dump fail.
start_guinea_pig() {
  (
    cd /
    for fd in "/proc/$BASHPID/fd"/*; do
      fd=${fd##*/}
      if ((fd > 2)); then eval "exec $fd>&-"; fi
    done
    exec setsid sleep 60 </dev/null >/dev/null 2>&1
  ) &
  PIG=$!
  disown    # or bash would announce its death
  await_pig sleep
}

# Waits until the process has this name; '' waits until its pid is free.
await_pig() {
  for _ in {1..100}; do
    if [[ $(cat "/proc/$PIG/comm" 2>/dev/null) == "$1" ]]; then return 0; fi
    sleep 0.02
  done
  return 1
}

# "criu check" tells that it starts and finds the kernel's features; only a real dump and
# restore tells that it may do so here (containers and CI machines lack capabilities).
criu_works() {
  local criu=$1 dir ok=false
  "$criu" check >>"$LOG" 2>&1 || { echo "criu check failed: $criu" >>"$LOG"; return 1; }
  dir=$(mktemp -d "$CACHE/trial.XXXXXX")
  SCRATCH+=("$dir")
  start_guinea_pig || return 1
  if "$criu" dump -t "$PIG" -D "$dir" -o dump.log >>"$LOG" 2>&1 && await_pig '' &&
     "$criu" restore -d -D "$dir" -o restore.log >>"$LOG" 2>&1 && await_pig sleep; then
    ok=true
  fi
  kill -KILL "$PIG" 2>/dev/null || true
  $ok && return 0
  grep -h Error "$dir"/*.log >>"$LOG" 2>/dev/null || true
  return 1
}

# Takes the CRIU that postcopy would find now if it is good, and remembers that.
accept_criu() {
  local path version
  path=$(criu_path) || return 1
  if ! criu_new_enough "$path" || ! criu_works "$path"; then return 1; fi
  version=$(criu_version "$path")
  echo "$path $version $(uname -r)" >"$STAMP.new"
  mv -f "$STAMP.new" "$STAMP"
}

setup_criu() {
  local candidate
  if criu_in_place || accept_criu; then return 0; fi
  # Fetching it once more would not help.
  if criu_new_enough "$PREFIX/bin/criu"; then die_incapable; fi
  # Ours is broken, or too old for a newer kernel.  It must not hide a better one of the
  # system.
  rm -f "$PREFIX/bin/criu"
  if accept_criu; then say "using $(command -v criu), good enough for Linux $(kernel)"; return 0; fi

  candidate=$(apt_candidate criu)
  if [[ -z $candidate ]]; then
    refresh_lists
    candidate=$(apt_candidate criu)
  fi
  if [[ -n $candidate ]] && version_ge "$candidate" "$(criu_wanted)"; then
    # Should it fail there is another way, so this must not be the end.
    if apt_try_hard criu && accept_criu; then say "installed criu $candidate"; return 0; fi
  fi

  install_private_criu
  accept_criu || die_incapable
}

die_incapable() {
  log_tail
  die "CRIU $(criu_version "$PREFIX/bin/criu") is in $PREFIX but cannot dump and restore a process here." \
      "Does this machine withhold capabilities from root? Log: $LOG"
}

# --------------------------------------------------- apt, with the system's own sources

# Only messages that matter reach the terminal; everything goes to the log.
# NEEDRESTART_SUSPEND: installing a tool must not restart the host's services.  9>&-: a
# daemon that a package starts must not inherit our lock.
apt_quiet() {
  DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 APT_LISTCHANGES_FRONTEND=none \
    "$@" </dev/null >>"$LOG" 2>&1 9>&-
}

readonly APT_PATIENCE=(
  -o DPkg::Lock::Timeout=600 -o Acquire::Retries=3
  -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30
)

apt_candidate() { # upstream part only: 4.1.1 of 1:4.1.1-1
  apt-cache policy "$1" 2>/dev/null |
    sed -n 's/^ *Candidate: *\([0-9]*:\)\{0,1\}\([0-9][^-]*\).*/\2/p'
}

source_files() {
  local file
  for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list /etc/apt/sources.list.d/*.sources; do
    if [[ -s $file ]]; then echo "$file"; fi
  done
}

# Refreshes the package lists of the system's Debian sources only: a third party's source
# that does not answer must not fail us, nor be waited for.  List-Cleanup=0 keeps the
# lists of the sources left out.  A failure here shows when the package is asked for.
refresh_lists() {
  local parts file
  local only_debian=()
  parts=$(mktemp -d "$CACHE/parts.XXXXXX")
  SCRATCH+=("$parts")
  chmod 755 "$parts"
  for file in $(source_files); do
    if grep -qE '^[^#]*[:/]/[^# ]*/debian(-security)?([/. ]|$)' "$file"; then ln -s "$file" "$parts/"; fi
  done
  if [[ -n $(ls -A "$parts") ]]; then     # else not a Debian we know: take what it has
    only_debian=(-o APT::Get::List-Cleanup=0 -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$parts")
  fi
  apt_quiet apt-get update "${APT_PATIENCE[@]}" "${only_debian[@]}" || true
}

# --no-remove and --no-upgrade: adding our tools may not cost the host anything.
apt_try() {
  apt_quiet apt-get install -y --no-install-recommends --no-remove --no-upgrade "${APT_PATIENCE[@]}" "$@"
}

# With the lists that are there first: mostly they do, and it saves the update.
apt_try_hard() { apt_try "$@" || { refresh_lists; apt_try "$@"; }; }

apt_install() {
  local package
  apt_try_hard "$@" || {
    log_tail
    die "apt-get could not install: $*. Check the network and the apt sources, or install" \
        "them by hand, then run this again. Whole log: $LOG"
  }
  for package in "$@"; do
    say "installed $package $(dpkg-query -W -f '${Version}' "$package")"
  done
}

# Debian starts a service when it installs it, and again at every boot.  A test wants the
# program only, and the port may be somebody's.  The policy denies redis alone, and only
# while we live: left behind by a SIGKILL it allows everything.
hold_redis_down() {
  if [[ -e $POLICY ]] && ! grep -qF "$POLICY_MARK" "$POLICY"; then return 0; fi  # the admin's own
  POLICY_MADE=true
  cat >"$POLICY" <<POLICY_END
#!/bin/sh
$POLICY_MARK, which removes it when it ends
case "\$1" in redis*) kill -0 $$ 2>/dev/null && exit 101;; esac
exit 0
POLICY_END
  chmod 755 "$POLICY"
}

# The package was not there before, so a redis of its service is one that we caused.
keep_redis_down() {
  update-rc.d redis-server disable >>"$LOG" 2>&1 || true    # knows systemd too
  if $POLICY_MADE; then
    rm -f "$POLICY"
    POLICY_MADE=false
  fi
  local pid
  pid=$(cat /run/redis/redis-server.pid 2>/dev/null) || return 0
  [[ $(cat "/proc/$pid/comm" 2>/dev/null) == redis-server ]] || return 0
  service redis-server stop >>"$LOG" 2>&1 || warn "redis-server was started as a service by its package: pid $pid"
}

setup_packages() {
  local packages
  mapfile -t packages < <(missing_packages "$1")
  ((${#packages[@]})) || return 0
  have apt-get || die "missing, and there is no apt-get to install it with: ${packages[*]}"
  if [[ " ${packages[*]} " == *' redis-server '* ]]; then
    hold_redis_down
    apt_install "${packages[@]}"
    keep_redis_down
  else
    apt_install "${packages[@]}"
  fi
}

# ------------------------------------------------------ apt, with a source of our own

# Prints "RANK<TAB>URI<TAB>keyring" for each source of a Debian archive (component main) in
# the file, one-line or deb822 format.  Third parties too call their archives /debian; that
# one signed with Debian's own keyring ranks first, one without a keyring (it may be
# embedded) second.  apt verifies whatever it gets, so a wrong guess fails, no more.
debian_sources() {
  awk -v deb822="$([[ $1 == *.sources ]] && echo 1)" '
    function has_word(list, word,   i, n, w) {
      n = split(list, w, /[ \t]+/)
      for (i = 1; i <= n; i++) if (w[i] == word) return 1
      return 0
    }
    function emit(uri, key) {
      if (uri !~ /\/debian([\/.]|$)/) return    # security archives have no testing
      if (key !~ /^\//) key = ""
      print (key ~ /debian-archive/ ? 0 : key == "" ? 1 : 2) "\t" uri "\t" key
    }
    function end_stanza(   uri) {
      if (has_word(f["types"], "deb") && has_word(f["components"], "main") && f["enabled"] !~ /^(no|false|off|0)$/) {
        split(f["uris"], uri, /[ \t]+/)
        emit(uri[1], f["signed-by"])
      }
      delete f
    }
    /^[ \t]*#/ { next }
    deb822 && /^[ \t]*$/ { end_stanza(); next }
    deb822 && /^[A-Za-z-]+:/ {
      name = tolower(substr($0, 1, index($0, ":") - 1))
      value = substr($0, index($0, ":") + 1)
      gsub(/^[ \t]+|[ \t]+$/, "", value)
      f[name] = value
      next
    }
    deb822 { sub(/^[ \t]+/, ""); f[name] = f[name] == "" ? $0 : f[name] " " $0; next }
    $1 == "deb" {
      key = ""
      if (match($0, /\[[^]]*\]/)) {
        options = substr($0, RSTART + 1, RLENGTH - 2)
        if (match(options, /signed-by=[^ \t]+/)) key = substr(options, RSTART + 10, RLENGTH - 10)
        sub(/\[[^]]*\]/, "")
      }
      uri = $2
      $1 = $2 = $3 = ""      # what is left are the components
      if (has_word($0, "main")) emit(uri, key)
    }
    END { if (deb822) end_stanza() }
  ' "$1"
}

# An apt of our own: sources, lists, caches and configuration below $CACHE.  From the
# system's configuration it takes how to reach the mirror (proxy, time-outs) and no more:
# no hooks (they would clean the host's caches), no pins, no leave to skip a signature.
private_apt_setup() {
  local file source uri keyring
  source=$(for file in $(source_files); do debian_sources "$file"; done | sort -s -n -k1,1 | sed -n 1p)
  [[ -n $source ]] ||
    die "no Debian mirror in /etc/apt/sources.list[.d], and no CRIU >= $(criu_wanted) here:" \
        "install one on PATH (or as $PREFIX/bin/criu) by hand"
  IFS=$'\t' read -r _ uri keyring <<<"$source"
  [[ -n $keyring ]] || keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  [[ -r ${keyring%%[, ]*} ]] || die "$keyring is missing: apt-get install debian-archive-keyring"

  rm -rf "$APT_DIR"
  mkdir -p "$APT_DIR"/{lists/partial,cache/archives/partial,debs}
  printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
    "$uri" "$SUITE" "$keyring" >"$APT_DIR/$SUITE.sources"
  : >"$APT_DIR/status"
  {
    apt-config dump | grep -E '^Acquire::' | grep -vE '^Acquire::(IndexTargets|.*(Insecure|Weak|Downgrade))' || true
    cat <<CONF
Acquire::Languages "none";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
APT::Get::AllowUnauthenticated "false";
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::Etc::sourcelist "$APT_DIR/$SUITE.sources";
Dir::Etc::sourceparts "/dev/null";
Dir::State::lists "$APT_DIR/lists";
Dir::State::status "$APT_DIR/status";
Dir::Cache "$APT_DIR/cache";
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
CONF
  } >"$APT_DIR/apt.conf"
  chmod -R a+rX "$CACHE"
  # apt downloads as an unprivileged user of its own.
  if id _apt >/dev/null 2>&1; then chown _apt "$APT_DIR/debs"; fi
}

private_apt() { APT_CONFIG=$APT_DIR/apt.conf "$@"; }

# CRIU and all libraries below it.  Only lib* packages are followed: criu also depends on
# Python and more for tools that are not needed, and libraries never need those to load.
# The check with the loader afterwards tells if this was too few.
criu_closure() {
  local -A seen=([criu]=1)
  local queue=(criu) name
  while ((${#queue[@]})); do
    mapfile -t queue < <(
      private_apt apt-cache depends --no-recommends --no-suggests --no-conflicts --no-breaks \
        --no-replaces --no-enhances "${queue[@]}" 2>>"$LOG" |
        sed -n 's/^ [ |]\(Pre\)\{0,1\}Depends: \(lib[^: ]*\).*/\2/p' | sort -u)
    local next=()
    for name in "${queue[@]}"; do
      if [[ -z ${seen[$name]:-} ]]; then seen[$name]=1; next+=("$name"); fi
    done
    queue=("${next[@]}")
  done
  printf '%s\n' "${!seen[@]}" | sort
}

# patchelf is needed this once: taken out of its package instead of installed.
get_patchelf() {
  if have patchelf; then PATCHELF=patchelf; return 0; fi
  PATCHELF=$APT_DIR/patchelf/usr/bin/patchelf
  (
    cd "$APT_DIR/debs"
    apt_quiet apt-get download "${APT_PATIENCE[@]}" patchelf ||
      { refresh_lists; apt_quiet apt-get download "${APT_PATIENCE[@]}" patchelf; } ||
      { log_tail; die "could not download patchelf: check the network and the apt sources (log: $LOG)"; }
    dpkg -x patchelf_*.deb "$APT_DIR/patchelf"
    rm -f patchelf_*.deb
  )
  "$PATCHELF" --version >>"$LOG" 2>&1 || die "patchelf does not start; apt-get install patchelf (log: $LOG)"
}

# Every library must come from the prefix: one of the system's with the loader of another
# release may crash at once, or later.
check_self_contained() {
  local root=$1 loader=$2 criu=$3 list
  list=$("$loader" --list "$criu" 2>&1) || { echo "$list" >>"$LOG"; return 1; }
  echo "$list" >>"$LOG"
  ! grep -q 'not found' <<<"$list" && ! grep -F '=> ' <<<"$list" | grep -qvF "=> $root/"
}

# Unpacks and patches in a directory with its final name (the library path is written
# into the binary) that nothing refers to yet.  The link that makes it CRIU is renamed
# into place last, so there is the old one or the whole new one at any time.
install_private_criu() {
  local APT_DIR=$CACHE/apt PATCHELF root criu loader libdirs version packages deb

  have apt-get || die "no CRIU >= $(criu_wanted) (needed for Linux $(kernel)) and no apt-get: install" \
                      "one on PATH by hand"
  say "fetching CRIU >= $(criu_wanted) of Debian $SUITE into $PREFIX (Linux $(kernel) needs it)"
  SCRATCH+=("$APT_DIR")
  private_apt_setup
  get_patchelf
  private_apt apt_quiet apt-get update "${APT_PATIENCE[@]}" -o APT::Update::Error-Mode=any || {
    log_tail
    die "could not fetch or verify the package lists of Debian $SUITE (see $APT_DIR/$SUITE.sources): check the" \
        "network, or install CRIU >= $(criu_wanted) on PATH by hand. Whole log: $LOG"
  }
  version=$(private_apt apt_candidate criu)
  if [[ -z $version ]] || ! version_ge "$version" "$(criu_wanted)"; then
    die "Debian $SUITE has CRIU '${version:-none}', Linux $(kernel) needs >= $(criu_wanted): install it by hand"
  fi
  mapfile -t packages < <(criu_closure)
  (cd "$APT_DIR/debs" && private_apt apt_quiet apt-get download "${APT_PATIENCE[@]}" "${packages[@]}") || {
    log_tail
    die "could not download CRIU $version and its libraries: check the network and run this again. Log: $LOG"
  }

  mkdir -p "$PREFIX/lib" "$PREFIX/bin"
  root=$(mktemp -d "$PREFIX/lib/criu-$version.XXXXXX")
  UNFINISHED=$root
  chmod 755 "$root"
  for deb in "$APT_DIR"/debs/*.deb; do dpkg -x "$deb" "$root"; done

  criu=$root/usr/sbin/criu
  [[ -x $criu ]] || die "no usr/sbin/criu in Debian's package: it changed, this script must follow"
  loader=$(find "$root" -name "$(basename "$("$PATCHELF" --print-interpreter "$criu")")" | head -n 1)
  libdirs=$(find "$root" -name '*.so*' -path "*-linux-gnu*/lib*.so*" -printf '%h\n' |
    grep -E '/lib/[^/]*-linux-gnu[^/]*$' | sort -u | paste -sd:)
  [[ -n $loader && -n $libdirs ]] || die "no loader or libraries below $root"
  # DT_RPATH, not DT_RUNPATH: it holds for the libraries' own libraries too.
  "$PATCHELF" --set-interpreter "$loader" --force-rpath --set-rpath "$libdirs" "$criu"
  check_self_contained "$root" "$loader" "$criu" ||
    { log_tail; die "CRIU in $root would load libraries of the system, or misses some. Log: $LOG"; }
  [[ -n $(criu_version "$criu") ]] || die "CRIU $version in $root does not start"

  ln -sfn "../lib/${root##*/}/usr/sbin/criu" "$PREFIX/bin/criu.new"
  mv -fT "$PREFIX/bin/criu.new" "$PREFIX/bin/criu"
  UNFINISHED=''
  find "$PREFIX/lib" -mindepth 1 -maxdepth 1 -name 'criu-*' ! -name "${root##*/}" -exec rm -rf {} +
  say "installed criu $version of Debian $SUITE in $PREFIX (${#packages[@]} packages, $(du -sh "$root" | cut -f1))"
}

# ------------------------------------------------------------------------- main

all_in_place() { [[ -z $(missing_packages "$1") ]] && criu_in_place; }

usage() { echo "usage: ${0##*/} run|test" >&2; exit 2; }

main() {
  local profile=${1:-}
  [[ $# -eq 1 && ( $profile == run || $profile == test ) ]] || usage
  ((EUID == 0)) || die "needs root (CRIU does too): run it as root, for example with sudo"
  if [[ $profile == test ]]; then check_dotnet; fi

  # Looked at without the lock: the common case must not wait for another setup.
  if all_in_place "$profile"; then return 0; fi

  mkdir -p "$PREFIX" "$CACHE"
  exec 9>"$LOCK"
  if ! flock -n 9; then
    say "another setup is running, waiting for it"
    flock -w 1800 9 || die "another setup holds $LOCK for half an hour now"
  fi
  trap cleanup EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  : >"$LOG"
  setup_packages "$profile"
  setup_criu
  all_in_place "$profile" ||
    die "still missing after all: $(missing_packages "$profile" | xargs) $(criu_in_place || echo criu). Log: $LOG"
}

main "$@"
