"""The catalogue against what its sources say: facts typed here a second time, and figures derived another way."""

import re

import pytest

from gemm_tuner import DeviceSpec, catalogue
from gemm_tuner.devices import normalised, rows, spec_of

# slug: compute capability, SMs, DRAM GB/s. From NVIDIA's data sheets and architecture whitepapers.
KNOWN = {
    "rtx-2060": (75, 30, 336),
    "rtx-2080-ti": (75, 68, 616),
    "rtx-3050": (86, 20, 224),
    "rtx-3060": (86, 28, 360),
    "rtx-3060-laptop": (86, 30, 336),
    "rtx-3080": (86, 68, 760),
    "rtx-3090": (86, 82, 936),
    "rtx-4060": (89, 24, 272),
    "rtx-4060-laptop": (89, 24, 256),
    "rtx-4070-super": (89, 56, 504),
    "rtx-4090": (89, 128, 1008),
    "rtx-5060-ti": (120, 36, 448),
    "rtx-5070": (120, 48, 672),
    "rtx-5090": (120, 170, 1792),
    "rtx-5090-laptop": (120, 82, 896),
    "t4": (75, 40, 320),
    "a2": (86, 10, 200),
    "a10": (86, 72, 600),
    "a10g": (86, 80, 600),
    "a16": (86, 10, 200),
    "a30": (80, 56, 933),
    "a40": (86, 84, 696),
    "l4": (89, 58, 300),
    "l20": (89, 92, 864),
    "l40s": (89, 142, 864),
    "rtx-a2000": (86, 26, 288),
    "rtx-a6000": (86, 84, 768),
    "rtx-6000-ada": (89, 142, 960),
    "rtx-pro-6000-blackwell": (120, 188, 1792),
    "v100-sxm2-16gb": (70, 80, 900),
    "a100-pcie-40gb": (80, 108, 1555),
    "a100-sxm4-80gb": (80, 108, 2039),
    "h100-pcie": (90, 114, 2039),
    "h100-sxm": (90, 132, 3350),
    "h200": (90, 132, 4800),
    "h20": (90, 78, 4000),
    "b200": (100, 148, 8000),
    "jetson-orin-nano-8gb": (87, 8, 68),
    "jetson-orin-nx-16gb": (87, 8, 102.4),
    "jetson-agx-orin": (87, 16, 204.8),
    "jetson-thor-t5000": (110, 20, 273),
    "gb10": (121, 48, 273),
}

# L2 in MiB as torch.cuda.get_device_properties reports it.
REPORTED_L2_MIB = {"t4": 4, "a10g": 6, "rtx-4070-ti-super": 48, "h100-sxm": 50, "h200": 60, "b200": 126}


@pytest.mark.parametrize("slug", KNOWN)
def test_known_facts(slug: str) -> None:
    capability, sms, bandwidth_gbs = KNOWN[slug]
    spec = catalogue()[slug]
    assert (spec.compute_capability, spec.sm_count, spec.available_sms) == (capability, sms, sms)
    assert spec.bandwidth_gbs == pytest.approx(bandwidth_gbs, rel=0.005)


@pytest.mark.parametrize("slug", REPORTED_L2_MIB)
def test_known_l2(slug: str) -> None:
    assert catalogue()[slug].l2_bytes == REPORTED_L2_MIB[slug] * 2**20


def test_is_wide_enough() -> None:
    assert len(rows()) >= 60
    below = [slug for slug, row in rows().items() if row.sm_count < 68]
    assert len(below) >= 40, "the parts below Inductor's gate are what the project is for"


def test_every_row_has_a_source_that_can_be_found() -> None:
    for row in rows().values():
        assert re.search(r"https://\S+|data sheet|whitepaper|product brief", row.source), row.slug


def test_slugs_and_aliases_are_well_formed_and_mean_one_device() -> None:
    owner: dict[str, str] = {}
    for row in rows().values():
        for name in {normalised(name) for name in (row.slug, *row.aliases)}:
            assert owner.setdefault(name, row.slug) == row.slug, name
    assert all(
        re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) for row in rows().values() for name in (row.slug, *row.aliases)
    )


def test_every_device_is_a_whole_spec_from_the_catalogue() -> None:
    for slug, spec in catalogue().items():
        assert spec.source == "catalogue"
        assert (spec.driver_version, spec.uuid) == ("", "")
        assert DeviceSpec.from_dict(spec.to_dict()) == spec, slug
        assert set(spec.estimated) <= set(spec.to_dict()), slug
        assert len(set(spec.estimated)) == len(spec.estimated), slug


@pytest.mark.parametrize("slug", [slug for slug, row in rows().items() if row.fp16_tflops])
def test_rate_and_clock_give_the_data_sheets_tflops(slug: str) -> None:
    spec = catalogue()[slug]
    peak_tflops = 2 * spec.fma.fp16 * spec.sm_count * spec.clock_mhz * 1e-6
    assert peak_tflops == pytest.approx(rows()[slug].fp16_tflops, rel=0.06)


def test_the_data_sheets_cover_every_architecture_and_rate() -> None:
    checked = {(row.compute_capability, row.fp32_accumulate) for row in rows().values() if row.fp16_tflops}
    # Xavier's data sheet gives INT8 only.
    assert {(row.compute_capability, row.fp32_accumulate) for row in rows().values()} - checked == {(72, "full")}


