#!/usr/bin/env bash
# Copies memory of programs that do everything to theirs, freezes them and compares, until time is up;
# then kills injectors at random instants:  precopy-soak.sh [MINUTES] [SEED]
#
# SEED repeats the injectors' part.  Needs root and a build (eng/build.sh, or POSTCOPY_BIN).
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
minutes=${1:-10}
export POSTCOPY_STALE_SECONDS=$((minutes * 60)) POSTCOPY_KILL_ROUNDS=$((minutes * 50))
if [[ ${2:-} ]]; then export POSTCOPY_SEED=$2; fi
exec dotnet test "$REPO/tests/Tests.csproj" --filter 'FullyQualifiedName~StaleTests|FullyQualifiedName~InjectionTests' --logger 'console;verbosity=detailed'
