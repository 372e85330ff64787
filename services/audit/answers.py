"""What witnesses and authorities answer, who belong to others: read no further than an answer may be long. One without
end, or one that grows a thousandfold where it is unpacked, would take the memory that the writer lives in."""

import httpx2


async def beginning(answer: httpx2.Response, most: int) -> bytes:
    """All of a streamed answer, or of a longer one little more than `most` bytes."""
    data = bytearray()
    async for part in answer.aiter_bytes():
        data += part
        if len(data) > most:
            break
    return bytes(data)
