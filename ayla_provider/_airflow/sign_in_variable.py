"""The record of sign-ins that all processes of a deployment share."""

from __future__ import annotations

import sys

SIGN_IN_VARIABLE = "ayla_sign_in_{fingerprint:.12}"
"""
The Airflow Variable that holds the result of the last sign-in with some credentials.

Its name has the credentials' fingerprint and not the connection's id, because Airflow tests a connection under a
temporary id. It holds no secret. Deleting it is harmless: the next sign-in is then tried even if the last was refused.
"""


class VariableMemory:
    """The record of sign-ins, in an Airflow Variable: shared by all processes and machines of a deployment."""

    def __init__(self, fingerprint: str) -> None:
        self.key = SIGN_IN_VARIABLE.format(fingerprint=fingerprint)

    def read(self) -> str | None:
        """Return the record, None if there is none."""
        if _supervised():
            from airflow.sdk import Variable

            text = Variable.get(self.key, default=None)
        else:
            from airflow.models.variable import Variable as ServerVariable

            text = ServerVariable.get(self.key, default_var=None)
        return text if isinstance(text, str) else None

    def write(self, text: str) -> None:
        """Replace the record."""
        description = "The result of the last sign-in to Ayla. Holds no secret."
        if _supervised():
            from airflow.sdk import Variable

            Variable.set(self.key, text, description=description)
        else:
            from airflow.models.variable import Variable as ServerVariable

            ServerVariable.set(self.key, text, description=description)


def _supervised() -> bool:
    """Return whether this process is a task or the triggerer, which reach Airflow through a supervisor."""
    return hasattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS")
