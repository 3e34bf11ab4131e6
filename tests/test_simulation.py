from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from ayla_provider.domain.layout import MANIFESTS
from ayla_provider.domain.manifest import loads
from simulation.__main__ import main, tell
from simulation.life import Life
from simulation.mishaps import TOLD, plan


@pytest.fixture(scope="module")
def life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """Two days, with an archive on disk."""
    with closing(Life(days=2, seed=2, home=tmp_path_factory.mktemp("life"))) as life:
        life.live()
        yield life


def test_two_days_of_every_mishap_end_with_the_answer_key_on_disk(
    life: Life, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tell(life) == 0
    told = capsys.readouterr().out
    assert "\nOK: archive and manifests equal the answer key" in told
    assert all(life.mishaps.happened[kind] for kind in TOLD), told
    assert life.customer.repaired
    assert life.customer.counts["given up"]
    assert life.customer.counts["copies failed"]
    assert life.customer.counts["copies killed"]


def test_two_days_of_every_mishap_end_with_the_answer_key_in_a_bucket(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--days", "2", "--seed", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "an archive in a bucket: 240 hours" in lines[-len(TOLD) - 6]
    assert lines[-1].startswith("OK: ")


def test_the_simulation_notices_what_is_lost_changed_or_too_much(
    life: Life, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = life.scene.archive()
    of_files = sorted(path for path in archive if path.startswith("event_type=datapoint/"))
    file, other, manifest = of_files[0], of_files[1], f"{MANIFESTS}/event_type=datapoint/date=2026-11-02/hour=03.json"
    of_other_hour = archive[f"{MANIFESTS}/event_type=connection/date=2026-11-02/hour=03.json"]
    generation = str(loads(archive[manifest], manifest).files[0].generation).encode()
    damages: list[tuple[str, bytes | None, str]] = [
        (file, None, "datapoint 2026-11-01 00:00"),
        (file, archive[file][:-1] + b"!", "datapoint 2026-11-01 00:00"),
        (file, archive[other], "datapoint 2026-11-01 00:00"),
        (f"{file}.1", archive[file], f"{file}.1 has no source"),
        (f"{MANIFESTS}/event_type=datapoint/date=2026-11-09/hour=03.json", archive[manifest], "has no source"),
        (manifest, of_other_hour, "datapoint 2026-11-02 03:00"),
        (manifest, archive[manifest].replace(generation, b"1"), "datapoint 2026-11-02 03:00"),
        (manifest, None, "datapoint 2026-11-02 03:00"),
    ]
    for path, data, named in damages:
        place = life.scene.folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.unlink() if data is None else place.write_bytes(data)
        assert tell(life) == 1
        told = capsys.readouterr().out
        assert named in told, (path, told)
        assert "\nFAILED: seed 2, " in told
        life.customer.copies.clear()  # the repair that the reconcile asked for
        if path in archive:
            place.write_bytes(archive[path])
        else:
            place.unlink()
    assert tell(life) == 0


def test_a_seed_draws_the_same_mishaps_again_and_another_seed_others(life: Life) -> None:
    def drawn(seed: int) -> list[object]:
        return [*plan(seed, life.hours[0], life.end)]

    assert drawn(5) == drawn(5) != drawn(6)
