#!/usr/bin/env bash
# "Hosts" on one machine, to move containers between: each is a set of namespaces with an
# address on the lab's own wire.
#
#   host.sh up LAB NAME [v2]              a new host; the first one makes the lab; v2: with cgroup v2 alone
#   host.sh run LAB NAME -- COMMAND...    runs a command there: stdio, signals and exit code pass through
#   host.sh address LAB NAME              prints its address
#   host.sh netns LAB NAME NET IP [out]   a container network on a host: /run/netns/NET, with this address
#   host.sh cable LAB NAME NET in|out     plugs it into the wire, or pulls it out
#   host.sh link LAB NAME up|down         cuts a whole host off the wire, silently, or mends that
#   host.sh shared LAB                    prints a directory that all hosts see at the same path
#   host.sh down LAB                      ends and removes all of it
#   host.sh list                          prints the labs there are
#
# A host has network, pid, mount, uts, ipc, cgroup and time namespaces of its own, and its own
# /proc, /run and cgroup hierarchies.  So pids, container ids, network namespaces' names and
# the monotonic clock of one mean nothing on another, as with real machines: an agent that
# mixes up two hosts' pids fails here.  The rest of the file system is shared.
#
# The wire is a bridge in a network namespace of the lab, not in the machine's: labs can
# use the same addresses, and neither the machine's firewall (bridge-nf-call-iptables) nor
# its interfaces are involved.  Everything a lab has is held by its processes, but for its
# cgroups and /run/postcopy-lab/LAB; so "down" is complete whatever was killed before.
set -euo pipefail

readonly LABS=/run/postcopy-lab
readonly SUBNET=10.77.0

SELF=$(readlink -f "${BASH_SOURCE[0]}")
readonly SELF
PATH=$PATH:/usr/sbin:/sbin

