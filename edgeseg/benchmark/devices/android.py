"""Describe an Android device: names, versions, governor, heat and battery.

Names of properties and lines are those of ``getprop``, ``dumpsys thermalservice`` and ``dumpsys battery`` in AOSP
(``ThermalManagerService.java``, ``BatteryService.java``); a property that a device lacks is omitted.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from edgeseg.benchmark.machine import now
from edgeseg.benchmark.result import Environment
from edgeseg.tflite.cpu import Cpu

#: Prints everything that ``Description.read`` reads, which omits a property that has a space after its ``=``.
SCRIPT = """
for p in ro.product.manufacturer ro.product.model ro.soc.manufacturer ro.soc.model ro.board.platform \
ro.build.version.release ro.build.version.sdk ro.product.cpu.abi; do echo "$p=$(getprop $p)"; done
echo "cpus=$(nproc)"
echo "features=$(sed -n '/^Features/{s/^[^:]*:[[:space:]]*//p;q;}' /proc/cpuinfo)"
echo "governor=$(cat /sys/devices/system/cpu/cpu0/cpufreq/scaling_governor)"
dumpsys thermalservice
dumpsys battery
"""

#: Of ``android.os.PowerManager.THERMAL_STATUS_...``.
_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")

_PROPERTY = re.compile(r"^([\w.]+)=(\S.*)$", re.MULTILINE)
_THERMAL = re.compile(r"Thermal Status: ([0-9])")
_CURRENT = re.compile(r"Current temperatures from HAL:(.*?)(?:Current cooling devices|$)", re.DOTALL)
# Types 0 and 1 are CPU and GPU in android.os.Temperature.
_SENSOR = re.compile(r"Temperature\{mValue=(\d{1,4}(?:\.\d{1,9})?), mType=[01],")
_BATTERY = re.compile(r"^[ \t]+(level|temperature): (\d{1,9})$", re.MULTILINE)


@dataclass(frozen=True)
class Description:
    """A device at one moment.

    Attributes:
        properties: by the names in ``SCRIPT``; those without a value are missing.
        thermal_status: ``none`` to ``shutdown``; empty where the device has no thermal service (before Android 10).
        chip_c: hottest CPU or GPU sensor in degrees Celsius.
        battery: ``level`` in percent and ``temperature`` in tenths of a degree Celsius.
    """

    properties: dict[str, str]
    thermal_status: str
    chip_c: float | None
    battery: dict[str, int]

    @classmethod
    def read(cls, text: str) -> Description:
        """Read the output of ``SCRIPT``."""
        status = _THERMAL.search(text)
        current = _CURRENT.search(text)
        heat = [float(value) for value in _SENSOR.findall(current[1] if current else "")]
        return cls(
            properties=dict(_PROPERTY.findall(text)),
            thermal_status=_STATUS[min(int(status[1]), len(_STATUS) - 1)] if status else "",
            chip_c=max(heat, default=None),
            battery={name: int(value) for name, value in _BATTERY.findall(text)},
        )

    @property
    def abi(self) -> str:
        """The ABI, such as ``arm64-v8a``; empty where it is not known."""
        return self.properties.get("ro.product.cpu.abi", "")

    @property
    def cpu(self) -> Cpu:
        """What its CPU can do."""
        machine = {"arm64-v8a": "aarch64"}.get(self.abi, self.abi)
        features = self.properties.get("features")
        return Cpu.of(machine, "Linux", "" if features is None else f"Features : {features}")

    def environment(self, device: str, after: Description, versions: dict[str, str]) -> Environment:
        """Return the environment of a run that began with this description.

        Args:
            device: the name under which the user reaches it.
            after: the description when it ended.
            versions: of the measuring tools.
        """
        get = self.properties.get
        chip = f"{get('ro.soc.manufacturer', '')} {get('ro.soc.model') or get('ro.board.platform', '')}".strip()
        model = f"{get('ro.product.manufacturer', '')} {get('ro.product.model', '')}".strip()
        release = f"Android {get('ro.build.version.release', '?')} (API {get('ro.build.version.sdk', '?')})"
        extra = {
            "model": model,
            "abi": self.abi,
            "thermal_status": " to ".join(dict.fromkeys(filter(None, (self.thermal_status, after.thermal_status)))),
            "battery_percent": str(self.battery.get("level", "")),
            "battery_c": f"{self.battery['temperature'] / 10:g}" if "temperature" in self.battery else "",
        }
        return Environment(
            device=device,
            machine=f"{model}, {chip}".strip(", "),
            system=f"{release} {self.abi}".strip(),
            cpus=int(cpus) if re.fullmatch("[0-9]{1,6}", cpus := get("cpus", "")) else 0,
            governor=get("governor", ""),
            temperature_c=tuple(value for value in (self.chip_c, after.chip_c) if value is not None),
            versions=versions,
            date=now(),
            extra={name: value for name, value in extra.items() if value},
        )

    def warnings(self) -> tuple[str, ...]:
        """Return the reasons to distrust numbers that are measured now."""
        if self.thermal_status in ("", "none"):
            return ()
        return (f"the device reports thermal status '{self.thermal_status}': it throttles, or soon will",)
