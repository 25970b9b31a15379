"""Make an arm64 system and show what edgeseg does there: see scripts/arm64."""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from edgeseg._internal.files import sha256
from edgeseg.cli._terminal import quiet_native_logs

if TYPE_CHECKING:
    from edgeseg_converters.images import Samples

ROOT = Path(__file__).parent.parent
#: What an answer depends on, beside the data: the wheel's sources, the exporter and these scripts.
SOURCES = (
    "pyproject.toml",
    "edgeseg",
    "converters/edgeseg_converters",
    "scripts/_arm64.py",
    "scripts/_arm64_answers.py",
)
ANSWERS = Path(__file__).with_name("_arm64_answers.py")

#: qemu 7.2 of Debian 12 does not do: it shows the host's /proc/cpuinfo, and LiteRT dies of SIGSEGV there.
QEMU_FROM, SYSTEM = "trixie", "bookworm"
PYTHON = "3.11"  # Debian 12's
PACKAGES = "python3,python3-pip,ca-certificates,libgl1,libglib2.0-0,libxcb1"
PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
#: In the system: where this puts files, and the emulator.
WORK, QEMU = "work", "qemu-aarch64"

#: Whether each CPU computes in half precision and has LSE.
CPUS = {"cortex-a76": (True, True), "cortex-a53": (False, False)}
MIN_AGREEMENT = 0.995  # the gate of fp16
MIN_SAME_IDS = 0.999  # of a whole command: 15 of 174,080 pixels differed


@dataclass(frozen=True)
class Form:
    """A check: the size of the street model, how many images, and the packaged integer file."""

    name: str
    size: tuple[int, int]
    images: int
    int8: str


FULL = Form("full", (384, 480), 4, "efficientnet_lite0_unet.int8")
SMALL = Form("small", (192, 256), 1, "person_wide.int8")


def main() -> int:
    """Run a command."""
    usage = "scripts/arm64 make DIR | check DIR --data CAMVID | check DIR --small"
    parser = argparse.ArgumentParser(prog="scripts/arm64", usage=usage)
    commands = parser.add_subparsers(dest="command", required=True)
    for command in ("make", "check"):
        one = commands.add_parser(command)
        one.add_argument("folder", type=Path)
    one.add_argument("--small", action="store_true")
    one.add_argument("--data", type=Path, default=os.environ.get("EDGESEG_CAMVID"))
    given = parser.parse_args()
    if os.geteuid():
        sys.exit("scripts/arm64 needs root: it enters a system in a folder.")
    quiet_native_logs()
    machine = Machine(given.folder.absolute())
    if given.command == "make":
        machine.make()
        return 0
    if not given.small and given.data is None:
        sys.exit(f"usage: {usage}")
    return check(machine, SMALL, None) if given.small else check(machine, FULL, given.data)


