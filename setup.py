"""Builds the extension from csrc/ against the installed torch; everything else is in pyproject.toml.

`prune._C` is for the CPU. `prune._C_cuda`, from csrc/cuda/, is built where the installed torch has CUDA and a CUDA toolkit is
found; with PRUNE_CUDA=1 it is built with any torch, since nothing in it needs more than nvcc, and with PRUNE_CUDA=0 it is left
out.
"""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from glob import glob
from pathlib import Path

import pybind11
import torch
from setuptools import Extension, setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

FLAGS = ["-O3", "-fopenmp", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-unused-parameter"]
# Ampere, Hopper, and what the driver can compile for the rest
ARCHITECTURES = [
    "arch=compute_80,code=sm_80",
    "arch=compute_90,code=sm_90",
    "arch=compute_90,code=compute_90",
]


def cuda_toolkit() -> Path | None:
    """The folder of the CUDA toolkit to build with, None if there is nothing to build."""
    wanted = os.environ.get("PRUNE_CUDA", "")
    if wanted not in ("", "0", "1"):
        sys.exit(f"PRUNE_CUDA is '{wanted}': give 1 to build for CUDA, 0 not to, or leave it unset")
    if wanted == "0" or (not wanted and torch.version.cuda is None):
        return None
    nvcc = shutil.which("nvcc")
    asked = os.environ.get("CUDA_HOME")
    candidates = [asked] if asked else [nvcc and Path(nvcc).resolve().parents[1], "/usr/local/cuda"]
    for home in filter(None, candidates):
        # /usr/local/bin/nvcc may be a link or a script that stands for another folder's
        if Path(home, "bin/nvcc").exists() and Path(home, "include/cuda_runtime_api.h").exists():
            return Path(home)
    if wanted:
        sys.exit(
            "PRUNE_CUDA is 1, but there is no nvcc: install the CUDA toolkit, or set CUDA_HOME to its folder"
        )
    print("no nvcc: the operators are built without CUDA, although torch has it", file=sys.stderr)
    return None


def compile_cuda(toolkit: Path, folder: Path) -> list[str]:
    """Compile csrc/cuda/*.cu into `folder`, what is up to date excepted; return the object files.

    torch's own build would do it, but refuses to with a torch without CUDA.
    """
    folder.mkdir(parents=True, exist_ok=True)
    headers = max(
        Path(h).stat().st_mtime for h in [__file__, *glob("csrc/cuda/*.h"), *glob("csrc/cuda/*.cuh")]
    )

    def compile_one(source: str) -> str:
        target = folder / Path(source).with_suffix(".o").name
        if not target.exists() or target.stat().st_mtime < max(headers, Path(source).stat().st_mtime):
            flags = [
                "-std=c++20",
                "-O3",
                "-lineinfo",
                "-Xcompiler",
                "-fPIC,-fvisibility=hidden,-Wall,-Wextra",
            ]
            generate = [flag for architecture in ARCHITECTURES for flag in ("-gencode", architecture)]
            partial = target.with_suffix(".partial.o")  # so that what was interrupted does not look finished
            nvcc = [str(toolkit / "bin/nvcc"), *flags, *generate, "-c", source, "-o", str(partial)]
            if subprocess.run(nvcc).returncode:
                raise SystemExit(
                    f"{nvcc[0]} cannot compile {source}: it has to be of CUDA 12 or newer and take this compiler; "
                    "PRUNE_CUDA=0 builds without CUDA"
                )
            partial.replace(target)
        return str(target)

    with ThreadPoolExecutor(int(os.environ.get("MAX_JOBS") or os.cpu_count() or 1)) as pool:
        return list(pool.map(compile_one, sorted(glob("csrc/cuda/*.cu"))))


class Build(BuildExtension):
    """Torch's build, and nvcc before the library for CUDA is linked."""

    def build_extension(self, ext: Extension) -> None:
        before = self.build_temp
        if ext.name == "prune._C_cuda":
            self.build_temp = os.path.join(before, "cuda")  # the two share sources, but not flags
            ext.extra_objects = compile_cuda(TOOLKIT, Path(self.build_temp))
        super().build_extension(ext)
        self.build_temp = before


TOOLKIT = cuda_toolkit()
if not TOOLKIT:  # of an earlier build in place, perhaps against another torch
    for stale in glob("prune/_C_cuda*.so"):
        os.remove(stale)
extensions = [
    CppExtension(
        "prune._C",
        sorted(glob("csrc/*.cpp")),
        include_dirs=[pybind11.get_include()],
        # no -march=native: the library has to load on every node of a mixed cluster
        extra_compile_args=FLAGS,
        extra_link_args=["-fopenmp"],
    )
]
if TOOLKIT:
    extensions.append(
        CppExtension(
            "prune._C_cuda",
            [
                *sorted(glob("csrc/cuda/*.cpp")),
                "csrc/global_mask_checks.cpp",
                "csrc/masked_linear_checks.cpp",
            ],
            include_dirs=[pybind11.get_include(), str(TOOLKIT / "include")],
            extra_compile_args=FLAGS,
            # static, so that the library loads wherever torch does
            library_dirs=[str(TOOLKIT / "lib64")],
            libraries=["cudart_static", "dl", "rt", "pthread"],
        )
    )
setup(ext_modules=extensions, cmdclass={"build_ext": Build})
