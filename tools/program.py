"""Runs one of our programs and says how it ended, what it wrote and how much memory it took."""

import os
import subprocess
import tempfile
import time
from dataclasses import dataclass


@dataclass
class Ended:
    """How a program ended."""

    code: int  # Negative for a signal.
    output: str
    errors: str
    peak_mb: float
    seconds: float

    def crash(self):
        """What no run may end with, or nothing."""
        if self.code < 0:
            return f"ended by signal {-self.code}"
        if self.code not in (0, 1, 2):
            return f"exit code {self.code}"
        if "panicked at" in self.errors or "internal error" in self.errors:
            line = next(line for line in self.errors.splitlines() if "panicked at" in line or "internal error" in line)
            return f"a panic: {line}"
        return None


def run(*command, seconds=600, environment=None):
    """Runs a command to its end, at most so many seconds."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        begun = time.monotonic()
        words = [str(word) for word in command]
        child = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=output, stderr=errors, env=os.environ | (environment or {})
        )
        status, usage = wait(child, begun + seconds)
        code = os.waitstatus_to_exitcode(status)
        child.returncode = code
        texts = []
        for stream in (output, errors):
            stream.seek(0)
            texts.append(stream.read().decode(errors="replace"))
        return Ended(code, *texts, usage.ru_maxrss / 1024, time.monotonic() - begun)


def wait(child, deadline):
    """The child's status and its use of the machine; it is killed at the deadline."""
    while True:
        pid, status, usage = os.wait4(child.pid, os.WNOHANG)
        if pid:
            return status, usage
        if time.monotonic() > deadline:
            child.kill()
            return os.wait4(child.pid, 0)[1:]
        time.sleep(0.02)
