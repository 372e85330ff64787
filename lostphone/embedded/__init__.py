"""A real Kafka, PostgreSQL and NanoMDM on loopback, without Docker: the parts that `up`, `demo` and the tests stand on.

Each part keeps everything in the folder it is given (data, ports, process id, log) and is driven the same way:

    kafka = EmbeddedKafka(folder / "kafka")
    kafka.start()          # returns when clients are served; ends what an earlier run left behind
    kafka.bootstrap        # "127.0.0.1:15217", the same after a restart as long as the port is free
    kafka.stop()           # data stays

All calls block; from asyncio, use `asyncio.to_thread`. What fails raises `EmbeddedError`:
one sentence that names the fix.
"""

from lostphone.embedded.child import Child
from lostphone.embedded.errors import EmbeddedError
from lostphone.embedded.kafka import EmbeddedKafka
from lostphone.embedded.kafka_properties import Plaintext, SaslSsl, Security
from lostphone.embedded.nanomdm import EmbeddedNanoMDM
from lostphone.embedded.place import tools_folder
from lostphone.embedded.postgres import EmbeddedPostgres

__all__ = [
    "Child",
    "EmbeddedError",
    "EmbeddedKafka",
    "EmbeddedNanoMDM",
    "EmbeddedPostgres",
    "Plaintext",
    "SaslSsl",
    "Security",
    "tools_folder",
]
