"""Names to devices: what resolves, what does not, and what the error says."""

import string
import subprocess
import sys
import types
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gemm_tuner as gt
from gemm_tuner import _core
from gemm_tuner.devices import completed, rows
from gemm_tuner.errors import GemmTunerError, UnknownDeviceError


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("rtx-3060", "rtx-3060"),
        ("nvidia geforce rtx 3060", "rtx-3060"),
        ("rtx3060", "rtx-3060"),
        ("RTX 3060 12GB", "rtx-3060"),
        ("RTX 3060 8GB", "rtx-3060-8gb"),
        ("3060", "rtx-3060"),
        ("rxt 3060", "rtx-3060"),
        ("NVIDIA GeForce RTX 3060 Laptop GPU", "rtx-3060-laptop"),
        ("rtx 4060 mobile", "rtx-4060-laptop"),
        ("NVIDIA GeForce RTX 2070 with Max-Q Design", "rtx-2070-max-q"),
        ("L4", "l4"),
        ("NVIDIA L4 24GB", "l4"),
        ("Tesla T4", "t4"),
        ("A2000", "rtx-a2000"),
        ("NVIDIA RTX 6000 Ada Generation", "rtx-6000-ada"),
        ("a100-sxm4-40gb", "a100-sxm4-40gb"),
        ("a100", "a100-sxm4-40gb"),
        ("NVIDIA A100 80GB PCIe", "a100-pcie-80gb"),
        ("h100-sxm", "h100-sxm"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm"),
        ("jetson-agx-orin", "jetson-agx-orin"),
        ("orin nano", "jetson-orin-nano-8gb"),
        ("NVIDIA Thor", "jetson-thor-t5000"),
        ("gb10", "gb10"),
        ("DGX Spark", "gb10"),
        ("a100-40gb-mig-1g.5gb", "a100-sxm4-40gb-mig-1g.5gb"),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", "a100-sxm4-40gb-mig-1g.5gb"),
        ("h100-mig-3g.40gb", "h100-sxm-mig-3g.40gb"),
        ("A30 MIG 2g.12gb", "a30-mig-2g.12gb"),
    ],
)
def test_names_that_resolve(name: str, slug: str) -> None:
    assert gt.device(name) == gt.catalogue()[slug]


SEPARATORS = st.text(alphabet=" -_./()\t", max_size=2)


@settings(deadline=None)  # the first example reads the catalogue
@given(st.data())
def test_case_spacing_and_punctuation_do_not_matter(data: st.DataObject) -> None:
    slug = data.draw(st.sampled_from(list(gt.catalogue())))
    letters = [c for c in slug if c in string.ascii_lowercase + string.digits]
    noisy = "".join(
        data.draw(SEPARATORS) + (c.upper() if data.draw(st.booleans()) else c) for c in letters
    ) + data.draw(SEPARATORS)
    assert gt.device(noisy) == gt.catalogue()[slug]


def test_every_reported_name_resolves_to_a_device_that_reports_it_or_is_called_ambiguous() -> None:
    for row in rows().values():
        try:
            assert gt.device(row.name).name.lower() == row.name.lower()
        except UnknownDeviceError as error:
            assert row.slug in str(error)


@settings(deadline=None)  # the first example reads the catalogue
@given(st.text(max_size=40))
def test_any_text_gives_a_device_or_one_sentence(name: str) -> None:
    try:
        assert gt.device(name) in gt.catalogue().values()
    except UnknownDeviceError as error:
        assert repr(name) in str(error)
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("gefroce rtx 3060", "rtx-3060"),
        ("rtx 4080s", "rtx-4080"),
        ("rtx 3060 xt", "rtx-3060-ti"),
        ("a100 mig 9g.1gb", "a100-sxm4-40gb-mig-1g.5gb"),
        ("h1000", "h100-sxm"),
    ],
)
def test_an_unknown_name_says_which_are_near(name: str, near: str) -> None:
    with pytest.raises(UnknownDeviceError) as error:
        gt.device(name)
    assert f"no device in the catalogue is called {name!r}; near: " in str(error.value)
    assert near in str(error.value).split("near: ")[1].split(", ")


@pytest.mark.parametrize("name", ["", "--", "Radeon"])
def test_a_name_like_no_other_points_to_the_list(name: str) -> None:
    with pytest.raises(UnknownDeviceError, match="`gemm-tuner devices` lists"):
        gt.device(name)


@pytest.mark.parametrize("wrong", ["rtx 3061", "rtx 4080s", "rtx 3060 super", "a20", "h800", "l45"])
def test_numbers_and_suffixes_are_never_guessed(wrong: str) -> None:
    with pytest.raises(UnknownDeviceError):
        gt.device(wrong)


def test_a_name_that_several_devices_report_asks_which() -> None:
    with pytest.raises(UnknownDeviceError) as error:
        gt.device("Orin")
    assert "could be any of" in str(error.value)
    assert {"jetson-orin-nano-8gb", "jetson-agx-orin"} <= set(
        str(error.value).split("any of ")[1].split(":")[0].split(", ")
    )