die() { printf 'host.sh: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '5,13s/^# *//p' "$SELF" >&2; exit 2; }

checked_name() {
    [[ $1 =~ ^[a-z0-9][a-z0-9-]{0,40}$ ]] || die "not a name (a-z, 0-9, -): '$1'"
    printf '%s' "$1"
}

# ------------------------------------------------------------------------ cgroups

# One line per hierarchy: "TYPE MOUNTPOINT CONTROLLERS OWN-PATH" (CONTROLLERS "-" for v2).
# /proc/self/cgroup names the hierarchies; mountinfo says where they are.
hierarchies() {
    awk '
        FILENAME ~ /mountinfo$/ {
            for (i = 7; $i != "-"; i++);
            type = $(i + 1)
            if (type !~ /^cgroup2?$/) next
            if (type == "cgroup2") { v2 = $5; next }
            n = split($(i + 3), option, ",")
            for (j = 1; j <= n; j++) v1[option[j]] = $5
            next
        }
        {
            n = index($0, ":"); rest = substr($0, n + 1)
            m = index(rest, ":"); controllers = substr(rest, 1, m - 1); path = substr(rest, m + 1)
            if (controllers == "") { if (v2 != "") print "cgroup2", v2, "-", path; next }
            split(controllers, one, ",")
            if (one[1] in v1) print "cgroup", v1[one[1]], controllers, path
        }' /proc/self/mountinfo /proc/self/cgroup
}

# v1: below the caller's own cgroup, so that limits set on us hold for the lab.  v2: below the
# root, since a cgroup that has processes (ours) cannot give controllers to its children.
make_cgroups() {
    local lab=$1 type mount controllers own base
    while read -r type mount controllers own; do
        base=$mount
        if [[ $type == cgroup && $own != / ]]; then base=$mount$own; fi
        echo "$type $mount $controllers $base/postcopy-lab.$lab"
    done < <(hierarchies) >"$LABS/$lab/cgroups"
}

make_cgroup() { # of a host, in one hierarchy
    local type=$1 dir=$2 controller parent
    if [[ -d $dir ]]; then return 0; fi
    parent=$(dirname "$dir")
    if [[ ! -e $parent/cgroup.procs ]]; then die "no cgroup $parent"; fi
    mkdir "$dir"
    # A new cpuset is empty, and then nothing may run in it.
    if [[ $type == cgroup && -e $dir/cpuset.cpus ]]; then
        cat "$parent/cpuset.cpus" >"$dir/cpuset.cpus"
        cat "$parent/cpuset.mems" >"$dir/cpuset.mems"
    fi
    if [[ $type == cgroup2 && ${dir##*/} != init ]]; then
        for controller in $(<"$dir/cgroup.controllers"); do
            echo "+$controller" >"$dir/cgroup.subtree_control" || true
        done
    fi
}

make_host_cgroups() {
    local lab=$1 name=$2 type mount controllers dir
    while read -r type mount controllers dir; do
        make_cgroup "$type" "$dir"
        make_cgroup "$type" "$dir/$name"
    done <"$LABS/$lab/cgroups"
}

# In v2 only leaves may have processes, once a container below gets controllers.
join_cgroups() {
    local lab=$1 name=$2 leaf=$3 type mount controllers dir
    while read -r type mount controllers dir; do
        dir=$dir/$name
        if [[ $leaf == leaf && $type == cgroup2 ]]; then
            dir=$dir/init
            make_cgroup "$type" "$dir"
        fi
        echo $BASHPID >"$dir/cgroup.procs"
    done <"$LABS/$lab/cgroups"
}

lab_processes() {
    local type mount controllers dir
    while read -r type mount controllers dir; do
        if [[ -d $dir ]]; then find "$dir" -name cgroup.procs -exec cat {} + 2>/dev/null || true; fi
    done <"$LABS/$1/cgroups" | sort -un
}

# A frozen task of v1 dies when it is thawed, so: kill first, thaw second.
kill_lab() {
    local lab=$1 type mount controllers dir pids try
    for try in {1..500}; do
        mapfile -t pids < <(lab_processes "$lab" | grep -vx 0)
        ((${#pids[@]})) || return 0
        kill -KILL "${pids[@]}" 2>/dev/null || true
        while read -r type mount controllers dir; do
            if [[ ! -d $dir ]]; then continue; fi
            find "$dir" -name freezer.state -exec sh -c 'for f; do echo THAWED >"$f"; done' _ {} + 2>/dev/null || true
            find "$dir" -name cgroup.freeze -exec sh -c 'for f; do echo 0 >"$f"; done' _ {} + 2>/dev/null || true
        done <"$LABS/$lab/cgroups"
        if ((try > 1)); then sleep 0.02; fi
    done
    die "these processes of lab $lab do not die: ${pids[*]}"
}

remove_cgroups() {
    local type mount controllers dir
    while read -r type mount controllers dir; do
        # A cgroup can be removed a moment after its last process was reaped.
        for _ in {1..250}; do
            if [[ ! -d $dir ]]; then break; fi
            find "$dir" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.02
        done
        if [[ -d $dir ]]; then die "cannot remove the cgroup $dir"; fi
    done <"$LABS/$1/cgroups"
}

# -------------------------------------------------------------------------- hosts

# The pid was written down long ago: it counts only while it is in the lab's cgroups.
host_pid() {
    local lab=$1 name=$2 pid
    pid=$(cat "$LABS/$lab/hosts/$name/pid" 2>/dev/null) || die "no host $name in lab $lab"
    grep -q "/postcopy-lab\.$lab/$name" "/proc/$pid/cgroup" 2>/dev/null || die "host $name of lab $lab has died"
    printf '%s' "$pid"
}

hub() { nsenter --target "$(host_pid "$1" hub)" --net -- "${@:2}"; }

# Starts the process that holds a host's namespaces, with nothing of the caller's: no terminal,
# no open descriptor (a test would wait for its pipe to close).
start_holder() {
    local lab=$1 name=$2 dir=$LABS/$1/hosts/$2
    shift 2
    mkdir -p "$dir"
    (
        join_cgroups "$lab" "$name" root
        cd /
        for fd in "/proc/$BASHPID/fd"/*; do
            fd=${fd##*/}
            if ((fd > 2)); then eval "exec $fd>&-"; fi
        done
        exec setsid unshare "$@" --fork --kill-child -- bash "$SELF" hold "$lab" "$name" </dev/null >"$dir/log" 2>&1
    ) &
    local unshare=$!
    disown
    until [[ -e $dir/ready ]]; do
        kill -0 "$unshare" 2>/dev/null || { cat "$dir/log" >&2; die "host $name of lab $lab did not start"; }
        sleep 0.01
    done
    tr -d ' ' <"/proc/$unshare/task/$unshare/children" >"$dir/pid"
}

# pid 1 of a host: bash, since it reaps whatever is orphaned to it.
hold() {
    local lab=$1 name=$2
    join_cgroups "$lab" "$name" leaf
    if [[ $name != hub ]]; then
        hostname "$name"
        mount -t proc proc /proc
        # /run has the state, locks and network namespace names of runc, CRIU and ip; the lab's own
        # directory stays where it is.
        local new=$LABS/$lab/hosts/$name/run
        mkdir "$new"
        mount -t tmpfs -o mode=755 tmpfs "$new"
        mkdir -p "$new/postcopy-lab/$lab" "$new/lock" "$new/netns"
        mount --bind "$LABS/$lab" "$new/postcopy-lab/$lab"
        mount --no-mtab --move "$new" /run
        echo "$name" >/run/host-name
        mount_cgroups "$lab" "$name"
        ip link set lo up
    fi
    touch "$LABS/$lab/hosts/$name/ready"
    while :; do
        sleep 1000000 &
        wait $!
    done
}

# In the new cgroup namespace a hierarchy mounted afresh shows this host's cgroup as its root.  A host of cgroup v2 has that alone, as
# distributions have it today.
mount_cgroups() {
    local lab=$1 name=$2 type mount controllers dir list
    if [[ -e $LABS/$lab/hosts/$name/v2 ]]; then
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        return
    fi
    list=$(<"$LABS/$lab/cgroups")
    if [[ $(stat -f -c %T /sys/fs/cgroup) == tmpfs ]]; then mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup; fi
    while read -r type mount controllers dir; do
        mkdir -p "$mount"
        if [[ $type == cgroup2 ]]; then
            mount -t cgroup2 cgroup2 "$mount"
        else
            mount -t cgroup -o "$controllers" cgroup "$mount"
        fi
    done <<<"$list"
}

up() {
    local lab=$1 name=$2 cgroups=${3:-} pid index dir=$LABS/$1
    ((EUID == 0)) || die "needs root"
    if [[ ! -d $dir/hosts/hub ]]; then
        mkdir -p "$dir/shared" "$dir/hosts"
        make_cgroups "$lab"
        make_host_cgroups "$lab" hub
        start_holder "$lab" hub --net
        hub "$lab" ip link add wire type bridge forward_delay 0
        hub "$lab" ip link set wire up
    fi
    if [[ -e $dir/hosts/$name ]]; then die "lab $lab already has a host $name"; fi
    index=$(find "$dir/hosts" -mindepth 1 -maxdepth 1 | wc -l)
    make_host_cgroups "$lab" "$name"
    if [[ $cgroups == v2 ]]; then mkdir -p "$dir/hosts/$name" && touch "$dir/hosts/$name/v2"; fi
    # Uptimes of different machines have nothing to do with each other.
    start_holder "$lab" "$name" --net --pid --mount --uts --ipc --cgroup --propagation private \
        --time --monotonic "$((index * 100000))" --boottime "$((index * 100000 + 5000))"
    pid=$(host_pid "$lab" "$name")
    hub "$lab" ip link add "host$index" type veth peer name eth0 netns "$pid"
    hub "$lab" ip link set "host$index" master wire up
    run_in "$pid" ip address add "$SUBNET.$index/24" dev eth0
    run_in "$pid" ip link set eth0 up
    # A comparison must not depend on which congestion control the kernel prefers; not every
    # kernel lets a network namespace choose its own, but routes may name one.
    run_in "$pid" ip route replace "$SUBNET.0/24" dev eth0 src "$SUBNET.$index" congctl cubic || true
    echo "$SUBNET.$index" >"$dir/hosts/$name/address"
}

# Who waits for the command is a shell: nsenter would stop itself with a command that is stopped,
# and stay so when the command goes on.  bash makes a background command ignore SIGINT, hence
# "env --default-signal".  In a session of its own the command gets Ctrl-C from us alone, not a
# second time from the terminal.
run() {
    local lab=$1 name=$2 pid child signal code=0
    shift 2
    if [[ ${1:-} == -- ]]; then shift; fi
    (($#)) || usage
    pid=$(host_pid "$lab" "$name")
    join_cgroups "$lab" "$name" leaf
    # shellcheck disable=SC2016     # the inner shell's to expand
    PATH=/opt/postcopy/bin:$PATH setsid nsenter --no-fork --target "$pid" --all --wd="$PWD" -- \
        bash -c 'env --default-signal=INT,QUIT "$@" <&3 3<&- & wait "$!"' run "$@" 3<&0 &
    child=$!
    for signal in INT TERM HUP QUIT USR1 USR2; do
        # shellcheck disable=SC2064     # the values of now are meant
        trap "kill -$signal \$(cat /proc/$child/task/$child/children 2>/dev/null || echo $child) 2>/dev/null || true" "$signal"
    done
    # A signal interrupts wait; the child may live on.
    while :; do
        code=0
        wait "$child" || code=$?
        if ! kill -0 "$child" 2>/dev/null; then break; fi
    done
    exit "$code"
}

# ------------------------------------------------------------- containers' networks

port_name() { printf 'c%s' "$(cksum <<<"$1/$2" | cut -d' ' -f1)"; }

# The address's own MAC: peers keep their ARP entry when the address moves to another host,
# and the bridge forgets a port that goes down.
container_netns() {
    local lab=$1 name=$2 net=$3 ip=$4 state=${5:-in} pid port last=${4##*.}
    [[ $ip =~ ^10\.77\.0\.[0-9]+$ ]] || die "not an address of $SUBNET.0/24: $ip"
    pid=$(host_pid "$lab" "$name")
    port=$(port_name "$name" "$net")
    run_in "$pid" ip netns add "$net"
    hub "$lab" ip link add "$port" type veth peer name "$port" netns "$pid" \
        address "$(printf '02:77:00:00:00:%02x' "$last")"
    run_in "$pid" ip link set "$port" netns "$net" name eth0
    run_in "$pid" ip -n "$net" link set lo up
    run_in "$pid" ip -n "$net" address add "$ip/24" dev eth0
    run_in "$pid" ip -n "$net" link set eth0 up
    hub "$lab" ip link set "$port" up
    cable "$lab" "$name" "$net" "$state"
}

run_in() { nsenter --target "$1" --net --mount --pid -- "${@:2}"; }

cable() {
    local port
    port=$(port_name "$2" "$3")
    case $4 in
        in) hub "$1" ip link set "$port" master wire ;;
        out) hub "$1" ip link set "$port" nomaster ;;
        *) usage ;;
    esac
}

# The bridge forwards no more to or from the host's port: no reset, no unreachable, as with a dead switch.
link() {
    local address
    address=$(<"$LABS/$1/hosts/$2/address")
    case $3 in
        up) hub "$1" ip link set "host${address##*.}" master wire ;;
        down) hub "$1" ip link set "host${address##*.}" nomaster ;;
        *) usage ;;
    esac
}

down() {
    local lab=$1
    if [[ ! -d $LABS/$lab ]]; then return 0; fi
    if [[ -e $LABS/$lab/cgroups ]]; then
        kill_lab "$lab"
        remove_cgroups "$lab"
    fi
    rm -rf "${LABS:?}/$lab"
}

main() {
    local verb=${1:-} lab name
    if [[ $verb == list ]]; then
        ls -1 "$LABS" 2>/dev/null || true
        return 0
    fi
    (($# >= 2)) || usage
    lab=$(checked_name "$2")
    case $verb in
        down) down "$lab"; return 0 ;;
        shared) echo "$LABS/$lab/shared"; return 0 ;;
    esac
    (($# >= 3)) || usage
    name=$(checked_name "$3")
    case $verb in
        up) up "$lab" "$name" "${@:4}" ;;
        run) run "$lab" "$name" "${@:4}" ;;
        address) cat "$LABS/$lab/hosts/$name/address" ;;
        netns) (($# >= 5)) || usage; container_netns "$lab" "$name" "${@:4}" ;;
        cable) (($# == 5)) || usage; cable "$lab" "$name" "${@:4}" ;;
        link) (($# == 4)) || usage; link "$lab" "$name" "$4" ;;
        hold) hold "$lab" "$name" ;;
        *) usage ;;
    esac
}

main "$@"
