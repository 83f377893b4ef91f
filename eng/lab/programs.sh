#!/usr/bin/env bash
# Compiles tests/TestPrograms/*.c that changed, statically, and prints the directory they are in.
set -euo pipefail

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
readonly SOURCES=$REPO/tests/TestPrograms OUT=$REPO/artifacts/programs

mkdir -p "$OUT"
exec 9>"$OUT/.lock"
flock 9
for source in "$SOURCES"/*.c; do
    program=$OUT/$(basename "$source" .c)
    if [[ -x $program && -z $(find "$source" "$SOURCES"/*.h -newer "$program") ]]; then continue; fi
    gcc -std=gnu11 -O2 -Wall -Wextra -Werror -pthread -static -o "$program.new" "$source"
    mv "$program.new" "$program"
done
echo "$OUT"
