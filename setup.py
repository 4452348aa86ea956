"""Builds the extension from csrc/ against the installed torch; everything else is in pyproject.toml.

`prune._C` is for the CPU. `prune._C_cuda`, from the cuda/ directories of csrc/, is built where the installed torch has CUDA and a
CUDA toolkit is found; with PRUNE_CUDA=1 it is built with any torch, since nothing in it needs more than nvcc, and with
PRUNE_CUDA=0 it is left out.

ninja compiles in parallel (MAX_JOBS limits it), and only what has changed: it knows the headers of each object and the command
that made it. So the objects are kept, in build/.
"""

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from glob import glob
from pathlib import Path

import ninja
import pybind11
import torch
from setuptools import Extension, setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

FLAGS = ["-O3", "-fopenmp", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter"]
NVCC_FLAGS = ["-std=c++20", "-O3", "-lineinfo", "-Xcompiler", "-fPIC,-fvisibility=hidden,-Wall,-Wextra"]
if not os.environ.get("CFLAGS"):
    FLAGS.append(
        "-g0"
    )  # the flags that Python was built with have -g, which takes a third of the compiler's time
# Ampere, Hopper, and what the driver can compile for the rest
ARCHITECTURES = [
    "arch=compute_80,code=sm_80",
    "arch=compute_90,code=sm_90",
    "arch=compute_90,code=compute_90",
]
CSRC = str(Path("csrc").resolve())  # ninja runs elsewhere
# pip installs ninja next to python, which need not be on the search path
os.environ["PATH"] = os.pathsep.join([ninja.BIN_DIR, os.environ.get("PATH", os.defpath)])


def cuda_toolkit() -> Path | None:
    """The directory of the CUDA toolkit to build with, None if there is nothing to build."""
    wanted = os.environ.get("PRUNE_CUDA", "")
    if wanted not in ("", "0", "1"):
        sys.exit(f"PRUNE_CUDA is '{wanted}': give 1 to build for CUDA, 0 not to, or leave it unset")
    if wanted == "0" or (not wanted and torch.version.cuda is None):
        return None
    nvcc = shutil.which("nvcc")
    asked = os.environ.get("CUDA_HOME")
    candidates = [asked] if asked else [nvcc and Path(nvcc).resolve().parents[1], "/usr/local/cuda"]
    for home in filter(None, candidates):
        # /usr/local/bin/nvcc may be a link or a script that stands for another directory's
        if Path(home, "bin/nvcc").exists() and Path(home, "include/cuda_runtime_api.h").exists():
            return Path(home)
    if wanted:
        sys.exit(
            "PRUNE_CUDA is 1, but there is no nvcc: install the CUDA toolkit, or set CUDA_HOME to its directory"
        )
    print("no nvcc: the operators are built without CUDA, although torch has it", file=sys.stderr)
    return None


def sources(extension: str, *, cuda: bool) -> list[str]:
    """The files under csrc/ with this extension, inside or outside of the directories called cuda."""
    found = sorted(glob(f"csrc/**/*{extension}", recursive=True))
    return [f for f in found if ("cuda" in Path(f).parts or f == "csrc/cuda_module.cpp") == cuda]


def compile_cuda(toolkit: Path, directory: Path) -> list[str]:
    """Compile the .cu files into `directory`, what is up to date excepted; return the object files.

    torch's own build would do it, but refuses to with a torch without CUDA.
    """
    directory.mkdir(parents=True, exist_ok=True)
    generate = [flag for architecture in ARCHITECTURES for flag in ("-gencode", architecture)]
    flags = [*NVCC_FLAGS, *generate, "-I", CSRC]
    objects = {
        source: directory.resolve() / Path(source).with_suffix(".o") for source in sources(".cu", cuda=True)
    }

    def escaped(path: Path) -> str:
        return str(path).replace("$", "$$").replace(" ", "$ ").replace(":", "$:")

    nvcc = shlex.join([str(toolkit / "bin/nvcc"), *flags]).replace("$", "$$")
    rule = [
        "rule nvcc",
        f"  command = {nvcc} -MD -MF $out.d -c $in -o $out",
        "  depfile = $out.d",
        "  deps = gcc",
    ]
    builds = [f"build {escaped(o)}: nvcc {escaped(Path(source).resolve())}" for source, o in objects.items()]
    (directory / "build.ninja").write_text("\n".join([*rule, *builds, ""]))
    jobs = ["-j", os.environ["MAX_JOBS"]] if os.environ.get("MAX_JOBS") else []
    if subprocess.run(["ninja", "-C", str(directory), *jobs]).returncode:
        sys.exit(
            f"{toolkit}/bin/nvcc cannot compile csrc/: it has to be of CUDA 12 or newer and take this compiler; "
            "PRUNE_CUDA=0 builds without CUDA"
        )
    return [str(o) for o in objects.values()]


class Build(BuildExtension):
    """Torch's build, with its objects kept, and nvcc before the library for CUDA is linked."""

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.editable_mode:  # pip gives a directory that is gone afterwards
            self.build_temp = f"build/temp.{sysconfig.get_platform()}-{sys.implementation.cache_tag}"

    def build_extension(self, ext: Extension) -> None:
        before = self.build_temp
        if ext.name == "prune._C_cuda":
            # one directory for each library: torch writes a build.ninja into it
            self.build_temp = os.path.join(before, "cuda")
            ext.extra_objects = compile_cuda(TOOLKIT, Path(before, "nvcc"))
        super().build_extension(ext)
        self.build_temp = before


TOOLKIT = cuda_toolkit()
if not TOOLKIT:  # of an earlier build in place, perhaps against another torch
    for stale in glob("prune/_C_cuda*.so"):
        os.remove(stale)
extensions = [
    CppExtension(
        "prune._C",
        sources(".cpp", cuda=False),
        include_dirs=[CSRC, pybind11.get_include()],
        # no -march=native: the library has to load on every node of a mixed cluster
        extra_compile_args=FLAGS,
        extra_link_args=["-fopenmp"],
    )
]
if TOOLKIT:
    extensions.append(
        CppExtension(
            "prune._C_cuda",
            # the checks of the arguments are in both libraries
            [*sources(".cpp", cuda=True), *sorted(glob("csrc/**/checks.cpp", recursive=True))],
            include_dirs=[CSRC, pybind11.get_include(), str(TOOLKIT / "include")],
            extra_compile_args=FLAGS,
            # static, so that the library loads wherever torch does
            library_dirs=[str(TOOLKIT / "lib64")],
            libraries=["cudart_static", "dl", "rt", "pthread"],
        )
    )
setup(ext_modules=extensions, cmdclass={"build_ext": Build})
