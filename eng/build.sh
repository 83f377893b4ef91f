#!/usr/bin/env bash
# Leaves a runnable artifacts/bin/postcopy.
#
# One native executable (NativeAOT) where gcc is, which links it; else, or should that fail, an application that needs the .NET runtime, precompiled if the registry has the
# compiler.  The same code either way, but native starts ten times faster and has no cold code
# when the first page faults come.
#
# With nothing changed since the last time it looks and ends at once.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly REPO
readonly BIN=$REPO/artifacts/bin
readonly WORK=$REPO/artifacts/build     # intermediate files, apart from those of "dotnet build"
readonly STAMP=$REPO/artifacts/bin.stamp

export DOTNET_NOLOGO=1 DOTNET_CLI_TELEMETRY_OPTOUT=1

say() { printf 'build: %s\n' "$*"; }
die() { printf 'build: error: %s\n' "$*" >&2; exit 1; }

can_link() { command -v gcc >/dev/null; }

# Of everything the executable is made from, and of how it is going to be made.
source_hash() {
  cd "$REPO"
  {
    can_link && echo native
    find src Directory.Build.props Directory.Packages.props global.json eng/build.sh \
      \( -name bin -o -name obj \) -prune -o -type f -print0 | sort -z | xargs -0 sha256sum
  } | sha256sum
}

runtime_id() {
  case $(uname -m) in
    x86_64) echo linux-x64 ;;
    aarch64) echo linux-arm64 ;;
    *) die "no build for $(uname -m): x86-64 and arm64 only" ;;
  esac
}

# publish NAME OPTION...: into a fresh directory; its log is shown only by those who give up.
publish() {
  local name=$1
  shift
  rm -rf "$WORK/$name"
  dotnet publish "$REPO/src/Cli/Cli.csproj" --configuration Release --runtime "$(runtime_id)" \
    --artifacts-path "$WORK" --output "$WORK/$name" --verbosity quiet "$@" >"$WORK/$name.log" 2>&1 </dev/null
}

# The new directory takes the old one's place in one step each, so that no half-copied program is
# ever found.
put_in_place() {
  rm -rf "$BIN.old"
  if [[ -e $BIN ]]; then mv "$BIN" "$BIN.old"; fi
  mv "$1" "$BIN"
  rm -rf "$BIN.old"
}

main() {
  local hash
  hash=$(source_hash)
  if [[ -x $BIN/postcopy && -r $STAMP && $(<"$STAMP") == "$hash" ]]; then return 0; fi

  command -v dotnet >/dev/null || die "no dotnet on PATH: install the .NET SDK named in global.json"
  mkdir -p "$WORK"
  # Whoever is ended between the program and its stamp must not be believed.
  rm -f "$STAMP"
  if can_link && publish native; then
    # Debugging symbols, and XML documentation of the libraries, are no part of a program.
    find "$WORK/native" -mindepth 1 ! -name postcopy ! -name '*.so' -delete
    chmod -R a+rX "$WORK/native"     # the helper library comes from its package readable by its owner alone
    put_in_place "$WORK/native"
    say "artifacts/bin/postcopy: native"
  elif publish precompiled --self-contained false -p:PublishAot=false -p:PublishReadyToRun=true; then
    put_in_place "$WORK/precompiled"
    say "artifacts/bin/postcopy: needs the .NET runtime (a native one takes gcc; if that is here, see artifacts/build/native.log)"
  elif publish portable --self-contained false -p:PublishAot=false; then
    put_in_place "$WORK/portable"
    say "artifacts/bin/postcopy: needs the .NET runtime, not precompiled (log: artifacts/build/precompiled.log)"
  else
    cat "$WORK/portable.log" >&2
    die "postcopy does not build"
  fi
  "$BIN/postcopy" --version >/dev/null || die "$BIN/postcopy was built but does not start"
  echo "$hash" >"$STAMP"
}

main "$@"
