"""Builds the extension `prune._C` from csrc/ against the installed torch; everything else is in pyproject.toml."""

from glob import glob

import pybind11
from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

setup(
    ext_modules=[
        CppExtension(
            "prune._C",
            sorted(glob("csrc/*.cpp")),
            include_dirs=[pybind11.get_include()],
            # no -march=native: the library has to load on every node of a mixed cluster
            extra_compile_args=[
                "-O3",
                "-fopenmp",
                "-fvisibility=hidden",
                "-Wall",
                "-Wextra",
                "-Wno-unused-parameter",
            ],
            extra_link_args=["-fopenmp"],
        )
    ],
    cmdclass={"build_ext": BuildExtension},
)
