"""The run folder: where everything a run knows is kept, and how it is written so that it survives a kill.

Each step writes `record.json` into its own folder last and atomically, with hashes of what it was made
from; a step without a record was never finished. Rows of long work go to JSON lines, one flush a row; a row
that was cut in half is ignored. Nothing is ever unpickled.
"""

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hurricane.errors import RunError

FORMAT = 1
RUN_FILE = "run.json"
RECORD_FILE = "record.json"


def digest(value: Any) -> str:
    """A short stable hash of plain values (JSON)."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """A short hash of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """A path to write to, which becomes `path` only when all went well; RunError where it cannot be written."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield scratch
        with scratch.open("rb+") as stream:
            os.fsync(stream.fileno())
        scratch.replace(path)
    except OSError as error:
        raise RunError(_cannot_write(path, error)) from error
    finally:
        # On a full or read-only disk removing may fail too; the first error is the one to tell.
        with suppress(OSError):
            scratch.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with writing(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write plain values as JSON atomically."""
    write_text(path, json.dumps(value, indent=1) + "\n")


def read_json(path: Path) -> Any:
    """The values of a JSON file; RunError where it is damaged or missing."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing; run the step that writes it again") from error
    except (ValueError, OSError) as error:
        raise RunError(f"{path} cannot be read ({error}); delete it and run again") from error


def append_row(path: Path, row: Mapping[str, Any]) -> None:
    """Add one line to a JSON lines file and flush it; a half-written last line is completed first."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        cut_off = path.exists() and path.stat().st_size > 0 and _last_byte(path) != b"\n"
        with path.open("a", encoding="utf-8") as stream:
            stream.write(("\n" if cut_off else "") + json.dumps(row) + "\n")
    except OSError as error:
        raise RunError(_cannot_write(path, error)) from error


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file that are whole; none where there is no file."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict):
            rows.append(row)
    return rows


def _last_byte(path: Path) -> bytes:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1)


def _cannot_write(path: Path, error: OSError) -> str:
    if error.errno == errno.ENOSPC:
        return f"the disk is full, {path} could not be written; free some room and run again: finished work is kept"
    return f"{path} cannot be written ({error.strerror}); choose a folder that you may write to"


@dataclass(frozen=True, slots=True)
class Run:
    """A run folder. `folder` exists and holds `run.json` once `create` or `open` has returned."""

    folder: Path

    @staticmethod
    def exists(folder: Path) -> bool:
        """Whether the folder holds a run."""
        return (folder / RUN_FILE).is_file()

    @staticmethod
    def create(folder: Path, facts: Mapping[str, Any]) -> "Run":
        """A new run with its facts; RunError where the folder holds something else or cannot be written."""
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file; choose a folder for the run")
        if folder.is_dir() and any(not name.name.startswith(".") for name in folder.iterdir()):
            raise RunError(f"{folder} holds other files and is no run; choose a new or empty folder")
        empty = {"format": FORMAT, "decisions": {}, "seconds": {}, "commands": []}
        write_json(folder / RUN_FILE, {**empty, **facts})
        return Run(folder)

    @staticmethod
    def open(folder: Path) -> "Run":
        """The run in a folder; RunError where there is none or it was written by a newer Hurricane."""
        if not Run.exists(folder):
            raise RunError(
                f"{folder} is no run of Hurricane (it has no {RUN_FILE}); `hurricane run` makes one"
            )
        try:
            facts = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
            newer = facts["format"] > FORMAT
            kinds = {"decisions": dict, "identity": dict, "seconds": dict, "commands": list}
            whole = newer or all(isinstance(facts[name], kind) for name, kind in kinds.items())
        except (OSError, ValueError, KeyError, TypeError):
            newer = whole = False
        if newer:
            raise RunError(f"{folder} was written by a newer Hurricane; upgrade to go on with it")
        if not whole:
            raise RunError(f"{folder / RUN_FILE} is damaged; choose a new folder for the run")
        return Run(folder)

    def path(self, *parts: str) -> Path:
        """A path inside the run folder."""
        return self.folder.joinpath(*parts)

    def facts(self) -> dict[str, Any]:
        """What `run.json` says: format, what identifies the run, and the decisions so far."""
        facts: dict[str, Any] = read_json(self.path(RUN_FILE))
        return facts

    def update(self, **facts: Any) -> None:
        """Change entries of `run.json`."""
        write_json(self.path(RUN_FILE), {**self.facts(), **facts})

    def decision(self, name: str) -> Any | None:
        """What was decided before under this name, or None. Decisions are recorded before they are used."""
        return self.facts()["decisions"].get(name)

    def decide(self, name: str, value: Any) -> None:
        """Record a decision, so that resuming uses the same; None takes it back."""
        decisions = {k: v for k, v in self.facts()["decisions"].items() if k != name}
        self.update(decisions=decisions if value is None else {**decisions, name: value})

    def record(self, step: str) -> dict[str, Any] | None:
        """The record of a finished step, or None where it was never finished (or its record is damaged)."""
        path = self.path(*step.split("/"), RECORD_FILE)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) and "key" in record else None

    def finish(self, step: str, key: str, **content: Any) -> dict[str, Any]:
        """Write the record of a step, last and atomically. key: hash of all that it was made from."""
        record = {"step": step, "key": key, **content}
        write_json(self.path(*step.split("/"), RECORD_FILE), record)
        return record

    def forget(self, step: str) -> None:
        """Remove the record of a step, so that it counts as missing."""
        self.path(*step.split("/"), RECORD_FILE).unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the run for this process; RunError where another process holds it.

        The lock belongs to the process, so one left by a process that died does not hold anybody up.
        """
        try:
            stream = self.path(".lock").open("w")
        except OSError as error:
            raise RunError(_cannot_write(self.folder, error)) from error
        with stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                raise RunError(
                    f"{self.folder} is in use by another process; wait for it or stop it"
                ) from error
            yield
