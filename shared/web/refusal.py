"""What people read when a rule says no: what is the matter, and what can be done."""

from collections.abc import Mapping
from typing import Any, Final

from shared.web.problem import Problem

type Refusal = tuple[int, str, str]
"""HTTP status, Japanese, English."""

_EVERYWHERE: Final[Mapping[str, Refusal]] = {
    "incident_unknown": (404, "この案件は見つかりません。", "There is no such incident."),
    "moment_in_future": (422, "日時が未来になっています。", "This moment lies in the future."),
    "moment_before_loss": (
        422,
        "紛失に気付くより前の日時です。年月日を確かめてください。",
        "This moment lies before the phone was missed. Look at the date again.",
    ),
}


class Refusals:
    """A service's refusals by code, and those that are the same in every service.

    problem = Refusals({"duty_ended": (409, "この義務はすでに終わっています。", "This duty has ended already.")})
    raise problem("duty_ended")
    """

    def __init__(self, words: Mapping[str, Refusal]) -> None:
        self._words = {**_EVERYWHERE, **words}

    def __call__(self, code: str, **facts: Any) -> Problem:
        """The refusal as an answer to a request; the facts become its members."""
        status, ja, en = self._words[code]
        # `status` of problem details is that of HTTP; a case has a state.
        members = {"state" if name == "status" else name: fact for name, fact in facts.items()}
        return Problem(status, code, ja=ja, en=en, **members)
