"""How a part misbehaves on request: slow, with an error, or by closing the connection before or after it acted."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Fault(BaseModel):
    """One way to misbehave, for a number of calls."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["slow", "answer", "drop", "lose_answer"] = Field(
        description="slow: wait, then obey · answer: say `status` and do nothing · drop: close the connection and do "
        "nothing · lose_answer: obey, then close the connection without an answer"
    )
    calls: int = Field(1, ge=1, le=100_000)
    seconds: float = Field(1.0, ge=0, le=120, description="For slow.")
    status: int = Field(500, ge=400, le=599, description="For answer.")
    text: str = Field("out of order", max_length=200, description="For answer.")
    match: str = Field("", max_length=200, description="Only calls whose `METHOD /path` contains this text.")


class Faults:
    """The faults that a part still has to show, oldest first."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._waiting.append(fault)

    def clear(self) -> None:
        self._waiting.clear()

    def waiting(self) -> list[Fault]:
        return list(self._waiting)

    def take(self, call: str) -> Fault | None:
        """The fault for this call, used up by one."""
        for place, fault in enumerate(self._waiting):
            if fault.match not in call:
                continue
            if fault.calls == 1:
                del self._waiting[place]
            else:
                self._waiting[place] = fault.model_copy(update={"calls": fault.calls - 1})
            return fault
        return None
