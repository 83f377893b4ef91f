#!/usr/bin/env bash
# Runs a test whose decisions are random for longer than it has among the others:
#
#   soak.sh failures [MINUTES] [SEED]   something is killed, stopped, cut off or reset on either host: exactly one whole copy must run
#   soak.sh storm    [SECONDS] [SEED]   a container whose programs do everything to their memory moves to and fro
#   soak.sh pre-copy [MINUTES] [SEED]   running programs are copied, frozen and compared; then injectors are killed at random instants
#   soak.sh crowd    [ROUNDS] [LIMIT]   moves through 1,000 stalled connections and without: the median of their ratios is at most LIMIT
#
# SEED repeats an earlier run's decisions, not its timing; every run prints its own.  Needs root
# and what eng/setup.sh test installs; "crowd" a machine that does nothing else.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly REPO

usage() { sed -n '4,7s/^# *//p' "${BASH_SOURCE[0]}" >&2; exit 2; }

# The variables by which the test takes an amount and a seed, if they are given.
case ${1:-} in
  failures)
    tests='RandomFailureTests'
    export POSTCOPY_SOAK_MINUTES=${2:-60} ${3:+POSTCOPY_SEED="$3"}
    ;;
  storm)
    tests='StormTests.Everything'
    export POSTCOPY_STORM_SECONDS=${2:-300} ${3:+POSTCOPY_STORM_SEED="$3"}
    ;;
  pre-copy)
    tests='StaleTests|FullyQualifiedName~InjectionTests'
    minutes=${2:-10}
    export POSTCOPY_STALE_SECONDS=$((minutes * 60)) POSTCOPY_KILL_ROUNDS=$((minutes * 50)) ${3:+POSTCOPY_SEED="$3"}
    ;;
  crowd)
    tests='CrowdTests'
    export POSTCOPY_CROWD_ROUNDS=${2:-15} POSTCOPY_CROWD_LIMIT=${3:-1.1}
    ;;
  *) usage ;;
esac
((EUID == 0)) || { echo 'soak.sh: needs root: containers are checkpointed and restored' >&2; exit 1; }

cd "$REPO"
if [[ -z ${POSTCOPY_BIN:-} ]]; then eng/build.sh; fi
# A test that was renamed is an error, not a run of nothing.
exec dotnet test tests/Tests.csproj --filter "FullyQualifiedName~$tests" --logger 'console;verbosity=detailed' -- RunConfiguration.TreatNoTestsAsError=true
