"""Which Azure account a connection means."""

from __future__ import annotations

from urllib.parse import urlsplit

from airflow.sdk import BaseHook


def account_of(conn_id: str | None) -> dict[str, str]:
    """
    Return the options that adlfs needs to find a connection's account.

    Airflow's Azure hooks find the account in the connection's host or login. Airflow's file system looks for it in the
    extra alone. What the extra states takes precedence there, so it isn't returned here.
    """
    if conn_id is None:
        return {}
    connection = BaseHook.get_connection(conn_id)
    address = connection.host or ""
    is_name_of_data_lake = connection.conn_type == "adls" and address
    if "." not in address and not is_name_of_data_lake:
        address = connection.login or ""
    if "://" not in address:
        address = f"https://{address}"
    host = (urlsplit(address).hostname or "").replace(".dfs.", ".blob.")

    prefix = f"extra__{connection.conn_type}__"
    stated = {name.removeprefix(prefix) for name in connection.extra_dejson}
    if "account_name" in stated:
        return {}
    options = {"account_name": host.partition(".")[0]}
    if "." in host and "account_host" not in stated:
        options["account_host"] = host
    return {name: value for name, value in options.items() if value}
