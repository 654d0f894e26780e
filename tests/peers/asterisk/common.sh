# Sourced by the scripts beside it. Nothing is written outside $CACHE and the directory that up.sh is given.
CACHE=${HOLDFAST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/holdfast}
AST_SUITE=${AST_SUITE:-sid}
AST_ROOT=${AST_ROOT:-$CACHE/asterisk-$AST_SUITE}

say() { printf '%s\n' "asterisk: $*" >&2; }
fail() { say "$*"; exit 1; }
