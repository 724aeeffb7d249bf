"""Compiled kernels on disk: one JSON file each, found by what went into it.

The cache saves time and nothing else: what cannot be read is compiled again, what cannot be written is not kept.
"""

from __future__ import annotations

import base64
import hashlib
import json
import logging
import os
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ._core import DeviceSpec, KernelResources
from .sources import KernelSource, TemplateSource

log = logging.getLogger("gemm_tuner")
_SCHEMA = 2
_FIRST_TIED = 90  # compute capability from which Triton names the architecture sm_90a, sm_120a...


@dataclass(frozen=True)
class Target:
    """Compute capabilities: which GPU's code it is, and which GPU's assembler turns that into machine code (86, 90)."""

    code: int
    machine: int

    @staticmethod
    def of(device: DeviceSpec, assemble_for: int | None = None) -> Target:
        """The device's code, for itself or another GPU. Raises ValueError where it does not run there."""
        code, machine = device.compute_capability, assemble_for or device.compute_capability
        if machine < code:
            raise ValueError(f"code of compute capability {code / 10:.1f} does not run on {machine / 10:.1f}")
        if machine > code >= _FIRST_TIED:
            raise ValueError(
                f"from compute capability {_FIRST_TIED / 10:.1f} on Triton writes code for that one alone, so that of "
                f"{code / 10:.1f} cannot be assembled for {machine / 10:.1f}; take a device of an older one"
            )
        return Target(code, machine)


@dataclass(frozen=True)
class Template:
    """What only rendering tells of a template of Inductor's: its id, what its parameters point to, and its grid."""

    kernel_id: str
    operands: tuple[str, ...]
    grid: tuple[int, int, int]

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Template:
        """The inverse of dataclasses.asdict, also after JSON has made lists of tuples."""
        x, y, z = values["grid"]
        return Template(str(values["kernel_id"]), tuple(map(str, values["operands"])), (int(x), int(y), int(z)))


@dataclass(frozen=True)
class Binary:
    """One compiled kernel: the cubin, its entry point, the warps of a CTA, and what it needs of an SM.

    global_scratch_bytes: of device memory that each CTA wants for itself. template: None for the kernels of this
    package, which `sources` tells all about.
    """

    entry: str
    num_warps: int
    resources: KernelResources
    seconds: float
    cubin: bytes = field(repr=False)
    global_scratch_bytes: int = 0
    template: Template | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {
            "entry": self.entry,
            "num_warps": self.num_warps,
            "resources": self.resources.to_dict(),
            "seconds": self.seconds,
            "cubin": base64.b64encode(self.cubin).decode(),
            "global_scratch_bytes": self.global_scratch_bytes,
            "template": None if self.template is None else asdict(self.template),
        }

    @staticmethod
    def from_dict(values: dict[str, Any]) -> Binary:
        """The inverse of to_dict. Raises KeyError, TypeError or ValueError where it is none."""
        return Binary(
            entry=str(values["entry"]),
            num_warps=int(values["num_warps"]),
            resources=KernelResources.from_dict(values["resources"]),
            seconds=float(values["seconds"]),
            cubin=base64.b64decode(values["cubin"], validate=True),
            global_scratch_bytes=int(values["global_scratch_bytes"]),
            template=None if values["template"] is None else Template.from_dict(values["template"]),
        )


def binary_key(source: KernelSource | TemplateSource, target: Target, source_hash: str, triton_version: str) -> str:
    """Names what the compiler was given: the same key, the same machine code."""
    given = json.dumps([_SCHEMA, source.to_dict(), asdict(target), source_hash, triton_version])
    return hashlib.sha256(given.encode()).hexdigest()[:32]


class BinaryCache:
    """A folder of `key.json` files, each with a checksum of itself."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._writable = True

    def read(self, key: str) -> Binary | None:
        """The kept binary; None where there is none or where it is damaged, which is logged."""
        path = self._path(key)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["checksum"] != _checksum(kept["binary"]):
                raise ValueError("its checksum is not that of its content")
            return Binary.from_dict(kept["binary"])
        except FileNotFoundError:
            return None
        except (OSError, KeyError, TypeError, ValueError) as error:
            log.warning("ignoring the cached kernel %s, which is damaged or unreadable: %s", path, error)
            return None

    def write(self, key: str, binary: Binary) -> None:
        """Keeps the binary. A full or read-only disk is logged once and changes nothing else."""
        if not self._writable:
            return
        content = binary.to_dict()
        text = json.dumps({"checksum": _checksum(content), "binary": content})
        try:
            path = self._path(key)
            path.parent.mkdir(parents=True, exist_ok=True)
            _write_atomically(path, text)
        except OSError as error:
            self._writable = False
            log.warning("compiled kernels are not kept, as %s cannot be written: %s", self._folder, error)

    def _path(self, key: str) -> Path:
        return self._folder / key[:2] / f"{key}.json"


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_atomically(path: Path, text: str) -> None:
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
