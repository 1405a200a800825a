"""Every Triton kernel compiles to machine code for an A100 (sm_80) and an H100 (sm_90), without either being there."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import spikeyolo

triton = pytest.importorskip("triton", reason="Triton is for Linux")
if sys.platform != "linux":
    pytest.skip("Triton is for Linux", allow_module_level=True)

from triton.backends.compiler import GPUTarget  # noqa: E402
from triton.compiler import ASTSource  # noqa: E402
from triton.runtime.jit import JITFunction  # noqa: E402

from spikeyolo.model.neuron import cuda  # noqa: E402

KERNELS = {name: kernel for name, kernel in vars(cuda).items() if isinstance(kernel, JITFunction)}
CURRENTS = {"fp16": False, "bf16": False, "fp32": False, "fp64": True}  # and whether membranes are in double
CONSTANTS = {"levels": 4.0, "decay": 0.25, "margin": 0.0, "gain": 1.0, "rounding": 1.5 * 2.0**23, "block": cuda.BLOCK}


def machine_code(name: str, arch: int, pointers: dict[str, str], **switches: Any) -> bytes:
    """A kernel's code; every argument that is neither a pointer nor a constant is an integer."""
    kernel = KERNELS[name]
    constants = {key: value for key, value in (CONSTANTS | switches).items() if key in kernel.arg_names}
    signature = {
        argument: "constexpr" if argument in constants else pointers.get(argument, "i32")
        for argument in kernel.arg_names
    }
    source = ASTSource(kernel, signature, constexprs={(kernel.arg_names.index(k),): v for k, v in constants.items()})
    compiled = triton.compile(source, target=GPUTarget("cuda", arch, 32), options={"enable_fp_fusion": False})
    assert f"sm_{arch}" in compiled.asm["ptx"]
    code: bytes = compiled.asm["cubin"]
    return code


def test_no_kernel_is_left_out() -> None:
    assert set(KERNELS) == {"_forward", "_backward"}
    package = Path(spikeyolo.__file__).parent
    assert [path.name for path in package.rglob("*.py") if "triton.jit" in path.read_text()] == ["cuda.py"]


@pytest.mark.parametrize("arch", [80, 90])
@pytest.mark.parametrize("dtype", CURRENTS)
def test_each_kernel_compiles_for_each_precision(
    dtype: str, arch: int, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    double = CURRENTS[dtype]
    inner = "*fp64" if double else "*fp32"
    maps = dict.fromkeys(("currents", "spikes", "grad_spikes", "grad_currents"), f"*{dtype}")
    pointers = maps | dict.fromkeys(("residual", "rest", "grad_rest"), inner) | {"kept": "*u8"}
    for resume in (False, True):
        switches = {"double": double, "resume": resume, "record": resume, "keep": resume}
        assert machine_code("_forward", arch, pointers, **switches).startswith(b"\x7fELF")
        assert machine_code("_backward", arch, pointers, double=double, resume=resume).startswith(b"\x7fELF")
