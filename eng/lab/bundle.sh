#!/usr/bin/env bash
# Makes an OCI bundle: a root file system with busybox and one program, and a config.json for it.
#
#   bundle.sh DIRECTORY [--net host|new|PATH] [--bind SOURCE:TARGET]... -- PROGRAM ARGUMENT...
#
# PROGRAM is copied into the bundle's /bin, with the libraries it needs.  The network namespace
# is the host's unless asked otherwise.  /etc/postcopy-host names the host that the container
# is on: the file bound there is at the same path on every host, and another one on each.
set -euo pipefail

die() { printf 'bundle.sh: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '4s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

json_string() {
    local text=$1
    text=${text//\\/\\\\}
    text=${text//\"/\\\"}
    [[ $text != *[[:cntrl:]]* ]] || die "control characters in an argument"
    printf '"%s"' "$text"
}

json_list() {
    local separator='' item
    for item in "$@"; do
        printf '%s%s' "$separator" "$(json_string "$item")"
        separator=', '
    done
}

(($# >= 3)) || usage
BUNDLE=$1
shift
NET=host
BINDS=(/run/host-name:/etc/postcopy-host)
while [[ $# -gt 0 && $1 != -- ]]; do
    case $1 in
        --net) NET=$2 ;;
        --bind) BINDS+=("$2") ;;
        *) usage ;;
    esac
    shift 2
done
[[ ${1:-} == -- && $# -ge 2 ]] || usage
shift
PROGRAM=$(command -v "$1") || die "no program $1"
shift

# ------------------------------------------------------------------- root file system

ROOT=$BUNDLE/rootfs
mkdir -p "$ROOT"/{bin,dev,etc,proc,sys,tmp,run,data}
cp "$(command -v busybox)" "$ROOT/bin/busybox"
for applet in sh cat ls sleep; do ln -sf busybox "$ROOT/bin/$applet"; done
cp -L "$PROGRAM" "$ROOT/bin/"
# ldd says "not a dynamic executable" and fails for a static one.
while read -r library; do
    mkdir -p "$ROOT$(dirname "$library")"
    cp -L "$library" "$ROOT$library"
done < <(ldd "$PROGRAM" 2>/dev/null | grep -o '/[^ ]*')

# ------------------------------------------------------------------------ config.json

mounts() {
    local bind source target
    for bind in "${BINDS[@]}"; do
        source=${bind%%:*} target=${bind#*:}
        if [[ -d $source ]]; then mkdir -p "$ROOT$target"; else mkdir -p "$ROOT$(dirname "$target")" && : >>"$ROOT$target"; fi
        printf ',\n    {"destination": %s, "type": "bind", "source": %s, "options": ["bind", "rw"]}' \
            "$(json_string "$target")" "$(json_string "$source")"
    done
}

network() {
    case $NET in
        host) ;;
        new) printf ', {"type": "network"}' ;;
        *) printf ', {"type": "network", "path": %s}' "$(json_string "$NET")" ;;
    esac
}

readonly CAPABILITIES='"CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE", "CAP_SETUID", "CAP_SETGID"'

cat >"$BUNDLE/config.json" <<CONFIG
{
  "ociVersion": "1.0.2",
  "process": {
    "terminal": false,
    "user": {"uid": 0, "gid": 0},
    "args": [$(json_list "/bin/$(basename "$PROGRAM")" "$@")],
    "env": ["PATH=/bin"],
    "cwd": "/",
    "capabilities": {
      "bounding": [$CAPABILITIES],
      "effective": [$CAPABILITIES],
      "permitted": [$CAPABILITIES]
    },
    "noNewPrivileges": true
  },
  "root": {"path": "rootfs", "readonly": false},
  "hostname": "container",
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755", "size=64k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=64m"]},
    {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "mode=1777"]}$(mounts)
  ],
  "linux": {
    "resources": {"devices": [{"allow": false, "access": "rwm"}]},
    "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}$(network)],
    "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
    "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]
  }
}
CONFIG
