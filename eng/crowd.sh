#!/usr/bin/env bash
# What 1,000 stalled connections at an agent cost a drain:  crowd.sh [ROUNDS] [LIMIT]
#
# Pairs of moves, one through the crowd and one without, in alternating order; prints their ratios
# and fails when the median is beyond LIMIT (1.1).  For a machine that does nothing else.  Needs
# root and a build (eng/build.sh, or POSTCOPY_BIN).
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export POSTCOPY_CROWD_ROUNDS=${1:-15} POSTCOPY_CROWD_LIMIT=${2:-1.1}
exec dotnet test "$REPO/tests/Tests.csproj" --filter FullyQualifiedName~CrowdTests --logger "console;verbosity=detailed"
