#!/usr/bin/env bash
# Sets up what is missing, builds, checks the format, runs every test.  The last line says
# how the tests went.  Needs root: the tests freeze, dump and restore real processes.
#
# With CI=true a skipped test is a failure: there nobody would notice that it never runs.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly REPO
readonly RESULTS=$REPO/artifacts/test-results

export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1
if [[ ${CI:-} == true ]]; then
  # No build server that outlives us: it would hold whoever waits for our output to end.
  export MSBUILDDISABLENODEREUSE=1 UseSharedCompilation=false
fi

# Prints the names of the tests with this outcome, one a line, as the runner recorded them.
tests_with() {
  { grep -ho '<UnitTestResult [^>]*' "$RESULTS"/*.trx || true; } | { grep -F "outcome=\"$1\"" || true; } |
    sed 's/.* testName="\([^"]*\)".*/\1/; s/&quot;/"/g; s/&lt;/</g; s/&gt;/>/g; s/&amp;/\&/g'
}

count() { tests_with "$1" | wc -l; }

main() {
  local code=0 skipped
  cd "$REPO"
  eng/setup.sh test
  # Side by side: they share no intermediate files.
  eng/build.sh &
  # The benchmarks too, which no test needs.  The compiler knows most of the code's style, but neither
  # its names nor the order of its usings.
  { dotnet build PostCopy.sln --configuration Release --verbosity quiet </dev/null &&
    dotnet format PostCopy.sln --no-restore --verify-no-changes </dev/null; } || code=$?
  wait "$!" || code=$?
  if ((code)); then exit "$code"; fi

  rm -rf "$RESULTS"
  # A test that hangs is named and ended, instead of the whole run by whoever started it.
  dotnet test PostCopy.sln --configuration Release --no-build --results-directory "$RESULTS" \
    --logger 'trx;LogFileName=tests.trx' --logger 'console;verbosity=minimal' \
    --blame-hang --blame-hang-timeout 5m --blame-hang-dump-type none </dev/null || code=$?

  if ! compgen -G "$RESULTS/*.trx" >/dev/null; then
    echo "test: error: no results were recorded" >&2
    exit 1
  fi
  skipped=$(tests_with NotExecuted)
  if [[ -n $skipped ]]; then
    printf 'skipped: %s\n' "${skipped//$'\n'/$'\nskipped: '}"
    if [[ ${CI:-} == true ]]; then code=1; fi
  fi
  if (($(count Passed) == 0)); then code=1; fi
  printf '%d passed, %d failed, %d skipped\n' "$(count Passed)" "$(count Failed)" "$(count NotExecuted)"
  exit "$code"
}

main "$@"
