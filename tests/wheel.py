"""Build sdist and wheel, look into them, install the wheel into an empty environment and play a song there.

python tests/wheel.py [FOLDER]      the wheel and the sdist go to FOLDER, by default build/dist
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

CLONE = Path(__file__).resolve().parents[1]
LARGEST_BYTES = 25_000_000  # of the wheel, and of the sdist
LARGEST_OTHER_BYTES = 1_000_000  # of a file that is not a network
TRY = """
import synthnet
audio = synthnet.load("trumpet").play("song.mid", duration_s=1.0)
assert abs(audio.samples).max() > 0.01
audio.save("api.wav")
"""


def run(*command: object, cwd: Path) -> None:
    """Run a command; its output is shown."""
    print("+", *command, flush=True)
    subprocess.run([str(word) for word in command], cwd=cwd, check=True)


def check_contents(name: Path, sizes: dict[str, int], shipped: list[str]) -> None:
    """Exit unless the networks, cards and scores are in, and nothing else that is large."""
    missing = [path for path in shipped if path not in sizes]
    large = [path for path, n in sizes.items() if n > LARGEST_OTHER_BYTES and not path.endswith(".safetensors")]
    if missing or large or name.stat().st_size > LARGEST_BYTES:
        sys.exit(f"{name}: {name.stat().st_size} bytes; missing: {missing}; large: {large}")
    print(f"{name.name}: {len(sizes)} files, {name.stat().st_size / 1e6:.1f} MB")


def main() -> None:
    """Build, check, install, play."""
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else CLONE / "build" / "dist").resolve()
    for old in [*folder.glob("synthnet-*.whl"), *folder.glob("synthnet-*.tar.gz")]:
        old.unlink()
    run(sys.executable, "-m", "build", "--outdir", folder, cwd=CLONE)
    (wheel,), (sdist,) = folder.glob("synthnet-*.whl"), folder.glob("synthnet-*.tar.gz")

    networks = [str(path.relative_to(CLONE)) for path in sorted((CLONE / "synthnet" / "shipped").iterdir())]
    scores = [str(path.relative_to(CLONE)) for path in sorted((CLONE / "data" / "scores").glob("*.mid"))]
    with zipfile.ZipFile(wheel) as archive:
        inside = {entry.filename: entry.file_size for entry in archive.infolist()}
    check_contents(wheel, inside, [*networks, *(f"synthnet/{path}" for path in scores), "synthnet/py.typed"])
    with tarfile.open(sdist) as packed:
        unpacked = {entry.name.partition("/")[2]: entry.size for entry in packed.getmembers()}
    check_contents(sdist, unpacked, [*networks, *scores, "pyproject.toml", "LICENSE"])

    with tempfile.TemporaryDirectory() as name:
        empty = Path(name)
        run(sys.executable, "-m", "venv", "env", cwd=empty)
        python = empty / "env" / "bin" / "python"
        run(python, "-m", "pip", "install", "--quiet", "--constraint", CLONE / "constraints.txt", wheel, cwd=empty)
        (empty / "song.mid").write_bytes((CLONE / scores[-1]).read_bytes())
        run(python.with_name("synthnet"), "render", "song.mid", "--duration", 2, "-o", "song.wav", cwd=empty)
        run(python, "-c", TRY, cwd=empty)
        made = {path.name: path.stat().st_size for path in empty.glob("*.wav")}
        if min(made.get("song.wav", 0), made.get("api.wav", 0)) < 50_000:
            sys.exit(f"too little sound: {made}")
    print(f"the wheel plays: {wheel}")


if __name__ == "__main__":
    main()
