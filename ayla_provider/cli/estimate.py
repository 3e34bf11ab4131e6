"""Prints what an export of a size needs in 30 days."""

from __future__ import annotations

import argparse
import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import fields
from itertools import groupby

from ayla_provider.domain.estimate import Quantity, Size, estimate
from ayla_provider.domain.units import size_text


def run(arguments: argparse.Namespace) -> int:
    """Run the command, and return the exit status."""
    size = Size(**{each.name: getattr(arguments, each.name) for each in fields(Size)})
    quantities = estimate(size)
    if arguments.json:
        document = {
            "size": {each.name: getattr(size, each.name) for each in fields(size)},
            "days": 30,
            "quantities": [each._asdict() for each in quantities],
        }
        print(json.dumps(document, indent=1))
    elif arguments.csv:
        _write_csv(quantities)
    else:
        for line in text_of(quantities):
            print(line)
    return 0


def text_of(quantities: Sequence[Quantity]) -> list[str]:
    """Return the quantities as lines for a person."""
    lines = []
    for group, members in groupby(quantities, key=lambda each: each.group):
        lines.append(group)
        for each in members:
            amount, _, unit = _amount(each).partition(" ")
            lines.append(f"  {each.name:<42}{amount:>15} {unit}".rstrip())
    return lines


def _amount(quantity: Quantity) -> str:
    if quantity.unit.startswith("B"):
        return size_text(quantity.amount) + quantity.unit.removeprefix("B")
    amount = quantity.amount
    return f"{amount:,.1f} {quantity.unit}" if amount < 100 and amount % 1 else f"{amount:,.0f} {quantity.unit}"


def _write_csv(quantities: Sequence[Quantity]) -> None:
    """Write a sheet with an empty column for prices. A size is in GB, as prices are."""
    sheet = csv.writer(sys.stdout, lineterminator="\n")
    sheet.writerow(["group", "quantity", "amount", "unit", "price of a unit", "cost"])
    for row, each in enumerate(quantities, start=2):
        is_size = each.unit.startswith("B")
        amount = each.amount / 1e9 if is_size else each.amount
        unit = each.unit.replace("B", "GB", 1) if is_size else each.unit
        sheet.writerow([each.group, each.name, f"{amount:.6g}", unit, "", f"=C{row}*E{row}"])
