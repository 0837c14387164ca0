"""A stand-in for `ppema train` without paddle: it takes the same arguments, writes the same records, and goes on as it does.

Its environment: TRAINEE_LEDGER, a file to which it appends a line when it has reached its end; TRAINEE_STEPS, and
TRAINEE_SECONDS for all of them together; TRAINEE_DIES, a step before which a SIGKILL ends a run that began at its first one.
A rate from 0.5 to 1 is refused, one from 1 to 10 is a crash of the model, and from 1000 on the loss is not finite. A rate below
1e-5 takes 100 times as long, so that there is time to prune it.
"""

import fcntl
import itertools
import json
import math
import os
import signal
import sys
import time

STOPPED = 128 + signal.SIGTERM


def main(arguments):
    values = dict(each.split("=", 1) for word, each in itertools.pairwise(arguments) if word == "-o")
    output, seed, lr = values["output"].strip("'"), int(values["seed"]), float(values["lr"])
    if 0.5 <= lr < 1 and arguments[0] != "--all-rates":
        print("warning: of something else\n\nlr: this is no rate", flush=True)
        return 2
    if 1 <= lr < 10:
        print("-o lr: RuntimeError: too wide (models.py:3)", flush=True)
        return 2
    if lr >= 1000:
        if lr < 1e5:
            os.makedirs(output, exist_ok=True)
            replace(f"{output}/history.jsonl", '{"kind": "end", "time": "2026-01-01T00:00:00Z", "diverged": true}\n')
        print("the loss is not finite" if lr < 1e5 else "a library is missing", flush=True)
        return 1
    steps, seconds = int(os.environ["TRAINEE_STEPS"]), float(os.environ["TRAINEE_SECONDS"])
    if lr < 1e-5:
        seconds *= 100
    stopping = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    os.makedirs(output, exist_ok=True)
    lock = open(f"{output}/lock", "w")  # noqa: SIM115
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print("another process is using this run")
        return 2
    step = saved(output)
    records = [each for each in lines(f"{output}/metrics.jsonl") if each["step"] <= step]
    replace(f"{output}/metrics.jsonl", "".join(f"{json.dumps(each)}\n" for each in records))
    began = step
    with open(f"{output}/metrics.jsonl", "ab", buffering=0) as metrics:
        while step < steps:
            if stopping:
                save(output, step)
                return STOPPED
            time.sleep(seconds / steps)
            step += 1
            if began == 0 and str(step) == os.environ.get("TRAINEE_DIES"):
                os.kill(os.getpid(), signal.SIGKILL)
            record = {
                "kind": "eval",
                "step": step,
                "epoch": 20 * step / steps,  # as CONFIG has 20 epochs
                "weights": "ema",
                "loss": 1.0,
                "accuracy": value(lr, seed, step),
            }
            metrics.write(f"{json.dumps(record)}\n".encode())
            if step % 2 == 0 and step < steps:
                save(output, step)
    save(output, steps)
    name, path = os.path.basename(output), os.environ["TRAINEE_LEDGER"]
    # A former process of this run may have been killed between the two writes.
    if began < steps or not any(line.split()[0] == name for line in text(path).splitlines()):
        ledger = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(ledger, f"{name} {lr!r} {seed} {os.getpid()}\n".encode())
    return 0


def value(lr, seed, step):
    """The accuracy: best for a learning rate of 0.01, and better with each step."""
    return 1 - 0.1 * abs(math.log10(lr) + 2) - 0.3 / step + 0.001 * seed


def save(output, step):
    os.makedirs(f"{output}/checkpoints/step-{step:08d}", exist_ok=True)
    replace(f"{output}/saved", str(step))


def saved(output):
    """The last step that the run in `output` saved."""
    return int(text(f"{output}/saved") or 0)


def lines(path):
    """The records in a file, without a last line that is cut."""
    return [json.loads(line) for line in text(path).splitlines(keepends=True) if line.endswith("\n")]


def text(path):
    """The content of a file, "" if there is none."""
    try:
        with open(path) as file:
            return file.read()
    except FileNotFoundError:
        return ""


def replace(path, text):
    with open(f"{path}.new", "w") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
