"""`python -m requisition.services.fleet.simulate --seed N`: play one seed, or many, and say which promise broke."""

import argparse
import sys

from requisition.services.fleet.simulate.oracle import Broken
from requisition.services.fleet.simulate.run import play
from requisition.services.fleet.simulate.scenario import Size


def main() -> int:
    """Exit status 1 when a promise broke."""
    parser = argparse.ArgumentParser(prog="python -m requisition.services.fleet.simulate", description=__doc__)
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--runs", type=int, default=1, help="how many seeds, from the first on")
    parser.add_argument("--hosts", type=int, default=Size().hosts, help="hosts of the fleet")
    parser.add_argument("--channels", type=int, default=Size().channels, help="channels of the fleet")
    parser.add_argument("--rollouts", type=int, default=Size().rollouts, help="rollouts of each channel")
    asked = parser.parse_args()
    size = Size(asked.hosts, asked.channels, asked.rollouts)
    broken = 0
    for seed in range(asked.seed, asked.seed + asked.runs):
        try:
            run = play(seed, size)
        except Broken as error:
            broken += 1
            print(error)
            print(f"  again: python -m requisition.services.fleet.simulate --seed {seed} --hosts {asked.hosts} "
                  f"--channels {asked.channels} --rollouts {asked.rollouts}")  # fmt: skip
        else:
            print(f"seed {seed}: {len(run.server.disk.log)} rows of the log, every promise held")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
