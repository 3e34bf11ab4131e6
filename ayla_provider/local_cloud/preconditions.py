"""Preconditions of a request on the generation of an object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ayla_provider.local_cloud.api_errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ayla_provider.local_cloud.objects import StoredObject


@dataclass(frozen=True)
class Preconditions:
    """The four conditions of the JSON API. A generation of 0 means that the object doesn't exist."""

    generation: int | None = None
    not_generation: int | None = None
    metageneration: int | None = None
    not_metageneration: int | None = None

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, str]) -> Preconditions:
        """
        Read the query of a request.

        :raises ApiError: 400 for a value that isn't an integer
        """

        def number(name: str) -> int | None:
            text = parameters.get(name)
            if text is None:
                return None
            if not (text.isascii() and text.isdigit()):
                raise ApiError(400, f"Invalid value for {name}: {text}")
            return int(text)

        return cls(
            number("ifGenerationMatch"),
            number("ifGenerationNotMatch"),
            number("ifMetagenerationMatch"),
            number("ifMetagenerationNotMatch"),
        )

    def check(self, stored: StoredObject | None, *, reading: bool = False) -> None:
        """
        Check the conditions on an object.

        :param stored: the live generation; None if the object doesn't exist
        :param reading: whether the request only reads, so that it gets "not modified" instead of an error
        :raises ApiError: 412 if a condition doesn't hold; 304 if ``reading`` and a negative condition doesn't hold
        """
        generation = stored.generation if stored else 0
        metageneration = stored.metageneration if stored else 0
        if self.generation not in (None, generation) or self.metageneration not in (None, metageneration):
            raise ApiError(412, "At least one of the pre-conditions you specified did not hold.")
        if self.not_generation == generation or self.not_metageneration == metageneration:
            raise ApiError(304 if reading else 412, "At least one of the pre-conditions you specified did not hold.")
