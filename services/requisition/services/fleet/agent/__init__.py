"""The machine's own side of a fleet: the shell around the pure `agent_reducer`.

`shell` is the one place where its state changes; `spool` keeps state and reports on the disk, `fuse` the deadline.
`exchange` speaks with a server over a `link`, `judgement` believes nothing of what comes, `cache` fetches what orders
read. `orders` runs `plan-runtime` (`runtime`) and looks at what stands, `probes` looks at the machine. `main` puts it
all together. Why it is so: docs/decisions/fleet-agent.md.
"""
