"""Only what pyproject.toml cannot say: which cffi module is compiled."""

from setuptools import setup

setup(cffi_modules=["reader_c/build.py:ffibuilder"])
