"""The companies that the sandbox plays for: their people, their accounts at the vendors, their phones."""

import csv
import io
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

_HERE = Path(__file__).parent


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Keys(_Model):
    """A SORACOM key pair."""

    auth_key_id: str
    auth_key: str


class Application(_Model):
    """An application registered at Microsoft Entra ID."""

    client_id: str
    client_secret: str


class Person(_Model):
    """One employee."""

    sub: str
    name: str
    email: str
    locale: Literal["ja", "en"]
    roles: list[str]
    account: str

    def claims(self, organisation: str) -> dict[str, object]:
        """What the company's OpenID provider says about the person."""
        return {
            "organisation": organisation,
            "roles": ["employee", *self.roles],
            "name": self.name,
            "locale": self.locale,
            "email": self.email,
        }


class Organisation(_Model):
    """One company."""

    name: dict[Literal["ja", "en"], str]
    entra_tenant: str
    line_channel_token: str
    soracom: Keys
    people: list[Person]


class Companies(_Model):
    """Everything in people.yaml."""

    soracom_operator: Keys
    entra_application: Application
    organisations: dict[str, Organisation]

    def everyone(self) -> Iterator[tuple[str, Person]]:
        """Each person with the organisation's name."""
        for organisation, company in self.organisations.items():
            for person in company.people:
                yield organisation, person


class Position(_Model):
    """Where a phone lies."""

    latitude: float = Field(ge=-90, le=90)
    longitude: float = Field(ge=-180, le=180)
    accuracy_m: float = 20.0


class FleetPhone(_Model):
    """One phone of fleet.yaml with its line."""

    asset_tag: str
    holder: str
    model: str
    colour: str
    marks: str = ""
    serial: str
    imei: str
    phone_number: str
    udid: str
    sim_id: str
    position: Position


@cache
def companies() -> Companies:
    """people.yaml."""
    return Companies.model_validate(yaml.safe_load((_HERE / "people.yaml").read_text("utf-8")))


@cache
def fleet() -> dict[str, list[FleetPhone]]:
    """fleet.yaml, by organisation."""
    kept = yaml.safe_load((_HERE / "fleet.yaml").read_text("utf-8"))
    return {name: [FleetPhone.model_validate(phone) for phone in phones] for name, phones in kept.items()}


def inventory(organisation: str) -> str:
    """The organisation's phones as the CSV file that the inventory import reads. Raises `KeyError`."""
    accounts = {person.sub: person.account for person in companies().organisations[organisation].people}
    rows = [
        {
            "asset_tag": phone.asset_tag,
            "platform": "ios",
            "model": phone.model,
            "colour": phone.colour,
            "marks": phone.marks,
            "serial": phone.serial,
            "imei": phone.imei,
            "phone_number": phone.phone_number,
            "ownership": "company",
            "supervised": "yes",
            "holder": phone.holder,
            "holder_account": accounts[phone.holder],
            "mdm": "nanomdm",
            "udid": phone.udid,
            "carrier": "soracom",
            "sim_id": phone.sim_id,
            "storage_encrypted": "yes",
            "passcode_set": "yes",
            "attempts_limited": "yes",
            "os_version": "19.1",
        }
        for phone in fleet()[organisation]
    ]
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    return text.getvalue()
