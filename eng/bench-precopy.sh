#!/usr/bin/env bash
# Moves a walker and a busy Redis with and without --pre-copy, over 1 Gbit/s and unshaped, and
# prints a table.
#
#   eng/bench-precopy.sh            1 GiB containers, medians of three to seven: some 20 minutes
#   eng/bench-precopy.sh --quick    128 MiB: a look, once built in some 2 minutes
#   eng/bench-precopy.sh [--quick] walker|redis|copied-walker...    some of it
#
# Needs root and an idle machine.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly REPO

export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1

for argument in "$@"; do
    case $argument in
        --quick | walker | redis | copied-walker) ;;
        *) sed -n '5,7s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
    esac
done
((EUID == 0)) || { echo 'bench-precopy.sh: needs root: containers are checkpointed and restored' >&2; exit 1; }
"$REPO/eng/setup.sh" test >&2
"$REPO/eng/build.sh" >&2
dotnet build "$REPO/perf/Perf.csproj" --configuration Release --verbosity quiet >&2 </dev/null
dotnet build-server shutdown >/dev/null 2>&1 </dev/null || true
exec dotnet "$REPO/perf/bin/Release/net10.0/PostCopy.Perf.dll" precopy "$@" </dev/null
