"""MIG profiles by rule: what a slice of an A30, A100, H100, H200 or GH200 has of its parent.

The rule. NVIDIA's MIG user guide ("Supported MIG Profiles") gives each profile a number of compute slices (the `3` of
`3g.40gb`) and a number of memory slices. Memory size, bandwidth and L2 follow the memory slices; SMs follow the
compute slices, as `nvidia-smi mig -lgip` prints them for each chip:

- GA100 (A30, A100): a compute slice is 14 SMs.
- GH100 with 132 SMs (H100 SXM and NVL, H200, GH200): a compute slice is 16 SMs; a profile that has more memory slices
  than compute slices also gets 10 (1g) or 12 (3g) of the SMs that no slice owns.
- GH100 with 114 SMs (H100 PCIe): a compute slice is 16 SMs, and every partial profile is 2 short.
- A profile of all compute slices gets every SM that the rule does not leave out (98 of the A100's 108; all of a GH100).

Bandwidth per profile is published nowhere: its share by memory slices is an estimate, and is marked so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ._core import DeviceSpec


@dataclass(frozen=True)
class Shape:
    """A profile as a share of its parent: `compute` of the compute slices and `memory` of the memory slices."""

    compute: int
    memory: int


@dataclass(frozen=True)
class Slicing:
    """How one chip is cut."""

    memory_slices: int
    shapes: tuple[Shape, ...]
    sms_per_slice: int
    whole_sms: int  # of the profile that has all the slices
    short_sms: int = 0  # that a partial profile lacks
    spare_sms: tuple[tuple[Shape, int], ...] = ()  # that a profile gets on top

    def sm_count(self, shape: Shape) -> int:
        """SMs of a profile of that shape."""
        if shape.memory == self.memory_slices:
            return self.whole_sms
        return self.sms_per_slice * shape.compute - self.short_sms + dict(self.spare_sms).get(shape, 0)


_QUARTERS = (Shape(1, 1), Shape(2, 2), Shape(4, 4))
_EIGHTHS = (Shape(1, 1), Shape(1, 2), Shape(2, 2), Shape(3, 4), Shape(4, 4), Shape(7, 8))
_SPARE = ((Shape(1, 2), 10), (Shape(3, 4), 12))

# By compute capability and SMs of the parent, which together name the chip.
_SLICINGS = {
    (80, 56): Slicing(memory_slices=4, shapes=_QUARTERS, sms_per_slice=14, whole_sms=56),
    (80, 108): Slicing(memory_slices=8, shapes=_EIGHTHS, sms_per_slice=14, whole_sms=98),
    (90, 114): Slicing(memory_slices=8, shapes=_EIGHTHS, sms_per_slice=16, whole_sms=114, short_sms=2),
    (90, 132): Slicing(memory_slices=8, shapes=_EIGHTHS, sms_per_slice=16, whole_sms=132, spare_sms=_SPARE),
}


def profiles(parent: DeviceSpec, memory_gb: float) -> dict[str, DeviceSpec]:
    """The MIG profiles of a whole GPU, by name (`1g.5gb`); empty where the GPU has none or the rule does not know it.

    `memory_gb` is the parent's memory as its name says it (40, 80, 94, ...); profile names carry a share of it,
    rounded half up.
    """
    slicing = _SLICINGS.get((parent.compute_capability, parent.sm_count))
    if slicing is None:
        return {}
    return dict(_profile(parent, memory_gb, slicing, shape) for shape in slicing.shapes)


def _profile(parent: DeviceSpec, memory_gb: float, slicing: Slicing, shape: Shape) -> tuple[str, DeviceSpec]:
    share = shape.memory / slicing.memory_slices
    # The guide gives the 1g profile with double memory the L2 of one slice.
    l2_share = 1 / slicing.memory_slices if shape == Shape(1, 2) else share
    name = f"{shape.compute}g.{math.floor(memory_gb * share + 0.5)}gb"
    sms = slicing.sm_count(shape)
    spec = parent.replace(
        name=f"{parent.name} MIG {name}",
        sm_count=sms,
        available_sms=sms,
        bandwidth_gbs=parent.bandwidth_gbs * share,
        l2_bytes=int(parent.l2_bytes * l2_share),
        estimated=[*parent.estimated, *(["bandwidth_gbs"] if share < 1 else [])],
    )
    return name, spec
