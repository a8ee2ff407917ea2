"""HTTP in, spool out: calls of Segment's Tracking API, and Customer.io's reporting webhooks.

What is answered with 200 is on disk: `committing.py` syncs many requests at once. What it becomes
is the business of the loads that read the spool.
"""
