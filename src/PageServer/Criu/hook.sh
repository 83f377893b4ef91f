# CRIU's action script, on both sides, read by bash.  CRIU runs it once for every step and goes on only when it ends; a status other than 0
# refuses the step.
#
# It lives in the session's directory, beside FIFOs: "events" (to postcopy, one line a step), "answers" (from postcopy), and "alive", which postcopy has open as
# long as it lives.  They are opened for reading and writing, so that opening never blocks, whoever is alive at the other end.
#
# It is CRIU's child and survives postcopy.  While it waits, it looks once a second whether its owner lives; if not, it settles what is
# still open in the one way that is always safe, and says so in the write-once record "decision".

# bash parses as it goes on, and everything stands still meanwhile: steps that mean nothing here end before the rest is read.
case $CRTOOLS_SCRIPT_ACTION in pre-restore | setup-namespaces | post-setup-namespaces | network-unlock) exit 0 ;; esac

cd "${BASH_SOURCE[0]%/*}" || exit 1

tell() { echo "$CRTOOLS_SCRIPT_ACTION ${CRTOOLS_INIT_PID:-0}" 1<>events; }

# The owner is a pid and the time it started, so that another process with the same number is not mistaken for it.
owner_lives() {
  local pid started
  read -r pid started <owner && read_start "$pid" && [[ $start == "$started" ]]
}

# When a process started, into "start".
read_start() {
  local stat
  read -r stat 2>/dev/null <"/proc/$1/stat" || return 1
  set -- ${stat##*) }
  # A zombie whose parent does not care is dead; a first thread that has ended while others go on is not.
  [[ $1 != [ZX] || ${18} -gt 1 ]] || return 1
  start=${20}
}

# Waits for the owner's answer and ends with it.  "$1" is run each time the owner is found dead; it may end the script.
wait_for_answer() {
  local answer
  exec 3<>answers
  tell
  while true; do
    until read -r -t 1 answer <&3; do
      owner_lives || "$1"
    done
    [[ $answer == leave ]] || exit "$answer"
    leave_tasks
  done
}

decide() { ln -sT "$1" decision 2>/dev/null; decision=$(readlink decision); }

# A directory that somebody has removed may have said so, too.
is_handed_off() { [[ $decision == handed-off || ! -e owner ]]; }

# Nobody can say yes to the destination any more, so the container may run on here; unless somebody did, then it must stay frozen.
source_abandoned() {
  decide cancelled
  is_handed_off || exit 1
}

# The copy has not run, and without its owner nobody would serve its pages: it must not start.
destination_abandoned() {
  decide never-ran
  [[ $decision == never-ran ]] || ln -sT never-ran returned 2>/dev/null
  exit 1
}

# The tasks' freezer, where postcopy has named it: see CriuHook.FreezeWhileLettingGo.  Without it the tasks run as CRIU lets each go.
hold_tasks() {
  local file frozen
  { [[ -e left ]] || leave_tasks; } && { read -r file && read -r frozen; } 2>/dev/null <freezer && echo "$frozen" >"$file"
}

# Moves CRIU, and this script with it, out of the cgroup that is to be frozen.  That takes the kernel some milliseconds.
leave_tasks() {
  local file frozen thawed outside
  { read -r file && read -r frozen && read -r thawed && read -r outside; } 2>/dev/null <freezer &&
    { echo "$PPID" && echo $$ ; } >"$outside" && : >left
}

let_tasks_go() {
  local file frozen thawed
  { read -r file && read -r frozen && read -r thawed; } 2>/dev/null <freezer || return 0
  echo "$thawed" >"$file"
}

# CRIU freezes a container's cgroup and looks whether it is frozen, then again every 100 ms: a task that was running is not at the first look, and everything
# stands still for that long.  So CRIU finds it frozen.  See CriuHook.FreezeBeforeDump.
freeze_before_dump() {
  local file frozen thawed report word lines give_up
  { read -r file && read -r frozen && read -r thawed && read -r report && read -r word; } 2>/dev/null <freeze-first || { tell; return; }
  owner_lives || exit 1
  read_start "$PPID" && echo "$PPID $start" >criu
  thaw_without_owner "$file" "$thawed" </dev/null &>/dev/null &
  # Everything runs until here.
  tell
  echo "$frozen" >"$file"
  give_up=$((${EPOCHREALTIME/[.,]/} + 50000))
  while ((${EPOCHREALTIME/[.,]/} < give_up)); do
    mapfile -t lines <"$report"
    [[ " ${lines[*]} " != *" $word "* ]] || return 0
  done
  # CRIU has more patience.
  echo "$thawed" >"$file"
}

# What was frozen before the dump, CRIU leaves frozen when it undoes the dump.  The owner then thaws it; this is for when it has died.
thaw_without_owner() {
  local fd
  # CRIU's sockets among them: whoever waits for their end must not wait for this.
  for fd in /proc/self/fd/*; do ((${fd##*/} <= 2)) || eval "exec ${fd##*/}>&-"; done
  # Whatever has this name later is not what this writes to.
  exec 6>"$1"
  # Only the owner has "alive" open for writing: its end is ours.  Opened for both first, so as not to wait for an owner that is dead already.
  exec 4<>alive 5<alive 4>&-
  read -r <&5
  while [[ -d /proc/$PPID ]]; do sleep 0.1; done
  decide cancelled
  is_handed_off || echo "$2" >&6
}

case $CRTOOLS_SCRIPT_ACTION in
  post-dump) wait_for_answer source_abandoned ;;
  # CRIU's page server is not used.  Rolling back it must be refused, and after a hand-off there is nobody left to serve.
  status-ready) exit 1 ;;
  post-restore) wait_for_answer destination_abandoned ;;
  # "ran" comes before whatever lets the first task run: the thaw, or else CRIU.
  pre-resume) hold_tasks || : >ran; tell ;;
  post-resume) : >ran; let_tasks_go; tell ;;
  pre-dump) freeze_before_dump ;;
  network-lock) tell ;;
esac
exit 0
