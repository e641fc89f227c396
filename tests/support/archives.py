"""Archives made in the test, good and hostile."""

import io
import stat
import tarfile
import zipfile


def directory(name: str, mode: int = 0o755):
    return name, {"type": tarfile.DIRTYPE, "mode": mode}


def link(name: str, target: str):
    return name, {"type": tarfile.SYMTYPE, "linkname": target}


def hard(name: str, target: str):
    return name, {"type": tarfile.LNKTYPE, "linkname": target}


def tar(*members, mode: str = "w:gz") -> bytes:
    """Members are (name, content) or (name, fields of TarInfo), as the functions above give them."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, dict):
                for key, value in content.items():
                    setattr(info, key, value)
                archive.addfile(info)
            else:
                info.size, info.mode = len(content), 0o755
                archive.addfile(info, io.BytesIO(content))
    return out.getvalue()


def header(name: str, *, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    """One raw tar header; what TarInfo would refuse to write (a negative size) is put in by hand."""
    info = tarfile.TarInfo(name)
    info.type = kind
    raw = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    raw[124:136] = (size % (1 << 88) | 0xFF << 88 if size < 0 else 0x80 << 88 | size).to_bytes(12, "big")
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    return bytes(raw)


def zipped(*members, compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Members are (name, content) or (name, content, mode with type bits)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", compression) as archive:
        for name, content, *mode in members:
            info = zipfile.ZipInfo(name)
            info.compress_type = compression
            info.external_attr = (mode[0] if mode else stat.S_IFREG | 0o644) << 16 | 0x20  # "archive", as DOS says
            archive.writestr(info, content)
    return out.getvalue()