class Machine:
    """An arm64 system in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.system = folder / "system"
        self.work = self.system / WORK
        self.partial = folder / ".edgeseg-arm64.partial"  # nobody else's: it is removed, as root

    def make(self) -> None:
        """Make what is not there: the emulator, the system, the wheels, and edgeseg in it."""
        if shutil.which("mmdebstrap") is None:
            sys.exit("scripts/arm64 needs mmdebstrap (Debian: apt install mmdebstrap).")
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self.system.exists():
            emulator, partial = self.folder / QEMU, self.partial
            if not emulator.exists():
                bootstrap(partial, QEMU_FROM, "--include=qemu-user")
                shutil.copy(partial / "usr" / "bin" / QEMU, emulator.with_suffix(".partial"))
                shutil.rmtree(partial)
                emulator.with_suffix(".partial").rename(emulator)
            bootstrap(partial, SYSTEM, "--architectures=arm64", f"--include={PACKAGES}")
            shutil.copy(emulator, partial / QEMU)
            for name in (WORK, "proc", "sys", "dev"):
                (partial / name).mkdir(exist_ok=True)
            partial.rename(self.system)
        made, digest = self.work / "made", tree_digest()
        if made.exists() and made.read_text() == digest:
            return
        wheels = self.work / "wheels"
        shutil.rmtree(wheels / "edgeseg", ignore_errors=True)
        pip = (sys.executable, "-m", "pip")
        run(*pip, "wheel", "--quiet", "--no-deps", "--wheel-dir", wheels / "edgeseg", ROOT)
        (wheel,) = (wheels / "edgeseg").glob("*.whl")
        platforms = [word for name in PLATFORMS for word in ("--platform", name)]
        tags = ["--python-version", PYTHON, "--implementation", "cp"]
        tags += [word for abi in (f"cp{PYTHON.replace('.', '')}", "abi3", "none") for word in ("--abi", abi)]
        download = ["download", "--quiet", "--dest", wheels, "--only-binary", ":all:"]
        run(*pip, *download, *platforms, *tags, f"{wheel}[tflite]")
        (wheels / wheel.name).unlink(missing_ok=True)  # it is in a folder of its own
        inside = f"/{WORK}/wheels"
        install = ["-m", "pip", "install", "--quiet", "--no-index", "--find-links", inside, "--break-system-packages"]
        install += ["--root-user-action", "ignore", "--no-warn-script-location", "--no-compile"]
        if made.exists():  # a newer edgeseg of the same version
            install += ["--no-deps", "--force-reinstall"]
        self.python("cortex-a76", *install, "--find-links", f"{inside}/edgeseg", "edgeseg[tflite]")
        for form in (FULL, SMALL):  # what another edgeseg answered
            for answered in self.work.glob(f"{form.name}*"):
                shutil.rmtree(answered)
        made.write_text(digest)

    def python(self, cpu: str, *arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the system's Python on a CPU; what is mounted for it nobody else sees."""
        mounts = 'mount -t proc proc "$1/proc" && mount --rbind /sys "$1/sys" && mount --rbind /dev "$1/dev"'
        # No process of it can start another: the kernel does not know arm64's programs. So no trial of a model.
        variables = ["PATH=/usr/bin:/bin", "HOME=/root", "LC_ALL=C.UTF-8", "EDGESEG_TRIAL_SECONDS=0"]
        chroot = shutil.which("chroot") or "chroot"  # not on the PATH of the system
        command = [
            "env",
            "-i",
            *variables,
            chroot,
            self.system,
            f"/{QEMU}",
            "-cpu",
            cpu,
            "/usr/bin/python3",
            *arguments,
        ]
        enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", f'{mounts} && shift && exec "$@"', "sh"]
        return run(*enter, self.system, *command, check=check)

    def inside(self, path: Path) -> str:
        """Return the path of a file as the system sees it."""
        return f"/{path.relative_to(self.system)}"


def tree_digest() -> str:
    """Return a digest of ``SOURCES``."""
    found = hashlib.sha256()
    for source in SOURCES:
        place = ROOT / source
        files = sorted(place.rglob("*")) if place.is_dir() else [place]
        for path in files:
            if path.is_file() and "__pycache__" not in path.parts:
                found.update(f"{path.relative_to(ROOT)} {sha256(path.read_bytes())}\n".encode())
    return found.hexdigest()


def answers_folder(machine: Machine, form: Form, images: Sequence[np.ndarray]) -> Path:
    """Return where the models and answers of these images are kept; ``make`` removes those of another edgeseg."""
    found = hashlib.sha256()
    for image in images:
        found.update(f"{image.shape}".encode())
        found.update(image.tobytes())
    return machine.work / f"{form.name}-{found.hexdigest()[:12]}"


def bootstrap(target: Path, suite: str, *options: str) -> None:
    """Unpack a Debian into a folder, from the mirror that apt is configured with."""
    shutil.rmtree(target, ignore_errors=True)
    listed = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages", "Origin: Debian").stdout
    mirrors = [line for line in listed.splitlines() if "security" not in line][:1]
    run("mmdebstrap", "--quiet", "--variant=extract", *options, suite, target, *mirrors)


