"""Pinned downloads: the config gives address, revision and checksum; a manifest is written last.

A checksum that was unknown when the config was written is recorded at the first download, in a committed file beside
the config, and checked from then on. The same holds for the commit of a model repository's branch and its list of
files: from then on the repository is pinned.

A folder with a manifest is complete. One without is resumed: correct files are kept, and a partial file is continued
where it stopped.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.client import HTTPException
from pathlib import Path
from typing import Any, BinaryIO
from urllib.error import HTTPError, URLError
from urllib.parse import quote

from symphony.fields import check, shown
from symphony.files import check_own, read_json, sha256, write_atomic
from symphony.types import SymphonyError
from symphony.weights import hub

CHUNK = 1 << 20
ATTEMPTS = 3
"""How often a file is requested if the connection breaks; each attempt continues where the last one stopped."""
DATA_VARIABLE = "SYMPHONY_DATA"
_MANIFEST, _LICENCE = "manifest.json", "LICENCE.txt"
_BEFORE = "manifest.before.json"
"""Manifest of another revision while a download replaces it: names the files that may be replaced."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """What exactly is downloaded.

    Attributes:
        address: Start of every file's address; `{revision}` in it is replaced.
        revision: Pinned commit or version; for a model repository also a branch, resolved at the first download.
        licence: Name of the licence and where its text is; shown before the download.
        files: File name -> sha256, 64 hex digits; "" if not known yet. If empty for a model repository: the files that
            transformers reads (`hub.listing`).
        addresses: File name -> its full address, if that is not `address` plus the name.
    """

    address: str
    revision: str
    licence: str
    files: Mapping[str, str]
    addresses: Mapping[str, str] = field(default_factory=dict)

    def url(self, name: str) -> str:
        whole = self.addresses.get(name) or f"{self.address.rstrip('/')}/{quote(name)}"
        return whole.replace("{revision}", self.revision)


def parse_source(option: str, block: Any) -> Source:
    """Parses the `source` block of an option's YAML.

    Raises:
        SymphonyError: A key is missing or unknown, a checksum is malformed, a file name leaves the folder, or no file
            is named although the address is not a model repository.
    """
    allowed = ("address", "revision", "licence", "files")
    if not isinstance(block, Mapping):
        raise SymphonyError(f"{option}.source: found {shown(block)}, allowed: {', '.join(allowed)}, each with a value")
    for key in block:
        if key not in allowed:
            raise SymphonyError(f"{option}.source.{key}: found an unknown key, allowed: {', '.join(allowed)}")
    listed = "files" in block and block["files"] is None and hub.repository(str(block.get("address"))) is not None
    for key in allowed:
        if not block.get(key) and not (key == "files" and listed):
            raise SymphonyError(f"{option}.source.{key}: found nothing, allowed: a value")
        kind = Mapping[str, str | Mapping[str, str | None] | None] | None if key == "files" else str
        check(f"{option}.source.{key}", block[key], kind)
    named = block["files"] or {}
    entries = {name: value if isinstance(value, Mapping) else {"sha256": value} for name, value in named.items()}
    for name, value in entries.items():
        if unknown := set(value) - {"sha256", "address"}:
            raise SymphonyError(f"{option}.source.files.{name}: found {min(unknown)}, allowed: sha256, address")
    files = {name: str(value.get("sha256") or "") for name, value in entries.items()}
    addresses = {name: str(value["address"]) for name, value in entries.items() if value.get("address")}
    for name, sha in files.items():
        if sha and (len(sha) != 64 or set(sha) - set("0123456789abcdef")):
            raise SymphonyError(
                f"{option}.source.files.{name}: found {sha!r}, allowed: null or a sha256 (64 hex digits)"
            )
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise SymphonyError(f"{option}.source.files: found {name!r}, allowed: names inside the folder")
    words = {key: str(block[key]) for key in ("address", "revision", "licence")}
    return Source(files=files, addresses=addresses, **words)


def data_folder(folder: str | Path | None = None) -> Path:
    """Returns the folder of the downloads: the given one, else $SYMPHONY_DATA, else data/."""
    return Path(folder or os.environ.get(DATA_VARIABLE) or "data")


def fetch(
    option: str, source: Source, data: Path, say: Callable[[str], None] = print, *, checksums: Path | None = None
) -> Path:
    """Downloads the missing files of `source` to `data/<option>/` and returns that folder.

    Args:
        checksums: JSON file of first downloads: address -> sha256, and address of a model repository -> commit; new
            ones are added to it.

    Raises:
        SymphonyError: No such address, a licence that must be accepted first, a wrong checksum, too many broken
            connections, a disk that is full or too small, or files in the folder that the download would replace and
            that no download of this option left there. Correct downloads are kept for the next attempt; no manifest is
            written.
    """
    folder = data / option
    manifest = folder / _MANIFEST
    recorded = _read_checksums(checksums)
    source = pinned(source, recorded)
    listing = None
    if hub.repository(source.address) and not (hub.is_commit(source.revision) and source.files):
        listing = hub.listing(source.address, source.revision)
        downloaded = {hub.api_address(source.address, source.revision): listing.revision}
        source = replace(source, revision=listing.revision, files=source.files or listing.files)
        downloaded |= {source.url(name): sha for name, sha in source.files.items()}
        recorded |= _record(checksums, downloaded, say)
    known = {name: sha or recorded.get(source.url(name), "") for name, sha in source.files.items()}
    if (
        all(known.values())
        and manifest.is_file()
        and manifest.read_bytes() == _manifest(option, source, known).encode()
    ):
        return folder
    say(f"{option}: revision {source.revision}, licence {source.licence}")
    _check_own(folder, option, known)
    _check_room(option, source, listing, folder)
    try:
        if manifest.is_file():
            manifest.replace(folder / _BEFORE)
        for name, sha in known.items():
            sha_found = _fetch_file(source.url(name), folder / name, sha, say)
            if not sha:
                known[name] = sha_found
                _record(checksums, {source.url(name): sha_found}, say)
        write_atomic(folder / _LICENCE, f"{source.licence}\nFrom {source.address}, revision {source.revision}\n")
    except OSError as error:
        raise SymphonyError(f"{folder}: found {error.strerror or error}, allowed: a folder with space") from error
    write_atomic(manifest, _manifest(option, source, known))
    (folder / _BEFORE).unlink(missing_ok=True)
    return folder


def _check_own(folder: Path, option: str, known: Mapping[str, str]) -> None:
    """Checks that every existing file is correct or left by an earlier download, so that nothing else is replaced.

    Raises:
        SymphonyError: Another file is in the place of a download or of the folder.
    """
    if folder.exists() and not folder.is_dir():
        raise SymphonyError(f"{folder.absolute()}: found a file, allowed: a folder, or nothing")
    check_own(folder / _MANIFEST, lambda _: _read_manifest(folder / _MANIFEST).get("option") == option)
    check_own(folder / _LICENCE, lambda head: b"\nFrom " in head)
    own = {item for name in (_MANIFEST, _BEFORE) for item in _read_manifest(folder / name).get("sha256", {}).items()}
    for name, sha in known.items():
        file = folder / name
        if file.is_dir() or (file.is_file() and (actual := sha256(file)) != sha and (name, actual) not in own):
            finding = "a folder" if file.is_dir() else "a file that is not the download"
            raise SymphonyError(f"{file.absolute()}: found {finding}, allowed: nothing, or the download; move it away")


def _read_manifest(manifest: Path) -> dict[str, Any]:
    """Returns a manifest's content; {} if none can be read."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _read_checksums(path: Path | None) -> dict[str, str]:
    if path is None or not path.exists():
        return {}
    return {address: str(sha) for address, sha in read_json(path, "the checksum or commit of each address").items()}


