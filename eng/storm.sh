#!/usr/bin/env bash
# Moves a container whose programs do everything to their memory to and fro.
#
#   storm.sh [SECONDS] [SEED]
#
# SEED repeats an earlier run's decisions (not its timing); every run prints its own.  Needs root, and what eng/setup.sh test
# installs.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export POSTCOPY_STORM_SECONDS=${1:-300}
if [[ -n ${2:-} ]]; then export POSTCOPY_STORM_SEED=$2; fi

cd "$REPO"
eng/build.sh
exec dotnet test tests/Tests.csproj --filter FullyQualifiedName~StormTests.Everything --logger 'console;verbosity=detailed'
