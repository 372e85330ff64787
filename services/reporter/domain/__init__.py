"""Pure rules of the case: reports and their facts, tracks, decisions of people, assessment, closing."""
