"""The record of sign-ins that all processes of a deployment share."""

from __future__ import annotations

import sys

SIGN_IN_VARIABLE = "ayla_sign_in_{fingerprint:.12}"
"""
The Airflow Variable that remembers how the last sign-in with some credentials ended.

It is named by their fingerprint and not by the connection, since Airflow tests a connection under an id made up anew.
It holds no secret; deleting it is harmless, and makes a refusal forgotten.
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
        about = "How the last sign-in to Ayla ended. Holds no secret."
        if _supervised():
            from airflow.sdk import Variable

            Variable.set(self.key, text, description=about)
        else:
            from airflow.models.variable import Variable as ServerVariable

            ServerVariable.set(self.key, text, description=about)


def _supervised() -> bool:
    """Whether this is a task or the triggerer, which reach Airflow through a supervisor; not a server or a CLI."""
    return hasattr(sys.modules.get("airflow.sdk.execution_time.task_runner"), "SUPERVISOR_COMMS")
