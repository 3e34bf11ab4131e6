"""The fixtures of a local Ayla cloud, and of the client's parts signed in to it."""

from tests.support.fixtures import *  # noqa: F403 - fixtures, found by their names
