"""The call of an op that a case asks for: matmul, int_mm or scaled_mm, with everything that it is given."""

from __future__ import annotations

from dataclasses import dataclass

import torch

import gemm_tuner as gt
from gpu.op_cases import Case, Operands, in_float64, operands, problem_of, residual_of, scales_of


@dataclass(frozen=True)
class Call:
    """A case with its operands. scales: of A and of B, or none."""

    case: Case
    a: torch.Tensor
    b: torch.Tensor
    bias: torch.Tensor | None
    residual: torch.Tensor | None
    scales: tuple[torch.Tensor, ...]

    @staticmethod
    def of(case: Case, device: str) -> Call:
        """The same every time."""
        return Call(case, *operands(case, device), residual_of(case, device), scales_of(case, device))

    @property
    def operands(self) -> Operands:
        """A, B and the bias."""
        return self.a, self.b, self.bias

    @property
    def problem(self) -> gt.GemmProblem:
        """What the op makes of it, under torch's present settings."""
        return problem_of(
            *self.operands,
            self.case.variety.activation,
            residual=self.residual,
            scales=self.scales,
            out_dtype=self.case.out_dtype,
        )

    def result(self) -> torch.Tensor:
        """What the op gives."""
        if self.scales:
            scale_a, scale_b = self.scales
            return gt.scaled_mm(self.a, self.b, scale_a, scale_b, self.bias, self.case.out_dtype)
        if self.a.dtype == torch.int8:
            return gt.int_mm(self.a, self.b)
        return gt.matmul(*self.operands, self.case.variety.activation, self.residual)

    def wanted(self) -> torch.Tensor:
        """What it should give, in float64, computed on the host: by no kernel that is tested, nor any other's."""
        a, b, bias, residual = (each if each is None else each.cpu() for each in (*self.operands, self.residual))
        assert a is not None and b is not None
        scales = [each.cpu() for each in self.scales]
        return in_float64(a, b, bias, self.case.variety.activation, residual=residual, scales=scales)
