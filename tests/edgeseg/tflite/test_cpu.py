"""``cpu`` and ``half_arithmetic``: what a CPU can do, and what a file's entry makes of it."""

from __future__ import annotations

import platform
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeseg.models.packaged_files import find_file
from edgeseg.tflite.cpu import Cpu
from edgeseg.tflite.file import read_metadata
from edgeseg.tflite.half_arithmetic import ENTRY, HALF, HalfArithmetic

A53 = "fp asimd aes pmull sha1 sha2 crc32 cpuid"
A76 = "fp asimd aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp"


def cpuinfo(*cores: str, word: str = "Features") -> str:
    return "\n\n".join(f"processor\t: {number}\n{word}\t: {features}" for number, features in enumerate(cores))


@pytest.mark.parametrize(
    ("machine", "system", "listed", "native_half", "lse"),
    [
        ("aarch64", "Linux", cpuinfo(A53, A53), False, False),  # Raspberry Pi 3 and 4
        ("aarch64", "Linux", cpuinfo(A76), True, True),  # Raspberry Pi 5
        ("aarch64", "Linux", cpuinfo(A76, A53), False, False),  # a process runs on any core
        ("aarch64", "Linux", cpuinfo(A53 + " fphp atomics"), False, True),  # of scalars alone
        ("aarch64", "Linux", "", None, None),
        ("arm64", "Darwin", "", True, True),
        ("ARM64", "Windows", "", None, None),
        ("armv7l", "Linux", cpuinfo("half thumb neon vfpv4"), None, None),
        ("x86_64", "Linux", cpuinfo("fpu sse2 avx2 f16c", word="flags"), False, None),
        ("x86_64", "Linux", cpuinfo("fpu sse2 avx2 avx512_fp16", word="flags"), None, None),  # never tried
        ("x86_64", "Darwin", "", False, None),
        ("AMD64", "Windows", "", None, None),
    ],
)
def test_what_a_cpu_can_do(machine: str, system: str, listed: str, native_half: bool | None, lse: bool | None) -> None:
    assert Cpu.of(machine, system, listed) == Cpu(machine, native_half, lse)


@pytest.mark.skipif(not Path("/proc/cpuinfo").is_file(), reason="no /proc/cpuinfo: what Linux has")
def test_this_cpu_is_the_one_that_linux_lists() -> None:
    listed = Path("/proc/cpuinfo").read_text()
    assert Cpu.here() == Cpu.of(platform.machine(), "Linux", listed)
    if platform.machine() == "x86_64":
        assert Cpu.here().native_half is (None if "avx512_fp16" in listed else False)


def test_a_system_without_a_list_is_not_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("edgeseg.tflite.cpu._CPUINFO", tmp_path / "none")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert Cpu.here() == Cpu("aarch64", None, None)


@pytest.mark.parametrize(
    ("content", "asked"), [(HALF, True), (b"fp16bf16accfp16", True), (b"fp16accfp32", False), (b"bf16accfp16", False)]
)
def test_a_file_asks_by_its_entry(
    content: bytes, asked: bool, tflite_model: Callable[..., bytes], with_entry: Callable[[bytes, str, bytes], bytes]
) -> None:
    plain = tflite_model(["RELU"], [((1, 4, 4, 3), "float32")])
    assert HalfArithmetic.of(plain, Cpu("aarch64", True, True)) == HalfArithmetic(False, False)
    data = with_entry(plain, ENTRY, content)
    assert read_metadata(data, ENTRY) == content
    for native in (True, False, None):
        expected = HalfArithmetic(asked, native if asked else False)
        assert HalfArithmetic.of(data, Cpu("aarch64", native, True)) == expected


def test_what_a_cpu_makes_of_it_is_said() -> None:
    assert HalfArithmetic(False, False).sentence.startswith("float32 on every CPU")
    assert HalfArithmetic(True, True).sentence.startswith("float16: ")
    assert HalfArithmetic(True, False).sentence.endswith("this CPU does not compute, and which it ignores")
    assert HalfArithmetic(True, None).sentence.endswith("is not known")


def test_an_integer_file_does_not_ask() -> None:
    assert not HalfArithmetic.of(find_file("efficientnet_lite0_unet.int8").read_bytes()).asked
