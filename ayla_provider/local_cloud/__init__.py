"""
An Ayla cloud on this machine, for the demo, for tests, and for developing DAGs without an Ayla account.

To run it as a program, use ``python -m ayla_provider.local_cloud``. In a test, use ``with LocalCloud() as cloud:``.
Nothing in production imports it.
"""

from ayla_provider.local_cloud.cloud import LocalCloud
from ayla_provider.local_cloud.contents import SeededContent
from ayla_provider.local_cloud.faults import Fault
from ayla_provider.local_cloud.fleet import Fleet
from ayla_provider.local_cloud.identity import Account, Options
from ayla_provider.local_cloud.stream import FleetStream, StreamFaults

__all__ = ["Account", "Fault", "Fleet", "FleetStream", "LocalCloud", "Options", "SeededContent", "StreamFaults"]
