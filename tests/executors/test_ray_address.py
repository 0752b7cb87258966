"""Which Ray clusters a server joins, before it joins any."""

import pytest

from ml_trainer_env.server.executors.on_ray.address import RayAddressError, check_address

TOKENS = {"RAY_AUTH_MODE": "token"}


@pytest.mark.parametrize("address", ["127.0.0.1:6379", "127.8.0.1:1", "localhost:6379", "[::1]:6379"])
def test_a_cluster_on_loopback_may_be_joined_without_tokens(address: str) -> None:
    assert check_address(address, {}) == address


@pytest.mark.parametrize("address", ["10.0.0.5:6379", "head.internal:6379", "0.0.0.0:6379", "localhost.evil.org:6379"])
@pytest.mark.parametrize("mode", [None, "", "disabled", "tokens"])
def test_one_off_loopback_is_refused_without_tokens(address: str, mode: str | None) -> None:
    environment = {} if mode is None else {"RAY_AUTH_MODE": mode}

    with pytest.raises(RayAddressError, match="RAY_AUTH_MODE=token"):
        check_address(address, environment)
    assert check_address(address, TOKENS) == address


@pytest.mark.parametrize(
    "address", ["auto", "local", "", "host", "host:", ":6379", "host:0", "host:x", "ray://host:10001"]
)
def test_what_is_no_host_with_a_port_is_refused(address: str) -> None:
    with pytest.raises(RayAddressError, match="host and port"):
        check_address(address, TOKENS)
