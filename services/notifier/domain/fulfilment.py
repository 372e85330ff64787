"""How people may say that a duty is fulfilled. What ends otherwise takes two people, who waive it."""

from collections.abc import Mapping

WAYS: Mapping[str, tuple[str, ...]] = {
    "principal": ("told_by_post_or_phone", "published_in_place"),
    "public": ("published_in_place",),
    "entrusting_party": ("entruster_told",),
    # Recorded with the case, where it is one of its facts.
    "police": (),
}
"""Recipient → how the duty is fulfilled without a filing."""


def takes_receipt(recipient: str) -> bool:
    """Whether the recipient is an authority, which takes a filing and gives a number for it."""
    return recipient not in WAYS
