"""
What loads and erasures import only when they need it.

The fork server imports this module before it forks the first worker. Otherwise each worker would take a second of the
processor for it, and workers are killed all the time.
"""

from __future__ import annotations

import gc
from importlib import import_module

from sqlalchemy.orm import configure_mappers

_MODULES = (
    "simulation.loads",
    "duckdb",
    "deltalake",
    "pyiceberg.avro.decoder_fast",
    "pyiceberg.catalog.sql",
    "pyiceberg.io.pyarrow",
    "airflow.providers.apache.iceberg.hooks.iceberg",
    "ayla_provider.archive.erasure_requests",
    "ayla_provider.lineage",
    "ayla_provider.rows.parquet",
    "ayla_provider.rows.stream_intake",
    "ayla_provider.rows.typed_archive",
    "ayla_provider.warehouse.delta",
    "ayla_provider.warehouse.delta_erase",
    "ayla_provider.warehouse.delta_upkeep",
    "ayla_provider.warehouse.duckdb",
    "ayla_provider.warehouse.erase",
    "ayla_provider.warehouse.iceberg",
    "ayla_provider.warehouse.iceberg_erase",
    "ayla_provider.warehouse.iceberg_upkeep",
    "ayla_provider.warehouse.policy",
)

for _module in _MODULES:
    import_module(_module)
# SQLAlchemy does this before its first query. For Airflow's models it takes long, also where they aren't asked.
configure_mappers()
# Workers share these objects with the fork server, and never look at them to free memory.
gc.collect()
gc.freeze()
