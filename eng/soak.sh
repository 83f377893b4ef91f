#!/usr/bin/env bash
# Injects failures into migrations at random moments until time is up:  soak.sh [MINUTES] [SEED]
#
# Something is killed, stopped, cut off or reset on either host of a lab; in the end exactly one
# copy of the container must run, with all of its memory.  A failing round prints its seed; give
# it as SEED to begin with that round.  Needs root and a build (eng/build.sh, or POSTCOPY_BIN).
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export POSTCOPY_SOAK_MINUTES=${1:-60}
if [[ ${2:-} ]]; then export POSTCOPY_SEED=$2; fi
exec dotnet test "$REPO/tests/Tests.csproj" --filter FullyQualifiedName~RandomFailureTests --logger "console;verbosity=detailed"
