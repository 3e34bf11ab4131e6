"""
An Ayla cloud on this machine: for the demo, for tests, and for people who develop DAGs without an Ayla account.

``python -m ayla_provider.local_cloud`` runs it by itself; in a test, ``with LocalCloud() as cloud:``.
"""

from ayla_provider.local_cloud.cloud import LocalCloud
from ayla_provider.local_cloud.contents import SeededContent
from ayla_provider.local_cloud.faults import Fault
from ayla_provider.local_cloud.identity import Account, Options

__all__ = ["Account", "Fault", "LocalCloud", "Options", "SeededContent"]
