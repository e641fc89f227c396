#!/bin/sh
# The main job on a real home: author, build, sign, review, apply, receipt, roll back; then what only a
# journal and signatures can do. Everything happens in one scratch folder, which is removed at the end.
set -eu
cd "$(dirname "$0")/.."
repo=$PWD
scratch=$(mktemp -d "${TMPDIR:-/tmp}/requisition-demo.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' INT TERM
export XDG_CONFIG_HOME="$scratch/config" REQUISITION_STATE="$scratch/state"
log=$scratch/everything-printed
: >"$log"
mkdir -p "$scratch/home"
cd "$scratch"
home=$scratch/home

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
run() {
    printf '\033[2m$ plan %s\033[0m\n' "$*" | sed "s|$scratch/||g; s|$repo/||g"
    plan "$@" >out 2>&1 && code=0 || code=$?
    cat out >>"$log"
    sed "s|$scratch/||g; s|$repo/||g" out
    return "$code"
}
expect() {
    wanted=$1
    shift
    code=0
    run "$@" || code=$?
    [ "$code" = "$wanted" ] || { echo "expected exit code $wanted, got $code"; exit 1; }
}
tree() { (cd "$1" && find . -printf '%p %y %m %U:%G %l %s\n' | LC_ALL=C sort && find . -type f -exec sha256sum {} + | LC_ALL=C sort); }

printf 'This was here before.\n' >"$home/.plan"
mkdir -p "$home/Documents" && printf 'letters\n' >"$home/Documents/a.txt" && chmod 600 "$home/Documents/a.txt"
tree "$home" >before
canary="s3cr3t-$(od -An -N8 -tx1 /dev/urandom | tr -d ' \n')"
printf '%s\n' "$canary" >"$scratch/token"

say "1. A package becomes an order: checked, pinned, the same bytes wherever it is built."
run check "$repo/examples/dotfiles"
run build "$repo/examples/dotfiles" -o dotfiles.yaml --root "$home"
cp -r "$repo/examples/dotfiles" elsewhere
run --quiet build elsewhere -o elsewhere.yaml --root "$home"
[ "$(grep ^checksum dotfiles.yaml)" = "$(grep ^checksum elsewhere.yaml)" ] && echo "built in another folder: the same checksum"

say "2. Two people stand for it. Without them it does not run."
run --quiet key new author
run --quiet key new reviewer
run --quiet trust add author "$XDG_CONFIG_HOME/requisition/keys/author.pub" --role author
run --quiet trust add reviewer "$XDG_CONFIG_HOME/requisition/keys/reviewer.pub" --role reviewer
run --quiet trust require author=1 reviewer=1
run sign dotfiles.yaml --key author
expect 3 verify dotfiles.yaml
run show dotfiles.yaml
run sign dotfiles.yaml --key reviewer
run verify dotfiles.yaml

say "3. Look before: the diff of everything it would do. Then do it, then do it again."
run apply dotfiles.yaml --dry-run --diff --secret forge_token=file:token | head -24
echo "      … (the whole diff is longer)"
run apply dotfiles.yaml --secret forge_token=file:token
run apply dotfiles.yaml --secret forge_token=file:token

say "4. Somebody edits a file by hand: status shows what."
printf 'alias ll="rm -rf"\n' >>"$home/.config/shell/10-aliases.sh"
expect 2 status --root "$home" --diff --detailed-exitcode
sed -i '$d' "$home/.config/shell/10-aliases.sh" && echo "(the line is taken out again)"
run status --root "$home"

say "5. The secret is in the one file it was meant for, and nowhere else."
grep -rl "$canary" "$scratch" | sed "s|$scratch/||" | grep -v '^token$' | tee found
[ "$(cat found)" = home/.config/forge/token ] || { echo "the secret leaked"; exit 1; }

say "6. One flipped byte, and the order is refused before its content is parsed."
run --quiet build "$repo/examples/dotfiles" -o flipped.plan --root "$home"
run --quiet sign flipped.plan --key author --key reviewer
printf 'X' | dd of=flipped.plan bs=1 seek=2000 conv=notrunc 2>/dev/null
expect 3 apply flipped.plan --secret forge_token=file:token

say "7. kill -9 in the middle of a run; then resume, as if nothing had happened."
run --quiet build "$repo/examples/slow.star" -o slow.plan --root "$home"
run --quiet sign slow.plan --key author --key reviewer
plan apply slow.plan >>"$log" 2>&1 &
for _ in $(seq 100); do [ -e "$home/notes/39.txt" ] && break; sleep 0.1; done
pid=$(sed -n 's/.*"pid":\([0-9]*\).*/\1/p' "$scratch"/state/roots/*/lock)
kill -9 "$pid" && echo "killed the runtime, process $pid, after $(ls "$home/notes" | wc -l) pages"
wait || true
expect 6 apply slow.plan
expect 6 recover
touch "$home/.go"
run resume
rm "$home/.go"

say "8. Everything back: the newest run first, then the one before, down to nothing."
run rollback
run rollback
tree "$home" >after
if cmp before after; then
    echo
    echo "The home is as it was before the first step: the same names, bytes, modes, owners and links."
else
    diff before after
    exit 1
fi
run receipts
