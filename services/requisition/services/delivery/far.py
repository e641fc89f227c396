"""What is run at the far end of ssh, and how its answers are read: POSIX sh, GNU coreutils and findutils.

In every script $1 is the folder of the destination, which must be there, and further paths are below it and begin with
`./`, so that none is taken for an option or for standard input.
"""

from requisition.services.delivery.manifest import parse_sum
from requisition.services.delivery.transport import TWICE, Found

NO_FOLDER, NO_TOOLS, EXISTS = 66, 69, 73  # as sysexits.h counts: not found, not available, cannot create

_ENTER = f"""
LC_ALL=C; export LC_ALL; unset CDPATH
cd -- "$1" 2>/dev/null || {{ echo "$1 is not there, or not a folder" >&2; exit {NO_FOLDER}; }}
"""
PROBE = _ENTER + 'test -w . || { echo "$1: Permission denied" >&2; exit 1; }'
PREPARE = _ENTER + 'mkdir -p -- "$2/data" "$2/part" && cd -- "$2/part" && pwd -P'  # where it is: rsync wants it whole
DISCARD = _ENTER + 'rm -rf -- "$2"'

# $2: the target, $3: name of the file; its content comes in
PUT = (
    _ENTER
    + """
set -e
mkdir -p -- "$2.delivery"
new=$2.delivery/.$3.$$
trap 'rm -f -- "$new"' EXIT
cat > "$new"
sync -- "$new" 2>/dev/null || sync
mv -f -- "$new" "$2.delivery/$3"
"""
)

# $2: the folder of the job, $3: the target. Data is on the disk before its name is: sync(1), rename(2). Nothing is
# overwritten: mv -n is RENAME_NOREPLACE; nothing is copied: a mount below the destination is another disk.
PUBLISH = (
    _ENTER
    + f"""
parent=$3
while parent=${{parent%/*}}; [ "$parent" != . ]; do
  if [ -e "$parent.delivery" ]; then echo "$parent was delivered: File exists" >&2; exit 1; fi
done
if [ -e "$3" ] || [ -L "$3" ]; then exit {EXISTS}; fi
sync -f -- "$2/data" 2>/dev/null || sync
parent=${{3%/*}}
mkdir -p -- "$parent" || exit 1
if [ "$(stat -c %d -- "$2/data")" != "$(stat -c %d -- "$parent")" ]; then
  echo "$parent is on another filesystem than .incoming" >&2; exit 1
fi
mv -n -T -- "$2/data" "$3" || exit 1
if [ -e "$2/data" ]; then exit {EXISTS}; fi
sync -f -- "$parent" 2>/dev/null || sync
rm -rf -- "$2"
"""
)

# $2: the place. First all there is, then digests, the largest files first, one line a write (coreutils' sha256sum is
# line-buffered so that many may share a pipe).
DIGESTS = (
    _ENTER
    + f"""
if [ ! -e "$2" ] && [ ! -L "$2" ]; then exit 0; fi
if [ -L "$2" ] || [ ! -d "$2" ]; then echo "$2: Not a directory" >&2; exit 1; fi
{{ sort -z </dev/null && cut -z -f 1 </dev/null && find . -maxdepth 0 -printf '%y' && sha256sum /dev/null
}} >/dev/null 2>&1 || exit {NO_TOOLS}
cd -- "$2" || exit 1
find . -mindepth 1 -printf '%y%P\\0%l\\0' || exit 1
printf '\\0'
jobs=$(nproc 2>/dev/null || echo 2)
if [ "$jobs" -gt 8 ]; then jobs=8; fi
find . -type f -printf '%s\\t%p\\0' | sort -z -rn | cut -z -f 2- | xargs -0 -r -n 16 -P "$jobs" sha256sum --
"""
)


class Listing:
    """The answer of `DIGESTS`, read as it comes."""

    def __init__(self) -> None:
        self._rest = b""
        self._kind = b""  # and path of what the next word is the link target of
        self._sums = False
        self._files: dict[bytes, str] = {}
        self._links: dict[bytes, bytes] = {}
        self._folders: set[bytes] = set()

    def __call__(self, chunk: bytes) -> None:
        """Take in what came."""
        self._rest += chunk
        if not self._sums:
            *words, self._rest = self._rest.split(b"\0")
            for number, word in enumerate(words):
                if not word and not self._kind:
                    self._sums = True
                    self._rest = b"\0".join([*words[number + 1 :], self._rest])
                    break
                self._word(word)
        if self._sums:
            *lines, self._rest = self._rest.split(b"\n")
            for line in lines:
                self._line(line)

    def found(self) -> Found:
        """All of it. A file without a digest, and what is neither file, link nor folder, has the digest ""."""
        return Found(self._files, self._links, frozenset(self._folders), "ssh")

    def _word(self, word: bytes) -> None:
        if not self._kind:
            self._kind = word
            return
        kind, path, self._kind = self._kind[:1], self._kind[1:], b""
        if kind == b"d":
            self._folders.add(path)
        elif kind == b"l":
            self._links[path] = word
        else:
            self._files[path] = ""

    def _line(self, line: bytes) -> None:
        if (said := parse_sum(line)) is not None:
            path, digest = said
            twice = self._files.get(path)
            self._files[path] = digest if twice == "" else TWICE
