"""Runs the stages of the kit: commands with time limits, and results that are written at once."""

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import libraries

# The longest output of one command in the log, characters.
LOGGED = 60_000
# The least time that a stage is begun with, seconds.
LEAST = 5


class Failed(Exception):
    """A stage, or a part of it, failed. The text is one line; `out` is what the command printed until then."""

    def __init__(self, text, out=""):
        super().__init__(text)
        self.out = out


class Runner:
    def __init__(self, kit, options):
        self.kit, self.out = kit, options.out.resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.scratch = Path(tempfile.mkdtemp(prefix="impasto-gpu-"))
        self.log = open(self.out / "log.txt", "w")
        self.end = time.monotonic() + 60 * options.minutes
        self.stage_end = self.end
        self.failed = False
        self.python, self.torch = libraries.find_python(options.python)
        self.environment = libraries.environment(self.python, options.cache.resolve())
        self.report = {"kit": json.loads((kit / "kit.json").read_text()), "stages": {}, "figures": {}, "peers": {}}

    def run(self, stage, seconds):
        """Runs a stage for at most `seconds`. A failure is reported, and the next stage follows."""
        start, left = time.monotonic(), self.end - time.monotonic()
        name, failures = stage.__name__, []
        self.stage_end = start + min(seconds, left)
        self.say(f"== {name}: {stage.__doc__.splitlines()[0]}")
        if left < LEAST:
            failures = ["no time left"]
        else:
            try:
                for part in stage(self):
                    # A stage yields its parts, so that one that fails does not stop the others.
                    try:
                        part()
                    except Failed as error:
                        failures.append(str(error))
                        self.say(f"   failed: {error}")
            except Failed as error:
                failures.append(str(error))
            except Exception as error:  # noqa: BLE001
                failures.append(f"{type(error).__name__}: {error}")
        failures = [f"{text}{f' ({number} times)' if number > 1 else ''}" for text, number in Counter(failures).items()]
        spent = round(time.monotonic() - start, 1)
        self.report["stages"][name] = {"passed": not failures, "seconds": spent, "failures": failures}
        self.failed |= bool(failures)
        self.say(f"== {name}: {'FAILED: ' + failures[0] if failures else 'passed'} ({spent} s)")
        self.save()

    def command(self, words, lines=None, seconds=None, environment=None):
        """What a command prints to standard output. `lines` is its standard input. It ends with the stage at the latest."""
        words = [str(word) for word in words]
        left = self.stage_end - time.monotonic()
        seconds = min(left, seconds or left)
        if seconds < 1:
            raise Failed(f"no time left for `{short(words)}`")
        try:
            process = subprocess.Popen(
                words,
                cwd=self.kit,
                env={**self.environment, **(environment or {})},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise Failed(f"cannot start `{words[0]}`: {error.strerror}") from None
        try:
            out, err = process.communicate(lines, timeout=seconds)
        except subprocess.TimeoutExpired:
            # The whole group: peers have processes of their own.
            os.killpg(process.pid, signal.SIGKILL)
            out, err = process.communicate()
            self.note(words, out, err, f"stopped after {seconds:.0f} s")
            raise Failed(f"`{short(words)}` took more than {seconds:.0f} s", out) from None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        self.note(words, out, err, f"exit code {process.returncode}")
        if process.returncode:
            raise Failed(f"`{short(words)}`: {cause(out, err) or f'exit code {process.returncode}'}", out)
        return out

    def test(self, program, name):
        """Runs one test of a test program, in a process of its own: a GPU that failed is of no use to the next test."""
        options = ["--exact", name, "--test-threads=1", "--nocapture"]
        # Both in one: a test that was skipped says so on standard error, and passes.
        out = self.command(["/bin/sh", "-c", 'exec "$0" "$@" 2>&1', self.program(program), *options])
        skipped = [line.split("skipped:", 1)[1].strip() for line in out.splitlines() if "skipped:" in line]
        if skipped:
            raise Failed(f"{name} was skipped: {skipped[0]}")

    def program(self, name):
        return self.kit / "bin" / name

    def data(self, name):
        return self.kit / "data" / name

    def figure(self, name, value):
        """Keeps a figure of Impasto."""
        self.report["figures"][name] = value
        self.say(f"   {name}: {value if isinstance(value, str) else f'{value:.4g}'}")
        self.save()

    def peer(self, name, way, value):
        """Keeps a figure of PyTorch, measured in one of its ways."""
        self.report["peers"].setdefault(name, {})[way] = value
        self.say(f"   {name}, PyTorch {way}: {value:.4g}")
        self.save()

    def say(self, line):
        print(line, flush=True)
        self.log.write(line + "\n")
        self.log.flush()

    def note(self, words, out, err, end):
        text = "\n".join(part.rstrip() for part in (out, err) if part)
        if len(text) > LOGGED:
            text = text[: LOGGED // 2] + "\n[..]\n" + text[-LOGGED // 2 :]
        self.log.write(f"$ {' '.join(words)}\n{text}\n[{end}]\n")
        self.log.flush()

    def save(self):
        half = self.out / ".report.json"
        half.write_text(json.dumps(self.report, indent=1) + "\n")
        half.replace(self.out / "report.json")

    def close(self):
        self.save()
        self.log.close()
        shutil.rmtree(self.scratch, ignore_errors=True)


def short(words):
    names = [Path(word).name if word.startswith("/") else word for word in words]
    if names[0] == "sh":
        # After `-c` and the script that merges both outputs.
        names = names[3:]
    # Of a script, its own name says more than that of Python.
    return " ".join(names[1:4] if names[0].startswith("python") else names[:4])


def cause(out, err):
    """The line that says why a command failed: of ours `error: ..`, of a test the panic's text, of Python the last one."""
    lines = [line.strip() for line in (err + "\n" + out).splitlines() if line.strip()]
    for begin in ("error:", "Error:"):
        found = [line for line in lines if line.startswith(begin)]
        if found:
            return found[0][len(begin) :].strip()[:300]
    for i, line in enumerate(lines):
        if "panicked at" in line and i + 1 < len(lines):
            return lines[i + 1][:300]
    last = [line for line in err.splitlines() if line.strip()] or lines
    return last[-1].strip()[:300] if last else ""
