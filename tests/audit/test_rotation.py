"""The log goes on with other keys: what was published last bears the old one, which the policy names until the next."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from services.audit.guard import ForkedError, Guard
from services.audit.publisher import Publisher
from services.audit.tlog import LogKey
from shared.telemetry import Health
from tests.audit.conftest import LOG_KEYS, ORIGIN, as_audit, bench_on
from tests.audit.running import audit_at
from tests.stack.installed import Installed

_ONE = "0192f0c1-0000-7000-8000-0000000000b1"
_OLD = LogKey(ORIGIN, Ed25519PrivateKey.from_private_bytes(bytes([9]) * 32))


@pytest.mark.parametrize("old_is_named", [True, False])
async def test_a_service_with_new_keys_goes_on_where_its_policy_names_the_old_one(
    installation: Installed, tmp_path: Path, old_is_named: bool
) -> None:
    outside, policy = tmp_path / "outside", tmp_path / "policy.txt"
    async with bench_on(as_audit(installation.superuser_dsn), tmp_path) as bench:
        await bench.record(*(bench.writers.record("DeviceLocked", _ONE) for _ in range(3)))
        guard = Guard(ORIGIN, [_OLD.verifier], outside, None)
        publisher = Publisher(bench.dsn, ORIGIN, [_OLD], Health(), guard=guard)
        async with bench.pool.acquire() as connection:
            assert await publisher.publish(connection)
    keys = [*LOG_KEYS, _OLD] if old_is_named else LOG_KEYS
    policy.write_text("".join(f"log {key.verifier}\n" for key in keys) + "quorum none\n")
    async with audit_at(installation, tmp_path, log_state_dir=outside, log_policy_file=policy) as audit:
        audit.bench.writers._ids = 100
        record = audit.bench.place(audit.bench.writers.record("DeviceLocked", _ONE))
        if old_is_named:
            await audit.bench.take(record)
            assert len(await audit.bench.entries()) == 4
        else:
            with pytest.raises(ForkedError, match="no key that is trusted signed the note"):
                await audit.bench.take(record)
