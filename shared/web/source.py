"""Where a request comes from, as limits count it."""

import ipaddress


def source_of(host: str | None) -> str:
    """The address; of IPv6 the /64 network, since one line usually has that many addresses."""
    try:
        address = ipaddress.ip_address(host or "")
    except ValueError:
        return host or "unknown"
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)
