"""A host that is given real orders: it installs them, proves them, reports, and goes back by itself."""

import asyncio
from pathlib import Path

import pytest

from support.agents import Site


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_an_order_is_fetched_installed_confirmed_and_reported(site: Site) -> None:
    found = site.rollout(site.order(1))
    site.publish(found)

    async def story() -> None:
        async with site.agent() as agent:
            await site.until(agent, lambda: "Converged" in site.depot.kinds)

    asyncio.run(story())
    assert site.version() == "1"
    assert site.depot.kinds == ["Began", "Activated", "Converged"]
