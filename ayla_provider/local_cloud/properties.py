"""The models of the made-up fleet: thermostats, air conditioners and vacuum cleaners, and their properties."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True)
class Property:
    """
    A property of a device.

    :param value: returns a value for a level from 0 to 1, without 1. Close levels have close values.
    :param to_device: whether a user sets it; otherwise the device measures it
    :param has_acks: whether the device acknowledges what a user sets
    """

    name: str
    display_name: str
    base_type: str
    value: Callable[[float], str]
    to_device: bool = False
    has_acks: bool = False

    @cached_property
    def encoded_name(self) -> str:
        """The display name in base64, as in a file."""
        return base64.b64encode(self.display_name.encode()).decode("ascii")


def _choice(*values: str) -> Callable[[float], str]:
    return lambda level: values[int(level * len(values))]


def _integer(low: int, high: int) -> Callable[[float], str]:
    return lambda level: str(low + int(level * (high - low + 1)))


_SWITCH = _choice("0", "1")

MODELS: Mapping[str, tuple[Property, ...]] = {
    "LC-THERMO-2": (
        Property("room_temperature", "Room temperature", "decimal", lambda level: f"{17 + 8 * level:.1f}"),
        Property(
            "target_temperature", "Target", "decimal", lambda level: f"{16 + int(17 * level) / 2:.1f}", True, True
        ),
        Property("humidity", "Humidity, %", "integer", _integer(25, 70)),
        Property("mode", "Mode", "string", _choice("heat", "cool", "auto", "away", "Öko"), True),
    ),
    "LC-AIRCON-9": (
        Property("power", "Power", "boolean", _SWITCH, True, True),
        Property("set_point", "Set point", "integer", _integer(18, 28), True, True),
        Property("fan_mode", "Fan, mode", "string", _choice("low", "medium", "high", "turbo, 10 min"), True),
        Property("energy_used", "Energy, kWh", "decimal", lambda level: f"{2 * level:.2f}"),
        Property("error_log", "Errors", "message", lambda level: json.dumps({"code": int(10 * level), "text": "ok"})),
    ),
    "LC-VACUUM-1": (
        Property("battery", "Battery", "integer", _integer(5, 100)),
        Property("area_cleaned", "Area, m²", "decimal", lambda level: f"{80 * level:.2f}"),
        Property("state", "State", "string", _choice("docked", "cleaning", "returning", "stuck")),
        Property("start", "Start", "boolean", _SWITCH, True, True),
    ),
}
"""The models of the fleet."""

SETTINGS = {model: tuple(one for one in MODELS[model] if one.to_device) for model in MODELS}
"""Model to the properties that a user sets."""

SENSORS = {model: tuple(one for one in MODELS[model] if not one.to_device) for model in MODELS}
"""Model to the properties that a device measures."""
