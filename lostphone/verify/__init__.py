"""`lostphone verify`: hash the whole log again, and say whether it is what was signed.

    report = run(HttpSource("http://127.0.0.1:8004", bearer), [VerifierKey.of_log(vkey)])
    report.exit_status          # 0 proved, 1 disproved, 2 not decidable

The keys come from the reader, never from the log.
"""

from lostphone.verify.command import app
from lostphone.verify.report import Check, Outcome, Report
from lostphone.verify.source import DirectorySource, HttpSource, Source, UnreadableError
from lostphone.verify.verification import run

__all__ = [
    "Check",
    "DirectorySource",
    "HttpSource",
    "Outcome",
    "Report",
    "Source",
    "UnreadableError",
    "app",
    "run",
]
