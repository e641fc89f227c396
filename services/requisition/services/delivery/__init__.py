"""Delivery: a durable queue that ships folders to storage, verifies every byte there, and deletes nothing before."""
