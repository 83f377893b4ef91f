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

PATH=$PATH:/usr/sbin:/sbin

die() { printf 'host.sh: %s\n' "$*" >&2; exit 1; }
usage() { sed -n '5,13s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

check_name() { [[ $1 =~ ^[a-z0-9][a-z0-9-]{0,40}$ ]] || die "not a name (a-z, 0-9, -): '$1'"; }

# sleep(1) without a process: tests make hundreds of labs, and what a lab costs is processes.
pause() {
    if [[ -z ${SILENT_FD:-} ]]; then exec {SILENT_FD}<> <(:); fi
    read -r -t "$1" -u "$SILENT_FD" || true
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

make_host_cgroups() {
    local lab=$1 name=$2 type mount controllers base dir new=() cpusets=() v2=()
    while read -r type mount controllers base; do
        if [[ ! -e ${base%/*}/cgroup.procs ]]; then die "no cgroup ${base%/*}"; fi
        for dir in "$base" "$base/$name"; do
            if [[ -d $dir ]]; then continue; fi
            new+=("$dir")
            if [[ $type == cgroup2 ]]; then v2+=("$dir"); elif [[ ,$controllers, == *,cpuset,* ]]; then cpusets+=("$dir"); fi
        done
    done <"$LABS/$lab/cgroups"
    mkdir "${new[@]}"
    for dir in "${cpusets[@]}"; do fill_cpuset "$dir"; done
    for dir in "${v2[@]}"; do delegate "$dir"; done
}

# A new cpuset is empty, and then nothing may run in it.
fill_cpuset() {
    local file value
    for file in cpuset.cpus cpuset.mems; do
        read -r value <"${1%/*}/$file"
        echo "$value" >"$1/$file"
    done
}

delegate() {
    local controllers controller
    read -r controllers <"$1/cgroup.controllers" || true
    for controller in $controllers; do
        echo "+$controller" >"$1/cgroup.subtree_control" || true
    done
}

# In v2 only leaves may have processes, once a container below gets controllers.
join_cgroups() {
    local lab=$1 name=$2 leaf=$3 type mount controllers dir
    while read -r type mount controllers dir; do
        dir=$dir/$name
        if [[ $leaf == leaf && $type == cgroup2 ]]; then
            dir=$dir/init
            # Two commands may be the first one at the same time.
            if [[ ! -d $dir ]]; then mkdir -p "$dir"; fi
        fi
        echo $BASHPID >"$dir/cgroup.procs"
    done <"$LABS/$lab/cgroups"
}

# The lab's cgroups that exist, one in each hierarchy, into CGROUPS.
find_cgroups() {
    local type mount controllers dir
    CGROUPS=()
    while read -r type mount controllers dir; do
        if [[ -d $dir ]]; then CGROUPS+=("$dir"); fi
    done <"$LABS/$1/cgroups"
}

# A frozen task of v1 dies when it is thawed, so: kill first, thaw second.
kill_lab() {
    local lab=$1 pids file try
    for try in {1..500}; do
        find_cgroups "$lab"
        ((${#CGROUPS[@]})) || return 0
        mapfile -t pids < <(find "${CGROUPS[@]}" -name cgroup.procs -exec cat {} + 2>/dev/null | sort -un | grep -vx 0)
        ((${#pids[@]})) || return 0
        kill -KILL "${pids[@]}" 2>/dev/null || true
        while read -r file; do
            case $file in
                */freezer.state) echo THAWED >"$file" ;;
                *) echo 0 >"$file" ;;
            esac 2>/dev/null || true
        done < <(find "${CGROUPS[@]}" -name freezer.state -o -name cgroup.freeze 2>/dev/null)
        if ((try > 1)); then pause 0.02; fi
    done
    die "these processes of lab $lab do not die: ${pids[*]}"
}

# A cgroup can be removed a moment after its last process was reaped.
remove_cgroups() {
    local _
    for _ in {1..250}; do
        find_cgroups "$1"
        ((${#CGROUPS[@]})) || return 0
        find "${CGROUPS[@]}" -depth -type d -exec rmdir {} + 2>/dev/null || pause 0.02
    done
    die "cannot remove these cgroups: ${CGROUPS[*]}"
}

# -------------------------------------------------------------------------- hosts

# The pid was written down long ago: it counts only while it is in the lab's cgroups.
host_pid() { # VARIABLE LAB NAME
    local lab=$2 name=$3 found='' cgroups=''
    { read -r found <"$LABS/$lab/hosts/$name/pid"; } 2>/dev/null || die "no host $name in lab $lab"
    { read -r -d '' cgroups <"/proc/$found/cgroup"; } 2>/dev/null || true
    [[ $cgroups == *"/postcopy-lab.$lab/$name"* ]] || die "host $name of lab $lab has died"
    printf -v "$1" '%s' "$found"
}

# These two take commands of ip(8), one a line.
hub_ip() { # LAB
    local hub_pid
    host_pid hub_pid "$1" hub
    nsenter --target "$hub_pid" --net -- ip -batch -
}

host_ip() { # PID OPTION...
    nsenter --target "$1" --net --mount --pid -- ip "${@:2}" -batch -
}

# Starts the process that holds a host's namespaces, with nothing of the caller's: no terminal,
# no open descriptor (a test would wait for its pipe to close).
start_holder() {
    local lab=$1 name=$2 dir=$LABS/$1/hosts/$2 self children
    shift 2
    self=$(readlink -f "${BASH_SOURCE[0]}")
    mkdir -p "$dir"
    (
        join_cgroups "$lab" "$name" root
        cd /
        for fd in "/proc/$BASHPID/fd"/*; do
            fd=${fd##*/}
            if ((fd > 2)); then eval "exec $fd>&-"; fi
        done
        exec setsid unshare "$@" --fork --kill-child -- bash "$self" hold "$lab" "$name" </dev/null >"$dir/log" 2>&1
    ) &
    local unshare=$!
    disown
    until [[ -e $dir/ready ]]; do
        kill -0 "$unshare" 2>/dev/null || { cat "$dir/log" >&2; die "host $name of lab $lab did not start"; }
        pause 0.01
    done
    read -r -d '' children <"/proc/$unshare/task/$unshare/children" || true
    echo "${children% }" >"$dir/pid"
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
        mkdir -p "$new"/{"postcopy-lab/$lab",lock,netns}
        mount --bind "$LABS/$lab" "$new/postcopy-lab/$lab"
        mount --no-mtab --move "$new" /run
        echo "$name" >/run/host-name
        mount_cgroups "$lab" "$name"
        ip link set lo up
    fi
    : >"$LABS/$lab/hosts/$name/ready"
    while :; do
        sleep 1000000 &
        wait $!
    done
}

# In the new cgroup namespace a hierarchy mounted afresh shows this host's cgroup as its root.  A host of cgroup v2 has that alone, as
# distributions have it today.
mount_cgroups() {
    local lab=$1 name=$2 type mount controllers dir mounts=() table=$LABS/$1/hosts/$2/fstab
    if [[ -e $LABS/$lab/hosts/$name/v2 ]]; then
        mount -t cgroup2 cgroup2 /sys/fs/cgroup
        return
    fi
    # A table, so that one mount(8) does it all.  What is mounted there already by the same name
    # (cgroup) would be left out.
    while read -r type mount controllers dir; do
        mounts+=("$mount")
        if [[ $type == cgroup2 ]]; then controllers=defaults; fi
        echo "host-cgroup $mount $type $controllers 0 0"
    done <"$LABS/$lab/cgroups" >"$table"
    if [[ $(stat -f -c %T /sys/fs/cgroup) == tmpfs ]]; then mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup; fi
    mkdir -p "${mounts[@]}"
    mount --all --fstab "$table"
}

up() {
    local lab=$1 name=$2 cgroups=${3:-} pid index hosts dir=$LABS/$1
    ((EUID == 0)) || die "needs root"
    if [[ ! -d $dir/hosts/hub ]]; then
        mkdir -p "$dir/shared" "$dir/hosts"
        make_cgroups "$lab"
        make_host_cgroups "$lab" hub
        start_holder "$lab" hub --net
        hub_ip "$lab" <<<$'link add wire type bridge forward_delay 0\nlink set wire up'
    fi
    if [[ -e $dir/hosts/$name ]]; then die "lab $lab already has a host $name"; fi
    hosts=("$dir"/hosts/*)
    index=${#hosts[@]}
    make_host_cgroups "$lab" "$name"
    if [[ $cgroups == v2 ]]; then mkdir -p "$dir/hosts/$name" && touch "$dir/hosts/$name/v2"; fi
    # Uptimes of different machines have nothing to do with each other.
    start_holder "$lab" "$name" --net --pid --mount --uts --ipc --cgroup --propagation private \
        --time --monotonic "$((index * 100000))" --boottime "$((index * 100000 + 5000))"
    host_pid pid "$lab" "$name"
    hub_ip "$lab" <<<"link add host$index type veth peer name eth0 netns $pid"$'\n'"link set host$index master wire up"
    host_ip "$pid" <<<"address add $SUBNET.$index/24 dev eth0"$'\nlink set eth0 up'
    # A comparison must not depend on which congestion control the kernel prefers; not every
    # kernel lets a network namespace choose its own, but routes may name one.
    host_ip "$pid" <<<"route replace $SUBNET.0/24 dev eth0 src $SUBNET.$index congctl cubic" || true
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
    host_pid pid "$lab" "$name"
    join_cgroups "$lab" "$name" leaf
    # shellcheck disable=SC2016     # the inner shell's to expand
    PATH=/opt/postcopy/bin:$PATH setsid nsenter --no-fork --target "$pid" --all --wd="$PWD" -- \
        bash -c 'env --default-signal=INT,QUIT "$@" <&3 3<&- & wait "$!"' run "$@" 3<&0 &
    child=$!
    for signal in INT TERM HUP QUIT USR1 USR2; do
        # shellcheck disable=SC2064     # the values of now are meant
        trap "pass_on $signal $child" "$signal"
    done
    # A signal interrupts wait; the child may live on.
    while :; do
        code=0
        wait "$child" || code=$?
        if ! kill -0 "$child" 2>/dev/null; then break; fi
    done
    exit "$code"
}

# To the command; to the shell while that has not started it yet.
pass_on() { # SIGNAL SHELL
    local command=''
    { read -r -d '' command <"/proc/$2/task/$2/children"; } 2>/dev/null || true
    # shellcheck disable=SC2086     # each of them
    kill "-$1" ${command:-$2} 2>/dev/null || true
}

# ------------------------------------------------------------- containers' networks

port_name() { # VARIABLE HOST NET
    local sum
    read -r sum _ < <(cksum <<<"$2/$3")
    printf -v "$1" 'c%s' "$sum"
}

# The address's own MAC: peers keep their ARP entry when the address moves to another host,
# and the bridge forgets a port that goes down.
container_netns() {
    local lab=$1 name=$2 net=$3 ip=$4 state=${5:-in} pid port last=${4##*.}
    [[ $ip =~ ^10\.77\.0\.[0-9]+$ ]] || die "not an address of $SUBNET.0/24: $ip"
    host_pid pid "$lab" "$name"
    port_name port "$name" "$net"
    host_ip "$pid" <<<"netns add $net"
    hub_ip "$lab" <<<"link add $port type veth peer name $port netns $pid address $(printf '02:77:00:00:00:%02x' "$last")"
    host_ip "$pid" <<<"link set $port netns $net name eth0"
    host_ip "$pid" -n "$net" <<<$'link set lo up\n'"address add $ip/24 dev eth0"$'\nlink set eth0 up'
    hub_ip "$lab" <<<"link set $port up"
    cable "$lab" "$name" "$net" "$state"
}

cable() {
    local port
    port_name port "$2" "$3"
    case $4 in
        in) hub_ip "$1" <<<"link set $port master wire" ;;
        out) hub_ip "$1" <<<"link set $port nomaster" ;;
        *) usage ;;
    esac
}

# The bridge forwards no more to or from the host's port: no reset, no unreachable, as with a dead switch.
link() {
    local address
    address=$(<"$LABS/$1/hosts/$2/address")
    case $3 in
        up) hub_ip "$1" <<<"link set host${address##*.} master wire" ;;
        down) hub_ip "$1" <<<"link set host${address##*.} nomaster" ;;
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
    check_name "$2"
    lab=$2
    case $verb in
        down) down "$lab"; return 0 ;;
        shared) echo "$LABS/$lab/shared"; return 0 ;;
    esac
    (($# >= 3)) || usage
    check_name "$3"
    name=$3
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