def pinned(source: Source, recorded: Mapping[str, str]) -> Source:
    """Returns a model repository's source with the commit and files that its first download found."""
    if hub.repository(source.address) is None:
        return source
    commit = recorded.get(hub.api_address(source.address, source.revision), "")
    source = replace(source, revision=commit if hub.is_commit(commit) else source.revision)
    if source.files or not hub.is_commit(source.revision):
        return source
    start = source.url("")
    files = {address.removeprefix(start): sha for address, sha in recorded.items() if address.startswith(start)}
    return replace(source, files=files)


def recorded_revision(block: Mapping[str, Any], checksums: Path) -> str:
    """Returns the commit to which a `source` block's model repository is pinned; "" if it is not."""
    address, revision = str(block.get("address")), str(block.get("revision"))
    if hub.repository(address) is None or hub.is_commit(revision):
        return revision if hub.repository(address) else ""
    return _read_checksums(checksums).get(hub.api_address(address, revision), "")


def _record(checksums: Path | None, entries: Mapping[str, str], say: Callable[[str], None]) -> dict[str, str]:
    """Adds new entries to the file and returns its content; several downloads may do so at once."""
    if checksums is None:
        return dict(entries)
    checksums.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(checksums.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # released with the descriptor
        before = _read_checksums(checksums)
        merged = before | {address: value for address, value in entries.items() if value or address not in before}
        write_atomic(checksums, json.dumps(merged, indent=1, sort_keys=True) + "\n")
    finally:
        os.close(folder)
    for address, value in entries.items():
        if value:
            say(f"{checksums}: recorded {value} for {address}; commit it")
    return dict(entries)


def _check_room(option: str, source: Source, listing: hub.Listing | None, folder: Path) -> None:
    """Checks the free disk space for a model repository, whose file sizes are known beforehand."""
    missing = [name for name in source.files if not (folder / name).is_file()]
    if not missing or hub.repository(source.address) is None:
        return
    sizes = (listing or hub.listing(source.address, source.revision)).sizes
    parts = [folder / f"{name}.part" for name in missing]
    needed = sum(sizes.get(name, 0) for name in missing) - sum(part.stat().st_size for part in parts if part.is_file())
    place = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise SymphonyError(f"{option}: found {free} bytes free at {place}, allowed: {needed} or more, for {folder}")


def _manifest(option: str, source: Source, known: Mapping[str, str]) -> str:
    plain = {
        "option": option,
        "address": source.address,
        "revision": source.revision,
        "licence": source.licence,
        "sha256": dict(known),
    }
    return json.dumps(plain, indent=1, sort_keys=True) + "\n"


def _fetch_file(url: str, target: Path, sha: str, say: Callable[[str], None]) -> str:
    """Downloads a file and returns its sha256, which must be `sha` unless that is ""."""
    if target.is_file() and sha256(target) == sha:
        return sha
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    problem = refused = ""
    for _ in range(ATTEMPTS):
        try:
            _download(url, part)
            break
        except HTTPError as error:
            problem = f"HTTP {error.code}"
            if error.code < 500:
                refused = hub.refusal(url, error.code, error.reason)
                break
        except (URLError, HTTPException, ConnectionError, TimeoutError) as error:
            problem = hub.hidden(str(error))
    else:
        raise SymphonyError(f"{url}: found {problem} {ATTEMPTS} times, allowed: a whole file (run again to continue)")
    if refused:  # raised here, so that it does not keep the server's reply alive
        raise SymphonyError(refused)
    actual = sha256(part)
    if sha and actual != sha:
        part.unlink()
        raise SymphonyError(f"{url}: found sha256 {actual}, allowed: {sha}")
    part.replace(target)
    say(f"{target}: {target.stat().st_size} bytes")
    return actual


def _download(url: str, part: Path) -> None:
    """Appends what is missing to `part`; starts again if the server cannot resume."""
    have = part.stat().st_size if part.is_file() else 0
    try:
        answer = hub.opened(url, {"Range": f"bytes={have}-"} if have else {})
    except HTTPError as error:
        if error.code != 416:
            raise
        return  # nothing after our part: the checksum decides whether it is the file
    with answer, part.open("ab" if answer.status == 206 else "wb") as stream:
        _copy(answer, stream)


def _copy(answer: Any, stream: BinaryIO) -> None:
    expected = answer.headers.get("Content-Length")
    copied = 0
    while chunk := answer.read(CHUNK):
        stream.write(chunk)
        copied += len(chunk)
    if expected is not None and copied < int(expected):
        raise ConnectionError(f"{copied} of {expected} bytes")
