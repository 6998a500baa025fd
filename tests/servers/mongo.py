"""MongoDB's wire protocol from the JVM: there is no MongoDB itself where these tests run.

``python -m tests.servers.mongo PORT [FILE]`` serves it by hand, in memory or from a file;
``--build`` only builds it. Tried as a second opinion and left out: FerretDB 1.24 on SQLite, whose
updates are not atomic (of eight clients that race for a document several win), whose negated
conditions on arrays of documents are wrong, and which refuses TTL and partial indexes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.servers.runtime import need, unavailable
from tests.servers.server import BUILT, Server

SOURCE = Path(__file__).with_name("mongo")


def jar() -> Path:
    """Return the server's program, built once for what its sources say.

    Raises
    ------
    subprocess.CalledProcessError
        When it cannot be built.
    """
    digest = hashlib.sha256()
    for path in sorted(path for path in SOURCE.rglob("*") if path.is_file()):
        digest.update(path.read_bytes())
    built = BUILT / f"mongo-{digest.hexdigest()[:12]}"
    BUILT.mkdir(parents=True, exist_ok=True)
    with (BUILT / "mongo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may ask at once
        if not built.exists():
            unfinished = BUILT / "mongo-unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            maven = ["mvn", "-q", "-B", "-ntp", "-f", SOURCE, f"-Dtarget={unfinished}", "package"]
            subprocess.run(maven, check=True, capture_output=True, text=True)
            unfinished.rename(built)
    return built / "server.jar"


class MongoServer(Server):
    """A server of MongoDB's wire protocol.

    Parameters
    ----------
    directory : Path
        For its file.
    keeps : bool
        Whether it keeps its data in a file, each write before its answer; else in memory.
    """

    def __init__(self, directory: Path, *, keeps: bool = False) -> None:
        need(programs=("java", "mvn"), packages=("pymongo",))
        super().__init__(directory)
        self.url = f"mongodb://127.0.0.1:{self.port}/flowkit"
        self._file = directory / "mongo.db" if keeps else None
        try:
            self._jar = jar()
        except subprocess.CalledProcessError as error:
            unavailable(f"the MongoDB server cannot be built: {error.stdout[-500:]}")
        self.start()

    def command(self) -> list[str]:
        return command(self._jar, self.port, self._file)

    def answers(self) -> bool:
        return answers(self.url)


def command(program: Path, port: int, file: Path | None) -> list[str]:
    """Return the command line of the server."""
    return ["java", "-jar", str(program), str(port), *([str(file)] if file else [])]


def answers(url: str) -> bool:
    """Return whether a server of MongoDB's protocol answers at `url`."""
    import pymongo
    from pymongo.errors import ConnectionFailure

    with pymongo.MongoClient(url, serverSelectionTimeoutMS=200) as client:
        try:
            return bool(client.admin.command("ping"))
        except ConnectionFailure:
            return False


if __name__ == "__main__":
    program = jar()
    if sys.argv[1] != "--build":
        words = command(program, int(sys.argv[1]), Path(sys.argv[2]) if sys.argv[2:] else None)
        os.execvp(words[0], words)
