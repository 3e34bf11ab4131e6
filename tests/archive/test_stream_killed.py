"""Runs that SIGKILL ends at random moments lose no record, and leave none twice."""

from __future__ import annotations

import pickle
import random
import signal
from datetime import timedelta
from pathlib import Path

import pytest

from tests.support.memory_stream import live, made_stream
from tests.support.mortal_stream import drain_and_kill
from tests.support.proofs import scale
from tests.support.stream_archives import check_manifests, drain, expected_of, records_of

KILLS = 20


@pytest.mark.proof("20 kills in each of 5 seeds")
def test_every_record_is_there_once_after_many_kills(tmp_path: Path) -> None:
    for seed in range(scale(1, 5)):
        chance, root, file = random.Random(seed), tmp_path / f"archive {seed}", tmp_path / f"stream {seed}"
        stream = made_stream(4, page=10)
        live(stream, chance, timedelta(hours=5), 600)
        kills = 0
        while kills < KILLS:
            file.write_bytes(pickle.dumps(stream))
            if drain_and_kill(root, file, chance, longest=0.6) == -signal.SIGKILL:
                kills += 1
            if chance.random() < 0.3:
                live(stream, chance, timedelta(minutes=30), 60)
        stream.now += timedelta(seconds=3)
        drain(root, stream)
        assert records_of(root) == expected_of(stream), seed
        check_manifests(root)
