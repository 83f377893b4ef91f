#!/usr/bin/env bash
# Moves a running program between two hosts made of namespaces, and proves that it survived.
#
#   eng/demo.sh [MIB]       size of the program's memory, 512 if not given
#
# Ends with 0 only if every proof holds.  Whatever happens, nothing is left behind.
# shellcheck disable=SC2317     # functions are called by name, through proof and wait_for
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly REPO
readonly HOST=$REPO/eng/lab/host.sh
readonly LAB=demo-$$
readonly MIB=${1:-512}
readonly PORT=7077
POSTCOPY=${POSTCOPY_BIN:-$REPO/artifacts/bin/postcopy}
FAILED=0

[[ $MIB =~ ^[1-9][0-9]{0,5}$ ]] || { sed -n '4s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }
((EUID == 0)) || { echo "demo.sh: needs root: containers are checkpointed and restored" >&2; exit 3; }

if [[ -t 1 ]]; then BOLD=$'\e[1m' GREEN=$'\e[32m' RED=$'\e[31m' PLAIN=$'\e[0m'; else BOLD='' GREEN='' RED='' PLAIN=''; fi
chapter() { printf '\n%s%s%s\n' "$BOLD" "$*" "$PLAIN"; }
tell() { printf '  %s\n' "$@"; }

proof() { # CLAIM COMMAND...
    local claim=$1
    shift
    if "$@"; then
        printf '  %sproved%s  %s\n' "$GREEN" "$PLAIN" "$claim"
    else
        printf '  %sFAILED%s  %s\n' "$RED" "$PLAIN" "$claim"
        FAILED=1
    fi
}

# wait_for SECONDS WHAT COMMAND...: until the command succeeds.
wait_for() {
    local limit=$((SECONDS + $1)) what=$2
    shift 2
    until "$@"; do
        if ((SECONDS >= limit)); then echo "demo.sh: waited in vain for $what" >&2; exit 1; fi
        sleep 0.02
    done
}

# --------------------------------------------------------------- talking to the walker

ask() { # COMMAND: prints the answer
    ASKED=$((ASKED + 1))
    echo "$ASKED $*" >"$WALKER/command.new"
    mv "$WALKER/command.new" "$WALKER/command"
    wait_for 60 "the program's answer to '$*'" answered
    cut -d' ' -f2- "$WALKER/answer" >"$WALKER/answer.$ASKED"
    ANSWER=$(<"$WALKER/answer.$ASKED")
}
answered() { [[ $(cat "$WALKER/answer" 2>/dev/null) == "$ASKED "* ]]; }
ASKED=0
ANSWER=''

field() { sed -n "s/.*\\b$2=\\([^ ]*\\).*/\\1/p" <<<"$1"; }

log_lines() { wc -l <"$WALKER/log"; }
log_longer_than() { (($(log_lines) > $1)); }

# A copy that ran twice would write a number twice; one that went back, a smaller one.
log_counts_on() { awk '$2 != NR - 1 { exit 1 }' "$WALKER/log"; }
log_hosts() { awk '$1 != host { host = $1; printf "%s ", host }' "$WALKER/log"; }
log_silence_ms() { awk 'NR > 1 && $3 - last > longest { longest = $3 - last } { last = $3 } END { printf "%.0f", longest / 1000 }' "$WALKER/log"; }

on() { "$HOST" run "$LAB" "$@"; }
status_on() { on "$1" -- runc state walker 2>/dev/null | sed -n 's/.*"status": "\(.*\)".*/\1/p'; }
agent_listens() { on b -- grep -q "$(printf ':%04X 00000000:0000 0A' "$PORT")" /proc/net/tcp; }

cleanup() {
    trap '' INT TERM HUP
    "$HOST" down "$LAB" || { echo "demo.sh: could not clean up: try $HOST down $LAB" >&2; exit 1; }
}

# ------------------------------------------------------------------------------ story

"$REPO/eng/setup.sh" test
if [[ -z ${POSTCOPY_BIN:-} ]]; then "$REPO/eng/build.sh"; fi
PROGRAMS=$("$REPO/eng/lab/programs.sh")

trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

chapter "Two hosts"
"$HOST" up "$LAB" a
"$HOST" up "$LAB" b
SHARED=$("$HOST" shared "$LAB")
WALKER=$SHARED/walker
ADDRESS=$("$HOST" address "$LAB" b)
tell "a and b are on this machine, but have nothing in common except its kernel and its disk:" \
    "other pids, other network, other mounts, other cgroups, even another uptime." \
    "a: $("$HOST" address "$LAB" a), up $(on a -- cut -d. -f1 /proc/uptime) s   b: $ADDRESS, up $(on b -- cut -d. -f1 /proc/uptime) s"

chapter "A program on a"
mkdir "$WALKER"
"$REPO/eng/lab/bundle.sh" "$SHARED/bundle" --bind "$WALKER:/walker" -- "$PROGRAMS/walker" /walker "$MIB" 2
# The container keeps this stdio: it must be something that exists on b too.
on a -- runc --log "$SHARED/runc.log" run -d --bundle "$SHARED/bundle" walker </dev/null >/dev/null 2>&1 ||
    { cat "$SHARED/runc.log" >&2; exit 1; }
ask stats
BEFORE=$ANSWER
tell "The walker has $MIB MiB of memory. Every page holds a pattern made of its number and its age;" \
    "two threads read pages at random, checking each byte, and rewrite others. Every 2 ms it appends" \
    "\"host, number, time\" to a log, counting in memory that moves with it."
ask verify
proof "all $(field "$ANSWER" checked) pages are right before the move" test "$(field "$ANSWER" bad)" = 0

chapter "The move"
head -c 24 /dev/urandom | base64 | install -m 600 /dev/stdin "$SHARED/token"
on b -- "$POSTCOPY" agent --listen "$ADDRESS:$PORT" --token-file "$SHARED/token" --insecure >"$SHARED/agent.log" 2>&1 &
AGENT=$!
wait_for 20 "the agent on b" agent_listens
tell "b runs \"postcopy agent\". On a:" "postcopy migrate runc walker --to $ADDRESS:$PORT" ""
code=0
on a -- "$POSTCOPY" migrate runc walker --to "$ADDRESS:$PORT" --token-file "$SHARED/token" --insecure || code=$?
if ((code != 0)); then
    printf '\ndemo.sh: postcopy ended with %d; the agent said:\n' "$code" >&2
    tail -n 20 "$SHARED/agent.log" >&2
fi

chapter "What became of it"
proof "postcopy says that it moved (exit code 0, is $code)" test "$code" = 0
wait_for 20 "the program to write on" log_longer_than "$(log_lines)"
ask verify
proof "all $(field "$ANSWER" checked) pages are right after the move" test "$(field "$ANSWER" bad)" = 0
ask stats
AFTER=$ANSWER
proof "none of the $(field "$AFTER" reads) random reads, before, during and after, met a wrong byte" test "$(field "$AFTER" bad)" = 0
proof "it was never restarted: the same pid, start time and random number in memory" \
    test "$(field "$BEFORE" pid) $(field "$BEFORE" started) $(field "$BEFORE" nonce)" = \
    "$(field "$AFTER" pid) $(field "$AFTER" started) $(field "$AFTER" nonce)"
proof "it never ran twice and lost no step: $(log_lines) log lines, counting on without a gap" log_counts_on
proof "it ran on a, then on b: one change of host, none back" test "$(log_hosts)" = "a b "
proof "a no longer has the container" test -z "$(status_on a)"
proof "b has it, running" test "$(status_on b)" = running
tell "" "From outside, its log was silent for $(log_silence_ms) ms at most. Copying $MIB MiB first, at 1 Gbit/s, takes" \
    "$((MIB * 8389 / 1000)) ms: it ran on b while its memory was still on the way."

kill -TERM "$AGENT" 2>/dev/null || true
wait "$AGENT" || true
chapter "$( ((FAILED)) && echo "At least one proof failed." || echo "Every proof holds.")"
exit "$FAILED"
