"""Access rules: ACS tokens open the vendor's bucket only, and the customer's tokens the customer's bucket only."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from ayla_provider.local_cloud.api_errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Collection

    from ayla_provider.local_cloud.customer import CustomerIdentity
    from ayla_provider.local_cloud.identity import Identity


class Action(Enum):
    """An action of a request, by the name of Google's permission."""

    READ = "storage.objects.get"
    LIST = "storage.objects.list"
    WRITE = "storage.objects.create"
    BUCKET = "storage.buckets.get"


class Access:
    """
    The access rules.

    An ACS token is downscoped: it can read objects below one prefix, and list with a prefix that starts with it.

    :param vendor_bucket: the name of Ayla's bucket
    :param prefix: the prefix that an ACS token is limited to, with its final slash
    :param buckets: the names of all buckets
    """

    def __init__(
        self,
        identity: Identity,
        customer: CustomerIdentity,
        *,
        vendor_bucket: str,
        prefix: str,
        buckets: Collection[str],
    ) -> None:
        self._identity = identity
        self._customer = customer
        self._vendor_bucket = vendor_bucket
        self._prefix = prefix
        self._buckets = buckets

    def check(self, authorization: str | None, bucket: str, action: Action, name: str) -> None:
        """
        Raise an error if a request isn't allowed.

        :param authorization: the request's header ``Authorization``
        :param name: the object's name, or the prefix of a listing
        :raises ApiError: 401 without a valid token, 403 if it doesn't allow the action, 404 for an unknown bucket
        """
        scheme, _, token = (authorization or "").partition(" ")
        token = token.strip()
        challenge = {"WWW-Authenticate": 'Bearer realm="https://accounts.google.com/"'}
        if not authorization:
            raise ApiError(401, f"Anonymous caller does not have {action.value} access to {bucket}/{name}.", challenge)
        if scheme.lower() == "bearer" and self._identity.is_storage_token(token):
            reads = action in (Action.READ, Action.LIST)
            if not (reads and bucket == self._vendor_bucket and name.startswith(self._prefix)):
                raise _denied("The downscoped token", action, bucket, name)
        elif scheme.lower() == "bearer" and self._customer.is_token(token):
            if bucket not in self._buckets:
                raise ApiError(404, "The specified bucket does not exist.")
            may = self._customer.may(token, write=action is Action.WRITE)
            if bucket == self._vendor_bucket or not may:
                raise _denied(self._customer.email, action, bucket, name)
        else:
            raise ApiError(401, "Invalid Credentials", challenge)


def _denied(who: str, action: Action, bucket: str, name: str) -> ApiError:
    return ApiError(
        403,
        f"{who} does not have {action.value} access to {bucket}/{name}. "
        f"Permission '{action.value}' denied on resource (or it may not exist).",
    )
