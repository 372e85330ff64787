"""What a service says about its own health: named checks, each good or failing with a reason."""

from shared.telemetry import metrics


class Health:
    """Every part of a service that can fail reports here; `/health/ready` reads it. A reason holds no secrets."""

    def __init__(self) -> None:
        self._reasons: dict[str, str | None] = {}

    def ok(self, check: str) -> None:
        """This part works."""
        self._set(check, None)

    def fail(self, check: str, reason: str) -> None:
        """This part cannot do its work, and why."""
        self._set(check, reason)

    def failing(self) -> dict[str, str]:
        """The checks that fail, with their reasons; empty when the service is ready."""
        return {check: reason for check, reason in self._reasons.items() if reason is not None}

    def checks(self) -> dict[str, str | None]:
        """Every check: None when it is good, else the reason."""
        return dict(self._reasons)

    def _set(self, check: str, reason: str | None) -> None:
        self._reasons[check] = reason
        metrics.READY.set(0 if self.failing() else 1)
