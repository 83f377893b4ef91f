#!/usr/bin/env bash
# Compiles what changed in tests/TestPrograms, or all of it when this script did, statically, and prints the directory they are in: one
# program from each *.c, and one from all of each directory.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly SOURCES=$REPO/tests/TestPrograms OUT=$REPO/artifacts/programs

compile() { # PROGRAM SOURCE...
    local program=$1
    shift
    if [[ -x $program && -z $(find "$@" "$SOURCES"/*.h "$SOURCES"/*/*.h "${BASH_SOURCE[0]}" -newer "$program") ]]; then return; fi
    gcc -std=gnu11 -O2 -Wall -Wextra -Werror -pthread -static -o "$program.new" "$@" -lm
    mv "$program.new" "$program"
}

mkdir -p "$OUT"
exec 9>"$OUT/.lock"
flock 9
for source in "$SOURCES"/*.c; do compile "$OUT/$(basename "$source" .c)" "$source"; done
for directory in "$SOURCES"/*/; do compile "$OUT/$(basename "$directory")" "$directory"*.c; done
echo "$OUT"
