"""`python scripts/check_package.py DIST`: wheel and sdist hold what they should, and the wheel works alone.

The wheel holds the tracked files of the package and its metadata, nothing else; the sdist makes the same wheel; and
installed into an empty folder, without the sources beside it, the wheel finds a circuit. Says what is wrong and exits with 1.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Where the dependencies are; the copy of edgewise that is tried comes before it.
RUN = (
    "import edgewise, sys; from edgewise.cli import main; "
    "assert edgewise.__file__.startswith(sys.argv.pop(1)), edgewise.__file__; main()"
)


def main(dist: Path) -> None:
    """Check the one wheel and the one sdist in a folder."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    tracked = subprocess.run(["git", "ls-files", "src/edgewise"], cwd=ROOT, capture_output=True, text=True, check=True)
    expected = {line.removeprefix("src/") for line in tracked.stdout.splitlines()}
    found = files(wheel)
    same(found, expected, "the wheel", "the tracked files of src/edgewise")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place).resolve()
        with tarfile.open(sdist) as archive:
            archive.extractall(folder, filter="data")
        (source,) = folder.iterdir()
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "again")]
        subprocess.run(build, cwd=source, check=True, capture_output=True)
        (again,) = (folder / "again").glob("*.whl")
        same(files(again), found, "the wheel made from the sdist", "the wheel")
        finds_a_circuit(wheel, folder)
    print(f"{wheel.name}: {len(found)} files, as they should be; {sdist.name} makes the same; it finds a circuit")


def files(wheel: Path) -> set[str]:
    """What a wheel installs, without its metadata."""
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def same(found: set[str], expected: set[str], what: str, than: str) -> None:
    """Ends the program if the two differ."""
    if found != expected:
        more, fewer = sorted(found - expected), sorted(expected - found)
        sys.exit(f"{what} holds {more or 'nothing'} more and {fewer or 'nothing'} less than {than}")


def finds_a_circuit(wheel: Path, folder: Path) -> None:
    """Runs the command line of the wheel, installed into an empty folder."""
    installed = folder / "installed"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", str(installed)]
    subprocess.run([*pip, str(wheel)], check=True)
    command = [sys.executable, "-c", RUN, str(installed), "discover", "--examples", "8", "--quiet"]
    environment = {**os.environ, "PYTHONPATH": str(installed), "HF_HUB_OFFLINE": "1"}
    subprocess.run([*command, "--out", str(folder / "run")], cwd=folder, env=environment, check=True)
    if not (folder / "run" / "circuit.json").is_file():
        sys.exit("the wheel found no circuit")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
