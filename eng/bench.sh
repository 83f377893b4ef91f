#!/usr/bin/env bash
# Measures postcopy against stock CRIU and against the bare system calls, in one run on this
# machine, and prints a table; the same is in perf/results.
#
#   eng/bench.sh            1 GiB containers, three pairs of each: the better part of an hour
#   eng/bench.sh --quick    256 MiB, one pair: a look, in some minutes once built
#   eng/bench.sh --only containers,links    some of bare, crowd, zeroes, tls, containers, large, links, policies, drop-in
#
# Needs root and an idle machine: what else runs is measured too, and the table says how
# busy it was.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly REPO

export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1

if [[ ${1:-} == -h || ${1:-} == --help ]]; then
    sed -n '5,7s/^# *//p' "${BASH_SOURCE[0]}"
    exit
fi
((EUID == 0)) || { echo 'bench.sh: needs root: containers are checkpointed and restored' >&2; exit 1; }
"$REPO/eng/setup.sh" test >&2
"$REPO/eng/build.sh" >&2
dotnet build "$REPO/perf/Perf.csproj" --configuration Release --verbosity quiet >&2 </dev/null
# The compiler server would keep a CPU busy for a while.
dotnet build-server shutdown >/dev/null 2>&1 </dev/null || true
exec dotnet "$REPO/perf/bin/Release/net10.0/PostCopy.Perf.dll" compare "$@" </dev/null
