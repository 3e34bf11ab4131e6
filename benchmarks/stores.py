"""Copies between Cloud Storage and other clouds: to S3, to Azure, and from S3, beside rclone."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, TextIO, cast

from benchmarks.copying import HOUR, peak_of_this_process
from benchmarks.results import Result, compared
from benchmarks.store import FOLDER, OEM, READ_TOKEN, SOURCE, TARGET, WRITE_TOKEN
from harness.ports import free_ports, running
from harness.seaweedfs import KEY_ID, REGION, SECRET, SeaweedFS, seaweedfs
from tests.support.tools import AZURITE

BUCKET = "other-cloud"
ACCOUNT = "devstoreaccount1"
ACCOUNT_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
"""Of the emulator, the same everywhere."""

_PEER = "rclone, between clouds"

HOW = {
    _PEER: "`rclone copy :gcs,...:source/folder :s3,...:bucket/ayla` or `:azureblob,...`, or from `:s3,...` to "
    "`:gcs,...`, with `--transfers N --checkers N --stats 0`, with as many at once as ours. S3 is SeaweedFS, Azure is "
    "Azurite, started again for each run on the same machine"
}


@dataclass(frozen=True)
class Case:
    """
    What is copied.

    :param workers: how many are copied at once, by each engine
    """

    source: str
    target: str
    objects: int
    size: int
    workers: int

    @property
    def name(self) -> str:
        """The name in the results."""
        size = f"{self.size // 2**20} MiB" if self.size >= 2**20 else f"{self.size // 2**10} KiB"
        return f"copy {self.source} to {self.target}, {self.objects:,} x {size}, {self.workers} at once"


CASES = (
    Case("gs", "s3", 1000, 100 * 2**10, 16),
    Case("gs", "s3", 4, 256 * 2**20, 4),
    Case("gs", "abfs", 1000, 100 * 2**10, 16),
    Case("gs", "abfs", 4, 128 * 2**20, 4),
    Case("s3", "gs", 1000, 100 * 2**10, 16),
    Case("s3", "gs", 4, 128 * 2**20, 4),
)


def measure(rounds: int, cases: tuple[Case, ...] = CASES) -> list[Result]:
    """Copy each case with each engine, alternately."""
    results = []
    for case in cases:
        if "abfs" in (case.source, case.target) and not AZURITE.exists():
            print("Azurite isn't installed, and isn't measured (make test installs it)")
            continue
        speed, peak = defaultdict(list), defaultdict(list)
        for _ in range(rounds):
            for engine in ENGINES:
                took = _run(engine, case)
                amount = case.objects if case.size < 2**20 else case.objects * case.size / 1e6
                speed[engine].append(amount / took["seconds"])
                peak[engine].append(took["peak"])
        unit = "objects/s" if case.size < 2**20 else "MB/s"
        results += compared(case.name, unit, speed["ours"], {_PEER: speed["rclone"]})
        results += compared(f"{case.name}: peak memory", "MB", peak["ours"], {_PEER: peak["rclone"]}, max)
    return results


def _run(engine: str, case: Case) -> dict[str, float]:
    """Measure an engine in its own process, with the stores in other processes."""
    with ExitStack() as stack:
        urls = {"gs": stack.enter_context(_cloud_storage(case))}
        if "s3" in (case.source, case.target):
            store = stack.enter_context(seaweedfs())
            urls["s3"] = store.url
            _make_bucket(store, case)
        else:
            urls["abfs"] = stack.enter_context(_azurite())
            _azure_client(urls["abfs"]).create_container(BUCKET)
        arguments = [engine, case.source, case.target, str(case.workers), json.dumps(urls)]
        command = [sys.executable, "-m", "benchmarks.stores", *arguments]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        _check(urls, case)
    took: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    print(
        f"  {case.name}: {engine} {took['seconds']:.2f} s, {took['cpu']:.2f} s of CPU, {took['peak']:,.0f} MB",
        flush=True,
    )
    return took


@contextmanager
def _cloud_storage(case: Case) -> Iterator[str]:
    """Start Cloud Storage's double; if it is the target, its source is only what it must have."""
    objects, size = (case.objects, case.size) if case.source == "gs" else (1, 1)
    command = [sys.executable, "-m", "benchmarks.store", f"--objects={objects}", f"--size={size}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield cast("TextIO", process.stdout).readline().strip()
        finally:
            process.kill()


@contextmanager
def _azurite() -> Iterator[str]:
    (port,) = free_ports(1)
    command = [AZURITE, "--blobHost", "127.0.0.1", "--blobPort", str(port), "--silent", "--skipApiVersionCheck"]
    with running([*command, "--inMemoryPersistence", "--extentMemoryLimit", "4096"], port):
        yield f"http://127.0.0.1:{port}/{ACCOUNT}"


def _make_bucket(store: SeaweedFS, case: Case) -> None:
    """Make the bucket, with the hour's files if it is the source."""
    store.make_bucket(BUCKET)
    if case.source == "s3":
        client = store.client()
        content = bytes(range(256)) * (case.size // 256)
        for number in range(case.objects):
            client.put_object(Bucket=BUCKET, Key=f"{FOLDER}{number:05}.csv", Body=content)


def _s3_client(url: str) -> Any:
    return SeaweedFS(url, "").client(max_pool_connections=64)


def _azure_client(url: str) -> Any:
    from azure.storage.blob import BlobServiceClient

    return BlobServiceClient(url, credential=ACCOUNT_KEY)


def _check(urls: dict[str, str], case: Case) -> None:
    """Make sure that all files arrived with their size."""
    if case.target == "s3":
        pages = _s3_client(urls["s3"]).get_paginator("list_objects_v2").paginate(Bucket=BUCKET)
        found = [(entry["Key"], entry["Size"]) for page in pages for entry in page.get("Contents", ())]
    elif case.target == "abfs":
        blobs = _azure_client(urls["abfs"]).get_container_client(BUCKET).list_blobs()
        found = [(blob.name, blob.size) for blob in blobs]
    else:
        from google.oauth2.credentials import Credentials

        from ayla_provider.transport.cloud_storage import storage_client

        blobs = storage_client(Credentials(token=WRITE_TOKEN), urls["gs"]).list_blobs(TARGET)
        found = [(blob.name, blob.size) for blob in blobs]
    sizes = [size for name, size in found if name.endswith(".csv")]
    if sizes != [case.size] * case.objects:
        raise RuntimeError(f"{case.name}: {len(sizes)} files arrived, or not all of their bytes")


def ours(source: str, target: str, workers: int, urls: dict[str, str]) -> None:
    """Copy the hour with its manifest, like the operator."""
    from ayla_provider.archive.archive import Archive
    from ayla_provider.domain.arrival import ArrivalRule
    from ayla_provider.domain.events import EventType
    from ayla_provider.domain.hour import ExportHour
    from ayla_provider.source.export import Export

    export = Export(_source(source, urls), f"{OEM}/")
    Archive(_target(target, urls), max_workers=workers).take_in(
        export, [ExportHour(EventType("datapoint"), HOUR)], ArrivalRule(timedelta(0)), written_by={}
    )


def _source(kind: str, urls: dict[str, str]) -> Any:
    if kind == "s3":
        from ayla_provider.source.s3 import S3Source

        return S3Source(_s3_client(urls["s3"]), BUCKET)
    from google.oauth2.credentials import Credentials

    from ayla_provider.source.gcs import GcsSource

    return GcsSource(Credentials(token=READ_TOKEN), SOURCE, endpoint=urls["gs"])


def _target(kind: str, urls: dict[str, str]) -> Any:
    """Open the destination as Airflow's providers do, without Airflow, which a worker has imported anyway."""
    if kind == "gs":
        from google.oauth2.credentials import Credentials

        from ayla_provider.archive.gcs import GcsDestination

        customer = Credentials(token=WRITE_TOKEN)
        return GcsDestination(urls["gs"], TARGET, "ayla", credentials=customer)
    from ayla_provider.archive.object_store import ObjectStorageDestination
    from ayla_provider.archive.url import DestinationUrl

    store: Any
    if kind == "s3":
        from s3fs import S3FileSystem

        from ayla_provider.archive.s3 import S3Store

        region = {"region_name": REGION}
        fs = S3FileSystem(key=KEY_ID, secret=SECRET, endpoint_url=urls["s3"], client_kwargs=region)
        store = S3Store(fs, BUCKET, {})
    else:
        from adlfs import AzureBlobFileSystem

        from ayla_provider.archive.azure import AzureStore

        where = f"AccountName={ACCOUNT};AccountKey={ACCOUNT_KEY};BlobEndpoint={urls['abfs']};"
        store = AzureStore(AzureBlobFileSystem(connection_string=f"DefaultEndpointsProtocol=http;{where}"), BUCKET)
    return ObjectStorageDestination(store, DestinationUrl.parse(f"{kind}://{BUCKET}/ayla"))


def rclone(source: str, target: str, workers: int, urls: dict[str, str]) -> None:
    """Copy the folder, from one remote to another."""
    program = Path(sys.executable).with_name("rclone")
    at_source = SOURCE if source == "gs" else BUCKET
    at_target = TARGET if target == "gs" else BUCKET
    subprocess.run(
        [
            *(program, "copy"),
            f"{_remote(source, urls, READ_TOKEN)}:{at_source}/{FOLDER[:-1]}",
            f"{_remote(target, urls, WRITE_TOKEN)}:{at_target}/ayla",
            *("--transfers", str(workers), "--checkers", str(workers), "--stats", "0"),
        ],
        check=True,
        env={**os.environ, "RCLONE_CONFIG": os.devnull},
    )


def _remote(kind: str, urls: dict[str, str], token: str) -> str:
    """Return rclone's description of a store."""
    url = urls[kind]
    if kind == "gs":
        return f":gcs,endpoint='{url}/storage/v1/',no_check_bucket=true,access_token={token}"
    if kind == "s3":
        keys = f"access_key_id={KEY_ID},secret_access_key={SECRET},region={REGION}"
        return f":s3,provider=SeaweedFS,endpoint='{url}',no_check_bucket=true,{keys}"
    return f":azureblob,account={ACCOUNT},key='{ACCOUNT_KEY}',endpoint='{url}',no_check_container=true"


ENGINES: dict[str, Callable[[str, str, int, dict[str, str]], None]] = {"ours": ours, "rclone": rclone}


def main() -> None:
    """Run one engine, and print the seconds, those of CPU, and the peak memory in MB."""
    engine, source, target, workers, urls = sys.argv[1:]
    if engine == "ours":
        # A worker has imported it before it copies.
        import ayla_provider.archive.archive  # noqa: F401
    start = time.perf_counter()
    ENGINES[engine](source, target, int(workers), json.loads(urls))
    seconds = time.perf_counter() - start
    of_child = engine == "rclone"
    used = resource.getrusage(resource.RUSAGE_CHILDREN if of_child else resource.RUSAGE_SELF)
    peak = used.ru_maxrss if of_child else peak_of_this_process()
    print(json.dumps({"seconds": seconds, "cpu": used.ru_utime + used.ru_stime, "peak": peak / 1024}))


if __name__ == "__main__":
    main()
