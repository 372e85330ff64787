"""Hearing the log and speaking to it, exactly once in effect, with the database as judge.

- `consumer`: the one consume loop of all four services;
- `unit`: one transaction of state, positions, outgoing events and timers;
- `relay`: what is committed goes to Kafka, in order;
- `timer`: what must happen later, or outside a transaction.
"""

from shared.messaging.dispatch import Dispatch, Handler
from shared.messaging.heard import Verdict, hear
from shared.messaging.outage import DependencyUnavailableError, is_outage
from shared.messaging.timer import Timer, TimerHandler, TimerLostError
from shared.messaging.unit import Scope, Unit, Units

__all__ = [
    "DependencyUnavailableError",
    "Dispatch",
    "Handler",
    "Scope",
    "Timer",
    "TimerHandler",
    "TimerLostError",
    "Unit",
    "Units",
    "Verdict",
    "hear",
    "is_outage",
]