def test_geforce_is_half_rate_and_any_other_reduced_rate_shows_its_figure() -> None:
    for row in rows().values():
        if "GeForce" in row.name:
            assert row.fp32_accumulate == "half", row.slug
        elif row.fp32_accumulate != "full":
            assert row.fp16_tflops is not None, f"{row.slug} claims a reduced rate: show the data sheet's figure"


def test_h20_is_a_quarter_of_h100_except_in_float32() -> None:
    h20, h100 = catalogue()["h20"].fma, catalogue()["h100-sxm"].fma
    assert (h20.fp16, h20.fp8, h20.int8) == (h100.fp16 / 4, h100.fp8 / 4, h100.int8 / 4)
    assert h20.fp32 == h100.fp32


def test_a_laptop_part_has_the_middle_of_its_clock_range_and_says_so() -> None:
    spec = catalogue()["rtx-4060-laptop"]
    assert spec.clock_mhz == (1470 + 2370) // 2
    assert "clock_mhz" in spec.estimated
    assert "clock_mhz" not in catalogue()["rtx-4060"].estimated


def test_power_limits_what_is_sustained() -> None:
    assert catalogue()["l4"].sustained_fraction == 0.35
    assert catalogue()["t4"].sustained_fraction == 0.5
    assert "sustained_fraction" not in catalogue()["l4"].estimated
    workstation, max_q = catalogue()["rtx-pro-6000-blackwell"], catalogue()["rtx-pro-6000-blackwell-max-q"]
    assert max_q.sustained_fraction < workstation.sustained_fraction
    assert "sustained_fraction" in max_q.estimated
    assert all(0.3 <= spec.sustained_fraction <= 1 for spec in catalogue().values())


def test_unknown_l2_is_estimated_per_sm() -> None:
    row = rows()["rtx-3060-8gb"]
    assert row.l2_kib is None
    spec = spec_of(row)
    assert spec.l2_bytes == row.sm_count * 64 * 1024
    assert "l2_bytes" in spec.estimated


# SMs as `nvidia-smi mig -lgip` prints them.
MIG_SMS = {
    "a30": {"1g.6gb": 14, "2g.12gb": 28, "4g.24gb": 56},
    "a100-sxm4-40gb": {"1g.5gb": 14, "1g.10gb": 14, "2g.10gb": 28, "3g.20gb": 42, "4g.20gb": 56, "7g.40gb": 98},
    "a100-pcie-80gb": {"1g.10gb": 14, "1g.20gb": 14, "2g.20gb": 28, "3g.40gb": 42, "4g.40gb": 56, "7g.80gb": 98},
    "h100-pcie": {"1g.10gb": 14, "1g.20gb": 14, "2g.20gb": 30, "3g.40gb": 46, "4g.40gb": 62, "7g.80gb": 114},
    "h100-sxm": {"1g.10gb": 16, "1g.20gb": 26, "2g.20gb": 32, "3g.40gb": 60, "4g.40gb": 64, "7g.80gb": 132},
    "h100-nvl": {"1g.12gb": 16, "1g.24gb": 26, "2g.24gb": 32, "3g.47gb": 60, "4g.47gb": 64, "7g.94gb": 132},
    "gh200": {"1g.12gb": 16, "1g.24gb": 26, "2g.24gb": 32, "3g.48gb": 60, "4g.48gb": 64, "7g.96gb": 132},
    "h200": {"1g.18gb": 16, "1g.35gb": 26, "2g.35gb": 32, "3g.71gb": 60, "4g.71gb": 64, "7g.141gb": 132},
}


@pytest.mark.parametrize("parent", MIG_SMS)
def test_mig_rule_gives_the_published_names_and_sms(parent: str) -> None:
    prefix = f"{parent}-mig-"
    sliced = {slug.removeprefix(prefix): spec for slug, spec in catalogue().items() if slug.startswith(prefix)}
    assert {profile: spec.sm_count for profile, spec in sliced.items()} == MIG_SMS[parent]
    for profile, spec in sliced.items():
        assert spec.name == f"{catalogue()[parent].name} MIG {profile}"
        assert spec.available_sms == spec.sm_count


def test_mig_slices_share_memory_and_say_what_is_estimated() -> None:
    whole, slice_ = catalogue()["a100-sxm4-40gb"], catalogue()["a100-sxm4-40gb-mig-3g.20gb"]
    assert slice_.bandwidth_gbs == whole.bandwidth_gbs / 2
    assert slice_.l2_bytes == whole.l2_bytes // 2
    assert "bandwidth_gbs" in slice_.estimated
    assert "bandwidth_gbs" not in catalogue()["a30-mig-4g.24gb"].estimated
    double_memory = catalogue()["a100-sxm4-40gb-mig-1g.10gb"]
    assert double_memory.bandwidth_gbs == whole.bandwidth_gbs / 4
    assert double_memory.l2_bytes == whole.l2_bytes // 8
    assert (slice_.fma, slice_.clock_mhz) == (whole.fma, whole.clock_mhz)


def test_gpus_without_mig_have_no_profiles() -> None:
    assert not [slug for slug in catalogue() if slug.startswith(("l4-mig", "rtx-4090-mig", "v100-mig"))]
