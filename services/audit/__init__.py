"""The immutable timeline: every record of the log in one Merkle tree, its proofs, and the topics for integrators."""