def run(*command: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command; what it says is shown where it fails."""
    done = subprocess.run(
        list(map(str, command)), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if check and done.returncode:
        sys.exit(
            f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}{done.stderr[-2000:]}\nexit status {done.returncode}"
        )
    return done


def check(machine: Machine, form: Form, data: Path | None) -> int:
    """Run the files on both CPUs and here, compare, print what was found, and return 1 where a claim does not hold."""
    from edgeseg_converters.images import collect

    made = machine.work / "made"
    if not made.exists():
        sys.exit(f"there is no system in {machine.folder}: scripts/arm64 make {machine.folder}")
    if made.read_text() != tree_digest():
        sys.exit(f"the system in {machine.folder} is of another edgeseg: run scripts/arm64 make {machine.folder} again")
    samples = collect(data, split="test", count=form.images)
    folder = answers_folder(machine, form, samples.images[: form.images])
    tensors = folder / "tensors"
    models = prepare(folder, tensors, form, samples)
    shutil.copy(ANSWERS, machine.work)
    said: dict[str, dict[str, Any]] = {}
    answers: dict[tuple[str, str], list[np.ndarray]] = {}
    for cpu in ("here", *CPUS):
        for name, model in models.items():
            if cpu != "here" and name == "fp32":
                continue
            outputs, before = folder / "outputs" / cpu / name, os.times().children_user
            outputs.mkdir(parents=True, exist_ok=True)
            answered = outputs / "said.json"
            given = (model, tensors / ("int8" if name == "int8" else "float"), outputs)
            if not answered.exists():
                if cpu == "here":
                    done = run(sys.executable, ANSWERS, *given)
                else:
                    done = machine.python(cpu, f"/{WORK}/{ANSWERS.name}", *map(machine.inside, given))
                answered.write_text(done.stdout.splitlines()[-1])
            said[f"{name} {cpu}"] = json.loads(answered.read_text())
            answers[name, cpu] = [np.load(path) for path in sorted(outputs.glob("*.npy"))]
            print(f"{name} on {cpu}: {os.times().children_user - before:.0f} s of a CPU", flush=True)
    claims = []
    for holds, text in itertools.chain(
        compared(form, answers, said), commands(machine, models["int8"], folder / "image.png")
    ):
        print("ok    " if holds else "FAILED", text, flush=True)
        claims.append([bool(holds), text])
    results = machine.folder / f"{form.name}.json"
    about = {"date": time.strftime("%Y-%m-%d"), "machine": platform.processor() or platform.machine(), "said": said}
    results.write_text(json.dumps({**about, "claims": claims}, indent=1) + "\n")
    return 0 if all(holds for holds, _ in claims) else 1


def prepare(folder: Path, tensors: Path, form: Form, samples: Samples) -> dict[str, Path]:
    """Make the models and their inputs, once; the models give logits."""
    from edgeseg.imaging import encode_image, preprocess
    from edgeseg.models.opening import ModelRequest, load_model
    from edgeseg.models.packaged_files import find_file
    from edgeseg.runtime.artifact import read_tflite
    from edgeseg_converters import ExportOptions, Recipe, export_all

    models = {name: folder / f"{name}.tflite" for name in ("fp32", "fp16", "plain", "int8")}
    if (folder / "prepared").exists():
        return models
    folder.mkdir(exist_ok=True)
    opened = load_model("efficientnet_lite0_unet", ModelRequest(input_size=form.size))
    for half, precisions in ((True, ("fp32", "fp16")), (False, ("fp16",))):
        options = ExportOptions(output_kind="logits", half_arithmetic=half)
        for result in export_all(
            opened.model, opened.spec, [Recipe("tflite", each) for each in precisions], samples=samples, options=options
        ):
            if result.failure:
                sys.exit(f"{result.file_name} {result.failure}")
            name = "plain" if not half else result.recipe.precision
            models[name].write_bytes(result.data)
            if result.half:
                print(result.file_name, result.half.sentence, flush=True)
    shutil.copy(find_file(form.int8), models["int8"])
    for kind, model in (("float", models["fp32"]), ("int8", models["int8"])):
        (tensors / kind).mkdir(parents=True, exist_ok=True)
        spec = read_tflite(model)[2]
        assert spec is not None
        for number, image in enumerate(samples.images[: form.images]):
            np.save(tensors / kind / f"{number}.npy", preprocess(image, spec)[0])
    (folder / "image.png").write_bytes(encode_image(samples.images[0]))
    (folder / "prepared").write_text(samples.source)
    return models


def compared(form: Form, answers: dict[tuple[str, str], list[np.ndarray]], said: dict[str, dict[str, Any]]) -> Any:
    """Yield what holds of the outputs, and a sentence with the numbers.

    All pixels of the images that the model is for have to agree; of another film, which the small form has, those that
    are decided by more than half precision rounds, as `edgeseg verify` judges a file.
    """
    from edgeseg_converters.verification.proof import ROUNDING

    new, old = CPUS
    expected = answers["fp32", "here"]
    for cpu, (half, lse) in CPUS.items():
        found = said[f"fp16 {cpu}"]
        yield (
            found["half_arithmetic"] is half,
            f"{cpu} says half arithmetic of the asking file: {found['half_arithmetic']}",
        )
        yield found["lse"] is lse, f"{cpu} says LSE: {found['lse']}"
        yield equal(answers["int8", cpu], answers["int8", "here"]), f"int8 on {cpu} is bit-equal with this machine"
        difference = max(
            np.abs(a - b).max() for a, b in zip(answers["plain", cpu], answers["plain", "here"], strict=True)
        )
        yield difference < 1e-3, f"plain fp16 on {cpu} is within {difference:.1e} of this machine's logits"
    differs = not equal(answers["fp16", new], answers["plain", new])
    yield differs, f"the asking fp16 file differs from the plain one on {new}"
    yield (
        equal(answers["fp16", old], answers["plain", old]),
        f"the asking fp16 file is bit-equal with the plain on {old}",
    )
    for name, cpu in (("plain", "here"), ("plain", new), ("fp16", new)):
        pairs = list(zip(answers[name, cpu], expected, strict=True))
        same = [a.argmax(-1) == b.argmax(-1) for a, b in pairs]
        decided = [each[leads(b) > ROUNDING["fp16"]] for each, (_, b) in zip(same, pairs, strict=True)]
        errors = [np.abs(a - b) for a, b in pairs]
        share, of_decided = (float(np.mean([each.mean() for each in kind])) for kind in (same, decided))
        yield (
            (of_decided if form is SMALL else share) >= MIN_AGREEMENT,
            f"{name} on {cpu}: {share:.3%} of all pixels have the class of fp32 here, {of_decided:.3%} of those that "
            f"are decided by more than rounding; worst image {min(each.mean() for each in same):.3%} of all, largest "
            f"difference of a logit {max(error.max() for error in errors):.2f}, mean "
            f"{np.mean([error.mean() for error in errors]):.4f}",
        )


def commands(machine: Machine, model: Path, image: Path) -> Any:
    """Yield what holds of the commands, as typed there."""
    masks = []
    for cpu in ("here", *CPUS):
        out = image.parent / "masks" / cpu
        shutil.rmtree(out, ignore_errors=True)
        command = ["-m", "edgeseg", "predict", model, image, "--save", out, "--visualize", "ids"]
        if cpu == "here":
            run(sys.executable, *command)
        else:
            paths = {str(path): machine.inside(path) for path in (model, image, out)}
            machine.python(cpu, *(paths.get(str(word), str(word)) for word in command))
        (path,) = out.rglob("*.png")
        masks.append(cv2.imread(str(path), cv2.IMREAD_UNCHANGED))
    here, new, old = masks
    yield equal([new], [old]), "edgeseg predict writes the same class ids on both"
    # The model's answers are the same bits; OpenCV, which scales the image before and the scores after, is not.
    same = float((new == here).mean())
    yield same >= MIN_SAME_IDS, f"{same:.3%} of the class ids that edgeseg predict writes are those of this machine"
    command = ["-m", "edgeseg", "predict", machine.inside(model), machine.inside(image), "--count"]
    old = machine.python("cortex-a53", *command, "--backend", "litert-compiled", check=False)
    last = old.stderr.strip().splitlines()[-1:]
    told = old.returncode == 2 and "no atomic instructions (LSE" in old.stderr
    yield told, f"cortex-a53 refuses CompiledModel: {''.join(last)}"


def leads(scores: np.ndarray) -> np.ndarray:
    """Return by how much the best score of each pixel leads, over the largest."""
    ordered = np.sort(scores, axis=-1)
    return np.asarray((ordered[..., -1] - ordered[..., -2]) / np.abs(scores).max())


def equal(a: Sequence[np.ndarray], b: Sequence[np.ndarray]) -> bool:
    """Return whether arrays are the same bit for bit."""
    return len(a) == len(b) > 0 and all(x.tobytes() == y.tobytes() for x, y in zip(a, b, strict=True))


if __name__ == "__main__":
    sys.exit(main())
