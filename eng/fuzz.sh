#!/usr/bin/env bash
# Feeds damaged input to everything that reads what others wrote.  Usage: fuzz.sh [MINUTES] [SEED]
#
# What fails is kept in artifacts/fuzz, with the seed that repeats it.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$REPO"
export POSTCOPY_FUZZ_MINUTES=${1:-10}
export POSTCOPY_FUZZ_SEED=${2:-$((RANDOM * 32768 + RANDOM))}
export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1

echo "$POSTCOPY_FUZZ_MINUTES minutes, seed $POSTCOPY_FUZZ_SEED"
dotnet build tests/Tests.csproj --configuration Release --verbosity quiet
exec dotnet test tests/Tests.csproj --configuration Release --no-build --filter 'FullyQualifiedName~FuzzTests' --logger 'console;verbosity=detailed'
