"""An agent as a command starts it, until it is told to end; order 1 is offered. `python -m support.agent_process FOLDER`"""

import sys
import time
from pathlib import Path

from msgspec.structs import replace

from requisition.schemas.signing import new_key
from requisition.services.fleet.agent.main import run
from support import agents

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    key, agents.AGENT_KEY = new_key(str(folder), "agent.key")
    site = agents.Site(folder)
    site.hands.wall = int(time.time() * 1000)
    site.publish(site.rollout(site.order(1)))
    run(replace(site.settings, key=key), site.depot, lambda line: sys.stdout.write(line + "\n"))
