"""A transparency log in the formats that other people's clients read: RFC 6962 tree, C2SP tiles, notes, checkpoints.

Pure: nothing here opens a file, a connection or a clock. Formats: c2sp.org/tlog-tiles, c2sp.org/signed-note,
c2sp.org/tlog-checkpoint, c2sp.org/tlog-cosignature, c2sp.org/tlog-policy, c2sp.org/tlog-proof.
"""

from services.audit.tlog.checkpoint import Checkpoint, CheckpointError
from services.audit.tlog.keys import LogKey, VerifierKey, WitnessKey, log_vkey
from services.audit.tlog.note import NoteError, SignedNote
from services.audit.tlog.policy import Policy, PolicyError
from services.audit.tlog.proof import Proofs, verify_consistency, verify_inclusion
from services.audit.tlog.proof_file import ProofFile
from services.audit.tlog.tiles import BundleError, Tile, TilePath, pack_bundle, unpack_bundle
from services.audit.tlog.tree import EMPTY_ROOT, Edge, leaf_hash, leaf_hashes, node_hash

__all__ = [
    "EMPTY_ROOT",
    "BundleError",
    "Checkpoint",
    "CheckpointError",
    "Edge",
    "LogKey",
    "NoteError",
    "Policy",
    "PolicyError",
    "ProofFile",
    "Proofs",
    "SignedNote",
    "Tile",
    "TilePath",
    "VerifierKey",
    "WitnessKey",
    "leaf_hash",
    "leaf_hashes",
    "log_vkey",
    "node_hash",
    "pack_bundle",
    "unpack_bundle",
    "verify_consistency",
    "verify_inclusion",
]