def test_unknown_device_error_is_ours_and_a_lookup_error() -> None:
    assert issubclass(UnknownDeviceError, GemmTunerError)
    assert issubclass(UnknownDeviceError, LookupError)


def test_sm_budget_caps_the_available_sms() -> None:
    assert gt.device("rtx-3060", sm_budget=10).available_sms == 10
    assert gt.device("rtx-3060", sm_budget=10).sm_count == 28
    assert gt.device("rtx-3060", sm_budget=1000).available_sms == 28
    with pytest.raises(ValueError, match="SM budget must be at least 1, got 0"):
        gt.device("rtx-3060", sm_budget=0)


def test_the_catalogue_cannot_be_written() -> None:
    with pytest.raises(TypeError):
        gt.catalogue()["rtx-3060"] = gt.device("l4")  # type: ignore[index]  # the point of the test


class Asked:
    """A double of the driver query: remembers what it was asked and gives a catalogued device."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.ordinal: int | None = None
        self.limits: dict[str, float | None] = {}
        monkeypatch.setattr(_core, "query_device", self.query)

    def query(self, ordinal: int | None, **limits: float | None) -> gt.DeviceSpec:
        self.ordinal, self.limits = ordinal, limits
        return gt.device("rtx-3060").replace(source="driver")


def torch_double(*, initialized: bool, carveout: int | None) -> types.SimpleNamespace:
    return types.SimpleNamespace(
        cuda=types.SimpleNamespace(is_initialized=lambda: initialized, current_device=lambda: 3),
        _C=types.SimpleNamespace(_get_sm_carveout_experimental=lambda: carveout),
    )


def test_without_a_name_the_driver_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    asked = Asked(monkeypatch)
    spec = gt.device(sm_budget=7)
    assert (spec.source, spec.available_sms) == ("driver", 7)
    assert asked.ordinal is None
    assert set(asked.limits.values()) == {None}


def test_torch_is_consulted_where_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch)
    monkeypatch.setitem(sys.modules, "torch", torch_double(initialized=True, carveout=4))
    gt.device()
    assert (asked.ordinal, asked.limits["sm_carveout"]) == (3, 4)
    monkeypatch.setitem(sys.modules, "torch", torch_double(initialized=False, carveout=None))
    gt.device()
    assert (asked.ordinal, asked.limits["sm_carveout"]) == (None, None)


@pytest.mark.parametrize(("value", "percentage"), [("50", 50.0), ("12.5", 12.5), ("", None), ("half", None)])
def test_the_mps_share_is_handed_to_the_driver_query(
    monkeypatch: pytest.MonkeyPatch, value: str, percentage: float | None
) -> None:
    asked = Asked(monkeypatch)
    monkeypatch.setenv("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", value)
    gt.device()
    assert asked.limits["mps_percentage"] == percentage


def test_real_torch_has_the_names_we_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    assert hasattr(torch._C, "_get_sm_carveout_experimental")
    asked = Asked(monkeypatch)
    gt.device()
    assert asked.ordinal is None or torch.cuda.is_initialized()


def as_the_driver_says(slug: str, **changed: Any) -> gt.DeviceSpec:
    """A catalogued device as a driver query gives it: rates by architecture and name, and no power limit."""
    spec = gt.device(slug)
    full = _core.architecture(spec.compute_capability, "GeForce" in spec.name)["fma"]
    return spec.replace(
        **{"source": "driver", "fma": full, "sustained_fraction": 1.0, "estimated": ["sustained_fraction"], **changed}
    )


def test_what_no_driver_tells_comes_from_the_catalogue() -> None:
    l4 = completed(as_the_driver_says("l4"))
    assert (l4.source, l4.sustained_fraction, l4.estimated) == ("driver", 0.35, [])
    assert completed(as_the_driver_says("a10g")).fma == gt.device("a10g").fma
    h100 = completed(as_the_driver_says("h100-sxm", clock_mhz=1980))
    assert h100.sustained_fraction == pytest.approx(gt.device("h100-sxm").sustained_fraction * 1830 / 1980)
    assert h100.estimated == ["sustained_fraction"]
    mig = completed(as_the_driver_says("a100-sxm4-40gb-mig-2g.10gb"))
    assert mig.sustained_fraction == gt.device("a100-sxm4-40gb").sustained_fraction


@pytest.mark.parametrize("changed", [{"name": "NVIDIA L5"}, {"sm_count": 57, "available_sms": 57}])
def test_a_device_that_is_not_catalogued_stays_as_the_driver_says(changed: dict[str, object]) -> None:
    asked = as_the_driver_says("l4", **changed)
    assert completed(asked) == asked


def test_resolving_loads_neither_torch_nor_triton() -> None:
    code = (
        "import sys, gemm_tuner as gt; gt.device('rtx-3060'); gt.catalogue();"
        "assert not {'torch', 'triton', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_catalogue_is_not_read_at_import() -> None:
    code = "import gemm_tuner.devices as d; assert d.rows.cache_info().misses == 0"
    subprocess.run([sys.executable, "-c", code], check=True)
