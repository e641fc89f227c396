"""`plan` behind a gate: `plan_gate.py FOLDER STEP …` says that the step was reached, waits while it is held, and fails when
told to, or becomes the real command."""

import os
import sys
import time

folder, step = sys.argv[1], sys.argv[2]
with open(f"{folder}/{step}.reached", "a") as log:
    log.write(f"{os.getpid()}\n")
while os.path.exists(f"{folder}/{step}.held"):
    time.sleep(0.01)
if os.path.exists(f"{folder}/{step}.fails"):
    sys.exit("error: it was told to fail")
os.execv(sys.executable, [sys.executable, "-P", "-m", "requisition.cli.main", *sys.argv[2:]])
