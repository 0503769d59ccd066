#!/bin/sh
# Says aloud when the hook cannot work; a hook that is silently missing would let a session go on unheld.
python=$1 hook=$2 home=$3 version=$4
say() {
  printf '{"systemMessage":"Stagent: %s Run: stagent install claude-code"}\n' "$(printf %s "$1" | tr -d '"\\\\' | tr -c '[:print:]' ' ')"
  exit 0
}
# `stagent doctor` begins a session only to see whether this file is run in it.
[ -z "$STAGENT_DOCTOR" ] || { printf '{"systemMessage":"%s"}\n' "$STAGENT_DOCTOR"; exit 0; }
[ -x "$python" ] || say "the interpreter of the hook is gone ($python)."
[ -f "$hook" ] || say "the hook file is gone ($hook)."
[ "$(cat "$home/plugin/version" 2>/dev/null)" = "$version" ] || say "the installed plugin is of another version than the hook."
"$python" -I -S "$hook" "$home" 2>/dev/null || say "the hook does not run under its interpreter ($python)."
